"""YOLOX with OTA, from which SimOTA was simplified: Darknet53 on COCO (docs/roadmap.md).

Differs from roadmap/simota in the assignment, which solves an optimal transport problem with 50 Sinkhorn iterations in
every step.

Reproduces: nothing published; the paper says that OTA takes 25 % more training time than SimOTA (section 2.1).
Expected: close to the 47.3 AP of SimOTA, which approximates it; how close is not known. The class scores in the cost
  are ours, those of SimOTA. Not yet trained to completion with this code.
Cost: 63.72 M parameters, 185.3 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/ota.py --workdir runs/ota
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco
from yolox_jax.config.roadmap import (
    anchor_free,
    decoupled_head,
    multi_positives,
    ota,
    strong_augmentation,
    yolov3_baseline,
)


def get_config() -> Config:
    """The step of several positives with OTA instead."""
    base = yolox_coco("yolox_darknet53")
    config = strong_augmentation(decoupled_head(yolov3_baseline(base)), base.data.augment)
    return ota(multi_positives(anchor_free(config)))
