"""The steps from a YOLOv3 baseline to YOLOX, each as a change of the config below it (docs/roadmap.md).

The steps change any config, of any variant and dataset, by what the paper changes (arXiv 2107.08430, tables 1 and 2).
They start from a recipe of YOLOX, the base, which the step `simota` reaches again.
"""

from dataclasses import replace

from yolox_jax.config.assignment import YOLOV3_ANCHORS
from yolox_jax.config.augment import AugmentConfig
from yolox_jax.config.settings import Config

Anchors = tuple[tuple[float, float], ...]


def yolov3_baseline(base: Config, anchors: Anchors = YOLOV3_ANCHORS) -> Config:
    """A recipe of YOLOX with the head, anchor boxes and assignment of YOLOv3, and weak augmentation.

    Schedule, optimizer, losses, multi-scale training and averaged weights stay those of YOLOX, as in the paper.

    Args:
        base: The recipe of YOLOX.
        anchors: Width and height of nine anchor boxes in px, from small to large. The default is those of COCO.
    """
    return replace(
        base,
        model=replace(base.model, head="coupled", anchors=anchors),
        data=replace(base.data, augment=_weak(base.data.augment)),
        assignment=replace(base.assignment, rule="yolov3"),
    )


def _weak(augment: AugmentConfig) -> AugmentConfig:
    """Colour and flip only. The affine transform and MixUp apply to mosaics alone."""
    return replace(augment, mosaic_probability=0.0, mixup_probability=0.0)


def decoupled_head(config: Config) -> Config:
    """One branch for classes and one for boxes, which still predict relative to anchor boxes."""
    return replace(config, model=replace(config.model, head="decoupled"))


def strong_augmentation(config: Config, augment: AugmentConfig) -> Config:
    """Mosaic and MixUp, as in the base.

    Args:
        config: The step below.
        augment: The augmentation of the base.
    """
    return replace(config, data=replace(config.data, augment=augment))


def anchor_free(config: Config) -> Config:
    """One prediction in a cell, without anchor boxes; an object is assigned the cell of its centre."""
    return replace(
        config, model=replace(config.model, anchors=()), assignment=replace(config.assignment, rule="centre")
    )


def multi_positives(config: Config) -> Config:
    """An object is assigned the 3x3 cells about its centre."""
    return replace(config, assignment=replace(config.assignment, rule="multi_positives"))


def simota(config: Config) -> Config:
    """Dynamic assignment by SimOTA: YOLOX."""
    return replace(config, assignment=replace(config.assignment, rule="simota"))


def nms_free(config: Config) -> Config:
    """A branch that selects one prediction for each object, instead of suppression."""
    return replace(config, model=replace(config.model, end_to_end=True))


def ota(config: Config) -> Config:
    """Dynamic assignment by OTA, which SimOTA approximates."""
    return replace(config, assignment=replace(config.assignment, rule="ota"))


def ladder(base: Config, anchors: Anchors = YOLOV3_ANCHORS) -> dict[str, Config]:
    """All steps of table 2 by name, from the lowest to the highest, and OTA.

    Args:
        base: The recipe of YOLOX.
        anchors: Anchor boxes for the first three steps.
    """
    baseline = yolov3_baseline(base, anchors)
    decoupled = decoupled_head(baseline)
    augmented = strong_augmentation(decoupled, base.data.augment)
    free = anchor_free(augmented)
    positives = multi_positives(free)
    yolox = simota(positives)
    return {
        "yolov3_baseline": baseline,
        "decoupled_head": decoupled,
        "strong_augmentation": augmented,
        "anchor_free": free,
        "multi_positives": positives,
        "simota": yolox,
        "nms_free": nms_free(yolox),
        "ota": ota(yolox),
    }
