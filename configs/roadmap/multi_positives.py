"""Step 5 of the roadmap to YOLOX: several positives, Darknet53 on COCO (docs/roadmap.md).

Differs from roadmap/anchor_free in the assignment: an object is assigned the 3x3 cells about its centre, on the level
of its size.

Reproduces: 45.0 AP on COCO val2017 at 640x640 (YOLOX paper, table 2), 2.1 above the step below.
Expected: about that. The ranges of sizes of the levels are those of roadmap/anchor_free, and ours. Not yet trained to
  completion with this code.
Cost: 63.72 M parameters, 185.3 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/multi_positives.py --workdir runs/multi_positives
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco
from yolox_jax.config.roadmap import anchor_free, decoupled_head, multi_positives, strong_augmentation, yolov3_baseline


def get_config() -> Config:
    """The step below with nine assigned cells instead of one."""
    base = yolox_coco("yolox_darknet53")
    config = strong_augmentation(decoupled_head(yolov3_baseline(base)), base.data.augment)
    return multi_positives(anchor_free(config))
