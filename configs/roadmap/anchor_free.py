"""Step 4 of the roadmap to YOLOX: no anchor boxes, Darknet53 on COCO (docs/roadmap.md).

Differs from roadmap/strong_augmentation in the predictions, one instead of three in a cell and without anchor boxes,
and in the assignment: an object is assigned the cell of its centre, on one level.

Reproduces: 42.9 AP on COCO val2017 at 640x640 (YOLOX paper, table 2), 0.9 above the step below.
Expected: about that. The paper takes the level from ranges of sizes as in FCOS without giving them: they are ours,
  longest sides up to 64 px for stride 8, up to 128 px for stride 16, and above for stride 32. Not yet trained to
  completion with this code.
Cost: 63.72 M parameters, 185.3 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/anchor_free.py --workdir runs/anchor_free
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco
from yolox_jax.config.roadmap import anchor_free, decoupled_head, strong_augmentation, yolov3_baseline


def get_config() -> Config:
    """The step below without anchor boxes."""
    base = yolox_coco("yolox_darknet53")
    config = strong_augmentation(decoupled_head(yolov3_baseline(base)), base.data.augment)
    return anchor_free(config)
