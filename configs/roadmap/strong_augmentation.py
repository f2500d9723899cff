"""Step 3 of the roadmap to YOLOX: Mosaic and MixUp, Darknet53 on COCO (docs/roadmap.md).

Differs from roadmap/decoupled_head in the augmentation, which is that of YOLOX: Mosaic with an affine transform and
MixUp, except in the last 15 epochs. From here on, the paper trains from random weights, too.

Reproduces: 42.0 AP on COCO val2017 at 640x640 (YOLOX paper, table 2), 2.4 above the step below.
Expected: about that. The assignment is that of roadmap/yolov3_baseline, with choices of ours where the paper is silent.
  Not yet trained to completion with this code.
Cost: 63.86 M parameters, 186.0 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/strong_augmentation.py --workdir runs/strong_augmentation
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco
from yolox_jax.config.roadmap import decoupled_head, strong_augmentation, yolov3_baseline


def get_config() -> Config:
    """The baseline with a decoupled head and the augmentation of YOLOX."""
    base = yolox_coco("yolox_darknet53")
    return strong_augmentation(decoupled_head(yolov3_baseline(base)), base.data.augment)
