r"""YOLOX-nano fine-tuned on blood cells: a data set of your own in Pascal VOC layout.

BCCD has 364 pictures of 640x480 px with 4,888 red cells, white cells and platelets (MIT licence). Put it (Annotations,
ImageSets, JPEGImages) into datasets/bccd and the published weights into weights/yolox_nano.pth, or name other places as
in the second command. For your own data change the two folders; the classes are read from the annotations.

Reproduces: 0.577 AP on the 87 validation images, the mean of three seeds (0.566, 0.577, 0.587) of the original's
  modules with these settings and weights; AP50 0.870 to 0.887.
Expected: 0.574, the mean of two seeds of this code (0.573, 0.575); AP50 0.862 and 0.875.
Cost: 30 epochs of 205 images, ten to fifteen minutes on two CPU cores.
Command: python train.py --config configs/bccd_nano.py --workdir runs/bccd_nano
  or: python train.py --config configs/bccd_nano.py --workdir runs/bccd_nano --data.train.images MY/bccd \
      --data.val.images MY/bccd --model.weights MY/yolox_nano.pth
"""

from yolox_jax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    DatasetConfig,
    EvaluationConfig,
    ModelConfig,
    ScheduleConfig,
    TrainConfig,
)


def get_config() -> Config:
    """A short schedule for few images: one small size, mild mosaics, no MixUp."""
    return Config(
        model=ModelConfig(variant="yolox_nano", weights="weights/yolox_nano.pth"),
        data=DataConfig(
            train=DatasetConfig(format="voc", images="datasets/bccd", split="train"),
            val=DatasetConfig(format="voc", images="datasets/bccd", split="val"),
            input_size=(320, 320),
            augment=AugmentConfig(mosaic_probability=0.5, mosaic_scale=(0.5, 1.5), mixup_probability=0.0),
        ),
        schedule=ScheduleConfig(epochs=30, warmup_epochs=2.0, no_aug_epochs=5),
        train=TrainConfig(batch_size=16, ema_decay=0.9998, multiscale_px=None),
        evaluation=EvaluationConfig(interval=5),
    )
