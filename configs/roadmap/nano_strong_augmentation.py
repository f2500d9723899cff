"""YOLOX-nano with strong augmentation on COCO: mosaics of full zoom and MixUp (docs/roadmap.md).

Differs from roadmap/nano_weak_augmentation in the range of zoom and in MixUp.

Reproduces: 24.0 AP on COCO val2017 at 416x416 (YOLOX paper, table 5), 1.3 below weak augmentation.
Expected: about 1 below roadmap/nano_weak_augmentation. The paper does not say which fraction of the images are mosaics:
  here all, where yolox_nano has half. Not yet trained to completion with this code.
Cost: 0.91 M parameters, 1.08 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/nano_strong_augmentation.py --workdir runs/nano_strong_augmentation
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco


def get_config() -> Config:
    """The published recipe at batch size 64, with zoom from 0.1 to 2 and MixUp."""
    return yolox_coco(
        "yolox_nano",
        input_size=(416, 416),
        multiscale_px=(320, 640),
        mosaic_scale=(0.1, 2.0),
        mixup_probability=1.0,
    )
