"""Resolves the options of a detector: what the caller passes, else the metadata of the weights, else the defaults."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

from yolox_jax.config import ConfigError
from yolox_jax.config.inference_checks import check_class_names, check_input_size
from yolox_jax.data.pixel_format import PixelFormat
from yolox_jax.models.yolox import VARIANTS, YOLOX
from yolox_jax.text import shortened
from yolox_jax.weights import published_weights, read_model
from yolox_jax.weights.coco_names import COCO_NAMES

MAX_NAMES_SHOWN = 10
"""Class names that an error message lists."""


def resolve_network(
    variant: str | None, weights: str | Path | None, model: YOLOX | None
) -> tuple[YOLOX, dict[str, str]]:
    """Return the network of a detector and the metadata of its weights.

    Args:
        variant: without `weights` and `model`, its published weights are used. Otherwise it must match them.
        weights: see `yolox_jax.weights.read_weights`.
        model: used as it is, without metadata.

    Raises:
        ConfigError: the variant does not match the weights or the model.
        ValueError: there is neither a variant, nor weights, nor a model; or both weights and a model.
    """
    if weights is None and model is None and variant is not None:
        weights = published_weights(variant)
    if weights is not None and model is None:
        return read_model(weights, variant)
    if weights is not None or model is None:
        raise ValueError("pass the name of a variant, weights=PATH or model=MODEL to Detector")
    if variant not in (None, model.variant):
        raise ConfigError(f"the model is a {model.variant}, not a {variant}")
    return model, {}


def numbered_classes(num_classes: int) -> tuple[str, ...]:
    """Names for classes that have none: `class 0`, `class 1` and so on."""
    return tuple(f"class {index}" for index in range(num_classes))


def resolve_class_names(
    class_names: Sequence[str] | None, metadata: dict[str, str], num_classes: int
) -> tuple[str, ...]:
    """Return the class names: those passed, those stored with the weights, COCO's for 80 classes, or numbered ones.

    Raises:
        ConfigError: the number of names does not match the number of classes.
    """
    if class_names is None and "class_names" in metadata:
        class_names = json.loads(metadata["class_names"])
    if class_names is None:
        class_names = COCO_NAMES if num_classes == len(COCO_NAMES) else numbered_classes(num_classes)
    check_class_names(class_names, num_classes)
    return tuple(class_names)


def resolve_input_size(input_size: tuple[int, int] | None, metadata: dict[str, str], model: YOLOX) -> tuple[int, int]:
    """Return height and width of the network input in px: those passed, stored with the weights, or published.

    Raises:
        ConfigError: they are not multiples of the largest stride of the network.
    """
    if input_size is None and "input_size" in metadata:
        input_size = json.loads(metadata["input_size"])
    size = VARIANTS[model.variant].input_size if input_size is None else input_size
    check_input_size(size, model.strides[-1])
    height, width = size
    return height, width


def resolve_pixels(bits: int | None, metadata: dict[str, str], channels: int) -> PixelFormat:
    """Return the format of the images: `bits` as passed, else as stored with the weights, else 8.

    Raises:
        ConfigError: `bits` is neither 8 nor 16.
    """
    if bits not in (None, 8, 16):
        raise ConfigError(f"bits must be 8 or 16; got {bits!r}")
    return PixelFormat(channels, int(metadata.get("bits", 8)) if bits is None else bits)


def class_indices(classes: Sequence[str | int] | None, class_names: Sequence[str]) -> list[int]:
    """Indices of classes that are given by name or index; None stands for all classes.

    Raises:
        ConfigError: the network does not have one of the classes.
    """
    if classes is None:
        return list(range(len(class_names)))
    return [_class_index(name, class_names) for name in classes]


def _class_index(name: str | int, class_names: Sequence[str]) -> int:
    if name in class_names:
        return list(class_names).index(str(name))
    if str(name).isdecimal() and int(name) < len(class_names):
        return int(name)
    similar = difflib.get_close_matches(str(name), class_names, n=1)
    hint = f"; did you mean {similar[0]!r}?" if similar else f": they are {shortened(class_names, MAX_NAMES_SHOWN)}"
    raise ConfigError(f"there is no class {name!r} among the {len(class_names)} classes of the network{hint}")
