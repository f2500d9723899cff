"""YOLOX-l with MixUp on COCO (docs/roadmap.md).

Differs from roadmap/l_without_mixup in MixUp alone. It is the same experiment as yolox_l.

Reproduces: 49.5 AP on COCO val2017 at 640x640 (YOLOX paper, table 5), 0.9 above training without MixUp. The published
  weights have 49.7 (docs/yolox.md, 10.2).
Expected: 49.4 to 50.1, as for yolox_l (docs/yolox.md, 10.3). Not yet trained to completion with this code.
Cost: 54.2 M parameters, 155.6 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/l_with_mixup.py --workdir runs/l_with_mixup
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco


def get_config() -> Config:
    """The published recipe at batch size 64."""
    return yolox_coco("yolox_l", mosaic_scale=(0.1, 2.0), mixup_probability=1.0)
