"""YOLOX-Darknet53 on COCO.

Reproduces: 47.7 AP on COCO val2017 at 640x640 (published: score threshold 0.001, batch size 128;
  docs/yolox.md, 10.2).
Expected: about 47.7; there are no other published runs at batch size 64 (docs/yolox.md, 10.3). Not yet trained to
  completion with this code.
Cost: 63.7 M parameters, 185.3 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/yolox_darknet53.py --workdir runs/yolox_darknet53
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco


def get_config() -> Config:
    """The published recipe at batch size 64."""
    return yolox_coco("yolox_darknet53")
