"""Step 7 of the roadmap to YOLOX: no suppression, Darknet53 on COCO (docs/roadmap.md).

Differs from roadmap/simota in a branch that selects one prediction for each object, so that inference needs no
non-maximum suppression. The paper leaves this step out of YOLOX, since it costs speed and AP.

Reproduces: 46.5 AP on COCO val2017 at 640x640 (YOLOX paper, table 2), 0.8 below the step below.
Expected: about that. The one-to-one assignment, which the paper takes from PSS (arXiv 2101.11782), is matched greedily
  here; the weight of its loss, 1, is ours. Not yet trained to completion with this code.
Cost: 67.27 M parameters, 205.1 GFLOPs per image; 300 epochs of 118,287 images. Training time has not been measured yet.
Command: python train.py --config configs/roadmap/nms_free.py --workdir runs/nms_free
"""

from yolox_jax.config import Config
from yolox_jax.config.recipes import yolox_coco
from yolox_jax.config.roadmap import (
    anchor_free,
    decoupled_head,
    multi_positives,
    nms_free,
    simota,
    strong_augmentation,
    yolov3_baseline,
)


def get_config() -> Config:
    """YOLOX with a branch in place of suppression."""
    base = yolox_coco("yolox_darknet53")
    config = strong_augmentation(decoupled_head(yolov3_baseline(base)), base.data.augment)
    return nms_free(simota(multi_positives(anchor_free(config))))
