r"""YOLOX-nano fine-tuned on blood cells: an example of a dataset of your own, in Pascal VOC layout.

BCCD has 364 images of 640x480 px with 4,888 red cells, white cells and platelets (MIT licence). Put it (Annotations,
ImageSets, JPEGImages) into datasets/bccd and the published weights into weights/yolox_nano.pth, or pass other paths as
in the second command. For your own data, change the two folders; the classes are read from the annotations.

Reproduces: 0.577 AP on the 87 validation images, the mean of three seeds (0.566, 0.577, 0.587) of the original's
  modules with these settings and weights; AP50 0.870 to 0.887.
Expected: 0.573, the mean of five runs of this code (0.571 to 0.575); AP50 0.862 to 0.880.
Cost: 30 epochs of 205 images, ten to fifteen minutes on two CPU cores.
Command: python train.py --config configs/bccd_nano.py --workdir runs/bccd_nano
  or: python train.py --config configs/bccd_nano.py --workdir runs/bccd_nano --data.train.images MY/bccd \
      --data.val.images MY/bccd --model.weights MY/yolox_nano.pth
"""

from dataclasses import replace

from yolox_jax.config import Config, DatasetConfig
from yolox_jax.config.recipes import yolox_coco


def bccd(split: str) -> DatasetConfig:
    """A split of the dataset: `train` or `val`."""
    return DatasetConfig(
        format="voc", images="datasets/bccd", annotations="", split=split, fraction=1.0, difficult="use"
    )


def get_config() -> Config:
    """The COCO recipe with a short schedule for few images: one small input size, mild mosaics, no MixUp."""
    coco = yolox_coco("yolox_nano")
    augment = replace(coco.data.augment, mosaic_probability=0.5, mosaic_scale=(0.5, 1.5), mixup_probability=0.0)
    return replace(
        coco,
        model=replace(coco.model, weights="weights/yolox_nano.pth"),
        data=replace(coco.data, train=bccd("train"), val=bccd("val"), input_size=(320, 320), augment=augment),
        schedule=replace(coco.schedule, epochs=30, warmup_epochs=2.0, no_aug_epochs=5),
        train=replace(coco.train, batch_size=16, ema_decay=0.9998, multiscale_px=None),
        evaluation=replace(coco.evaluation, interval=5),
    )
