"""YOLOX-nano on COCO.

Reproduces: 25.8 AP on COCO val2017 at 416x416 (published; score threshold 0.001, batch 128; SPEC D1).
Expected: about 24 from scratch, as the original's authors say; the published weights alone started from a backbone
  trained on ImageNet (issue 674 of the original). Not trained to the end with this code yet.
Cost: 0.91 M parameters, 1.08 GFLOPs an image; 300 epochs of 118,287 images; hours not measured here.
Command: python train.py --config configs/yolox_nano.py --workdir runs/yolox_nano
"""

from yolox_jax.config import AugmentConfig, Config, DataConfig, ModelConfig, TrainConfig


def get_config() -> Config:
    """The published recipe at batch 64: half the images are mosaics, with less zoom, and none has MixUp."""
    return Config(
        model=ModelConfig(variant="yolox_nano"),
        data=DataConfig(
            input_size=(416, 416),
            augment=AugmentConfig(mosaic_probability=0.5, mosaic_scale=(0.5, 1.5), mixup_probability=0.0),
        ),
        train=TrainConfig(multiscale_px=(320, 640)),
    )
