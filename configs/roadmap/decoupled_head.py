"""Step 2 of the roadmap to YOLOX: a decoupled head, Darknet53 on COCO (docs/roadmap.md).

Differs from roadmap/yolov3_baseline in the head, which has one branch for classes and one for boxes; it still predicts
relative to three anchor boxes in a cell.

Reproduces: 39.6 AP on COCO val2017 at 640x640 (YOLOX paper, table 2), 1.1 above the step below. In the paper, this row
  started from a backbone pretrained on ImageNet; here it starts from random weights, unless --model.weights names
  others.
Expected: below that without a pretrained backbone; by how much is not known. Not yet trained to completion with this
  code.
Cost: 63.86 M parameters, 186.0 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/decoupled_head.py --workdir runs/decoupled_head
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco
from yolox_jax.config.roadmap import decoupled_head, yolov3_baseline


def get_config() -> Config:
    """The YOLOv3 baseline with a decoupled head."""
    return decoupled_head(yolov3_baseline(yolox_coco("yolox_darknet53")))
