"""YOLOX-Darknet53 on COCO.

Reproduces: 47.7 AP on COCO val2017 at 640x640 (published; score threshold 0.001, batch 128; SPEC D1).
Expected: about 47.7; nobody has published another run at batch 64 (SPEC D4). Not trained to the end with this code yet.
Cost: 63.7 M parameters, 185.3 GFLOPs an image; 300 epochs of 118,287 images; hours not measured here.
Command: python train.py --config configs/yolox_darknet53.py --workdir runs/yolox_darknet53
"""

from yolox_jax.config import Config, ModelConfig


def get_config() -> Config:
    """The published recipe at batch 64: every setting but the variant has its default."""
    return Config(model=ModelConfig(variant="yolox_darknet53"))
