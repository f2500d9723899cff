"""Coupled head without suppression: Darknet53 on COCO (docs/roadmap.md).

Differs from roadmap/yolov3_baseline in a branch that selects one prediction for each object, so that inference needs no
non-maximum suppression.

Reproduces: 34.3 AP on COCO val2017 at 640x640 (YOLOX paper, table 1), 4.2 below the same network with suppression. In
  the paper, the same network with suppression started from a backbone pretrained on ImageNet, and presumably this one
  did; here it starts from random weights, unless --model.weights names others.
Expected: below that without a pretrained backbone; by how much is not known. The paper does not say where the branch
  starts if the head is coupled: here from the features of the 3x3 convolution. Not yet trained to completion with this
  code.
Cost: 68.90 M parameters, 180.4 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/coupled_end_to_end.py --workdir runs/coupled_end_to_end
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco
from yolox_jax.config.roadmap import nms_free, yolov3_baseline


def get_config() -> Config:
    """The YOLOv3 baseline with a branch in place of suppression."""
    return nms_free(yolov3_baseline(yolox_coco("yolox_darknet53")))
