"""YOLOX-l on COCO.

Reproduces: 49.7 AP on COCO val2017 at 640x640 (published: score threshold 0.001, batch size 128;
  docs/yolox.md, 10.2).
Expected: 49.4 to 50.1, as in mmdetection and mmyolo at batch size 64 (docs/yolox.md, 10.3). Not yet trained to
  completion with this code.
Cost: 54.2 M parameters, 155.6 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/yolox_l.py --workdir runs/yolox_l
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco


def get_config() -> Config:
    """The published recipe at batch size 64."""
    return yolox_coco("yolox_l")
