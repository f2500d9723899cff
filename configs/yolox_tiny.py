"""YOLOX-tiny on COCO.

Reproduces: 32.8 AP on COCO val2017 at 416x416 (published: score threshold 0.001, batch size 128;
  docs/yolox.md, 10.2).
Expected: 31.6 to 32.7 at batch size 64, as in later runs of the original, mmdetection (32.0) and mmyolo (32.7)
  (docs/yolox.md, 10.3). Not yet trained to completion with this code.
Cost: 5.06 M parameters, 6.45 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/yolox_tiny.py --workdir runs/yolox_tiny
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco


def get_config() -> Config:
    """The published recipe at batch size 64. Mosaics have less zoom; no MixUp."""
    return yolox_coco(
        "yolox_tiny",
        input_size=(416, 416),
        multiscale_px=(320, 640),
        mosaic_scale=(0.5, 1.5),
        mixup_probability=0.0,
    )
