"""YOLOX-nano on COCO.

Reproduces: 25.8 AP on COCO val2017 at 416x416 (published: score threshold 0.001, batch size 128;
  docs/yolox.md, 10.2).
Expected: about 24 from scratch, according to the original's authors; only the published weights started from a backbone
  pretrained on ImageNet (issue 674 of the original). Not yet trained to completion with this code.
Cost: 0.91 M parameters, 1.08 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/yolox_nano.py --workdir runs/yolox_nano
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco


def get_config() -> Config:
    """The published recipe at batch size 64. Half the images are mosaics, with less zoom; no MixUp."""
    return yolox_coco(
        "yolox_nano",
        input_size=(416, 416),
        multiscale_px=(320, 640),
        mosaic_probability=0.5,
        mosaic_scale=(0.5, 1.5),
        mixup_probability=0.0,
    )
