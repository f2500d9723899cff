"""YOLOX-nano with weak augmentation on COCO: mosaics of less zoom, no MixUp (docs/roadmap.md).

One of two experiments on how much augmentation a small network can bear; the other one is
roadmap/nano_strong_augmentation.

Reproduces: 25.3 AP on COCO val2017 at 416x416 (YOLOX paper, table 5).
Expected: about 24: only the published weights of YOLOX-nano started from a pretrained backbone, according to the
  original's authors (issue 674 of the original). The paper does not say which fraction of the images are mosaics: here
  all, where yolox_nano has half. Not yet trained to completion with this code.
Cost: 0.91 M parameters, 1.08 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/nano_weak_augmentation.py --workdir runs/nano_weak_augmentation
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco


def get_config() -> Config:
    """The published recipe at batch size 64, with zoom from 0.5 to 1.5 and without MixUp."""
    return yolox_coco(
        "yolox_nano",
        input_size=(416, 416),
        multiscale_px=(320, 640),
        mosaic_scale=(0.5, 1.5),
        mixup_probability=0.0,
    )
