"""YOLOX-l without MixUp on COCO (docs/roadmap.md).

Differs from yolox_l, which is roadmap/l_with_mixup, in MixUp alone.

Reproduces: 48.6 AP on COCO val2017 at 640x640 (YOLOX paper, table 5).
Expected: about that. Not yet trained to completion with this code.
Cost: 54.2 M parameters, 155.6 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/l_without_mixup.py --workdir runs/l_without_mixup
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco


def get_config() -> Config:
    """The published recipe at batch size 64, without MixUp."""
    return yolox_coco("yolox_l", mosaic_scale=(0.1, 2.0), mixup_probability=0.0)
