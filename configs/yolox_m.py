"""YOLOX-m on COCO.

Reproduces: 46.9 AP on COCO val2017 at 640x640 (published: score threshold 0.001, batch size 128;
  docs/yolox.md, 10.2).
Expected: 46.9, as in mmyolo at batch size 64 (docs/yolox.md, 10.3). Not yet trained to completion with this code.
Cost: 25.3 M parameters, 73.8 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/yolox_m.py --workdir runs/yolox_m
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco


def get_config() -> Config:
    """The published recipe at batch size 64."""
    return yolox_coco("yolox_m")
