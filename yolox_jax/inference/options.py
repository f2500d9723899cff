"""What a detector is set to: checked, and completed from the weights' metadata or the published values."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

from yolox_jax.config import ConfigError
from yolox_jax.config.inference_checks import check_class_names, check_input_size
from yolox_jax.models.yolox import VARIANTS, YOLOX
from yolox_jax.text import shortened
from yolox_jax.weights import published_weights, read_model
from yolox_jax.weights.coco_names import COCO_NAMES

MOST_NAMES = 10
"""Class names that a message lists."""


def chosen_network(
    variant: str | None, weights: str | Path | None, model: YOLOX | None
) -> tuple[YOLOX, dict[str, str]]:
    """The network of a detector, from exactly one of weights and a live model, and the metadata of the weights.

    Args:
        variant: fetches its published weights where nothing else is given; otherwise it has to agree with that.
        weights: as for `yolox_jax.weights.read_weights`.
        model: taken as it is; it has no metadata.

    Raises:
        ConfigError: the variant contradicts the weights or the model.
        ValueError: nothing is given, or both.
    """
    if weights is None and model is None and variant is not None:
        weights = published_weights(variant)
    if weights is not None and model is None:
        return read_model(weights, variant)
    if weights is not None or model is None:
        raise ValueError("a Detector needs one of these: the name of a variant, weights=PATH, or model=MODEL")
    if variant not in (None, model.variant):
        raise ConfigError(f"the model is a {model.variant}, not a {variant}")
    return model, {}


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
    check_class_names(given, num_classes)
    return tuple(given)


def chosen_size(given: tuple[int, int] | None, metadata: dict[str, str], variant: str) -> tuple[int, int]:
    """Height and width of the network input in px: given, stored with the weights, or published.

    Raises:
        ConfigError: they are no multiples of 32.
    """
    if given is None:
        given = json.loads(metadata["input_size"]) if "input_size" in metadata else VARIANTS[variant].input_size
    check_input_size(given)
    height, width = given
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
