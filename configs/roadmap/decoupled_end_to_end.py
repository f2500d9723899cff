"""Decoupled head with anchor boxes, without suppression: Darknet53 on COCO (docs/roadmap.md).

Differs from roadmap/decoupled_head in a branch that selects one prediction for each object, so that inference needs no
non-maximum suppression.

Reproduces: 38.8 AP on COCO val2017 at 640x640 (YOLOX paper, table 1), 0.8 below the same network with suppression. In
  the paper, the same network with suppression started from a backbone pretrained on ImageNet, and presumably this one
  did; here it starts from random weights, unless --model.weights names others.
Expected: below that without a pretrained backbone; by how much is not known. Not yet trained to completion with this
  code.
Cost: 67.40 M parameters, 205.9 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/decoupled_end_to_end.py --workdir runs/decoupled_end_to_end
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco
from yolox_jax.config.roadmap import decoupled_head, nms_free, yolov3_baseline


def get_config() -> Config:
    """The step of the decoupled head with a branch in place of suppression."""
    return nms_free(decoupled_head(yolov3_baseline(yolox_coco("yolox_darknet53"))))
