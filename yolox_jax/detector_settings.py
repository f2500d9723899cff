"""What a detector is set to: checked, and completed from the weights' metadata or the published values."""

import difflib
import json
import math
from collections.abc import Sequence

from yolox_jax.coco_names import COCO_NAMES
from yolox_jax.config import STRIDE, ConfigError
from yolox_jax.models.yolox import VARIANTS
from yolox_jax.text import shortened

PRECISIONS = ("float32", "bfloat16", "float16")
"""What a network can compute in."""
MOST_NAMES = 10
"""Class names that a message lists."""


def check_thresholds(score_threshold: float, iou_threshold: float) -> None:
    """Raise ConfigError where a threshold cannot work."""
    if not 0 <= score_threshold <= 1:
        raise ConfigError(f"score threshold {score_threshold}: it lies between 0 and 1")
    if not 0 < iou_threshold <= 1:
        raise ConfigError(f"IoU threshold {iou_threshold}: it lies above 0 and up to 1")


def check_precision(precision: str) -> None:
    """Raise ConfigError where a network cannot compute so."""
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}")


def check_scales(scales: Sequence[float]) -> None:
    """Raise ConfigError where an image cannot be seen at these factors of the input size."""
    if not scales or not all(math.isfinite(scale) and scale > 0 for scale in scales):
        raise ConfigError(f"scales {list(scales)}: give one or more factors above 0, such as 1.0 and 1.25")


def numbered_classes(num_classes: int) -> tuple[str, ...]:
    """The names of classes that nobody has named."""
    return tuple(f"class {index}" for index in range(num_classes))


def chosen_names(given: Sequence[str] | None, metadata: dict[str, str], num_classes: int) -> tuple[str, ...]:
    """The names of the classes: those given, those stored with the weights, COCO's for 80 classes, or numbers.

    Raises:
        ConfigError: their number is not that of the classes.
    """
    if given is None and "class_names" in metadata:
        given = json.loads(metadata["class_names"])
    if given is None:
        given = COCO_NAMES if num_classes == len(COCO_NAMES) else numbered_classes(num_classes)
    if len(given) != num_classes:
        raise ConfigError(f"{len(given)} class names for a network with {num_classes} classes")
    return tuple(given)


def chosen_size(given: tuple[int, int] | None, metadata: dict[str, str], variant: str) -> tuple[int, int]:
    """Height and width of the network input in px: given, stored with the weights, or published.

    Raises:
        ConfigError: they are no multiples of 32.
    """
    if given is None:
        given = json.loads(metadata["input_size"]) if "input_size" in metadata else VARIANTS[variant].input_size
    height, width = given
    if height < STRIDE or width < STRIDE or height % STRIDE or width % STRIDE:
        raise ConfigError(f"input size {height} x {width}: height and width must be multiples of {STRIDE} px")
    return height, width


def class_indices(wanted: Sequence[str | int] | None, class_names: Sequence[str]) -> list[int]:
    """Indices of classes that are given by name or index; all of them for None.

    Raises:
        ConfigError: one is no class of the network.
    """
    if wanted is None:
        return list(range(len(class_names)))
    return [_class_index(name, class_names) for name in wanted]


def _class_index(wanted: str | int, class_names: Sequence[str]) -> int:
    if wanted in class_names:
        return list(class_names).index(str(wanted))
    if str(wanted).isdecimal() and int(wanted) < len(class_names):
        return int(wanted)
    near = difflib.get_close_matches(str(wanted), class_names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f": they are {shortened(class_names, MOST_NAMES)}"
    raise ConfigError(f"there is no class {wanted!r} among the {len(class_names)} of the network{hint}")
