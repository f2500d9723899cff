"""Step 1 of the roadmap to YOLOX: the YOLOv3 baseline with Darknet53 on COCO (docs/roadmap.md).

Coupled head, three anchor boxes in a cell, the assignment of YOLOv3, and weak augmentation: colour, flip and
multi-scale. Losses, schedule, optimizer and averaged weights are those of YOLOX.

Reproduces: 38.5 AP on COCO val2017 at 640x640 (YOLOX paper, table 2). In the paper, this row started from a backbone
  pretrained on ImageNet; here it starts from random weights, unless --model.weights names others.
Expected: below that without a pretrained backbone; by how much is not known. The paper does not say what its baseline
  does with objects that share an anchor, with predictions that overlap an object without being assigned, or which
  anchor boxes it has: the choices here are in docs/roadmap.md. Not yet trained to completion with this code.
Cost: 63.00 M parameters, 157.3 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/yolov3_baseline.py --workdir runs/yolov3_baseline
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco
from yolox_jax.config.roadmap import yolov3_baseline


def get_config() -> Config:
    """The recipe of YOLOX with everything else replaced by YOLOv3's."""
    return yolov3_baseline(yolox_coco("yolox_darknet53"))
