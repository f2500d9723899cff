"""Tells from the names and shapes of weights which network they belong to."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Shaped

from yolox_jax.config import STRIDES
from yolox_jax.models import VARIANTS, YOLOX
from yolox_jax.models.coupled_head import CoupledHead
from yolox_jax.text import counted, shortened
from yolox_jax.weights.errors import WeightsError
from yolox_jax.weights.levels import strides_of
from yolox_jax.weights.stem import image_channels

_CLASSES = "head.cls_preds.0.weight"


class Description(NamedTuple):
    """What distinguishes networks whose weights do not fit each other."""

    variant: str
    """Name in `yolox_jax.models.VARIANTS`."""
    num_classes: int
    head: Literal["decoupled", "coupled"] = "decoupled"
    boxes_per_cell: int = 1
    """Number of anchor boxes in a cell; 1 in an anchor-free network."""
    end_to_end: bool = False
    strides: tuple[int, ...] = STRIDES
    channels: int = 3
    """Number of channels of the images."""

    def __str__(self) -> str:
        """Such as `yolox_s with 80 classes, a coupled head, 3 anchor boxes a cell`; what is usual is left out."""
        parts = [f"{self.variant} with {counted(self.num_classes, 'class')}"]
        parts += ["a coupled head"] if self.head == "coupled" else []
        parts += [f"{self.boxes_per_cell} anchor boxes a cell"] if self.boxes_per_cell > 1 else []
        parts += ["an end-to-end branch"] if self.end_to_end else []
        parts += [f"levels of stride {' '.join(map(str, self.strides))}"] if self.strides != STRIDES else []
        parts += [f"images of {counted(self.channels, 'channel')}"] if self.channels != 3 else []
        return ", ".join(parts)


def describe_model(model: YOLOX) -> Description:
    """Describe the network that a model is."""
    return Description(
        variant=model.variant,
        num_classes=model.num_classes,
        head="coupled" if isinstance(model.head, CoupledHead) else "decoupled",
        boxes_per_cell=model.boxes_per_cell,
        end_to_end=model.end_to_end,
        strides=model.strides,
        channels=model.channels,
    )


def describe(state_dict: Mapping[str, Shaped[np.ndarray, "..."]]) -> Description:
    """Infer the network from the names and shapes of weights.

    Args:
        state_dict: arrays with the original's names and layouts.

    Raises:
        WeightsError: the weights are not those of one of the seven variants.
    """
    variant, classes = _variant(state_dict), state_dict.get(_CLASSES)
    if variant is None or classes is None or classes.ndim != 4:
        raise WeightsError(
            f"these are not weights of a YOLOX variant ({', '.join(VARIANTS)}): the names and shapes of the "
            f"{counted(len(state_dict), 'array')} match none of them. Names found: {shortened(list(state_dict), 4)}. "
            f"Expected are names such as {_CLASSES}"
        )
    boxes_per_cell = _boxes_per_cell(state_dict)
    return Description(
        variant=variant,
        num_classes=len(classes) // boxes_per_cell,
        head="coupled" if any(key.startswith("head.convs.") for key in state_dict) else "decoupled",
        boxes_per_cell=boxes_per_cell,
        end_to_end="head.one_to_one.0.pred.weight" in state_dict,
        strides=strides_of(state_dict),
        channels=image_channels(state_dict) or 3,
    )


def count_classes(state_dict: Mapping[str, Shaped[np.ndarray, "..."]]) -> int | None:
    """Number of classes that the weights predict; None if there are no class predictions among them."""
    classes = state_dict.get(_CLASSES)
    return None if classes is None or not classes.ndim else len(classes) // _boxes_per_cell(state_dict)


def _boxes_per_cell(state_dict: Mapping[str, Shaped[np.ndarray, "..."]]) -> int:
    objectness = state_dict.get("head.obj_preds.0.weight")  # one output for each box
    return 1 if objectness is None or not objectness.ndim else max(len(objectness), 1)


def _variant(state_dict: Mapping[str, Shaped[np.ndarray, "..."]]) -> str | None:
    """The variant, from backbone and neck."""
    stem = state_dict.get("backbone.backbone.stem.conv.conv.weight")
    depthwise = any(key.endswith(".dconv.conv.weight") for key in state_dict)
    for name, variant in VARIANTS.items():
        repeats = max(round(3 * variant.depth), 1)
        next_repeat = f"backbone.backbone.dark2.1.m.{repeats}.conv1.conv.weight"
        if variant.backbone == "darknet53":
            fits = "backbone.out1_cbl.conv.weight" in state_dict
        else:
            fits = (
                stem is not None
                and stem.ndim == 4
                and stem.shape[0] == int(64 * variant.width)
                and depthwise == variant.depthwise
                and f"backbone.backbone.dark2.1.m.{repeats - 1}.conv1.conv.weight" in state_dict
                and next_repeat not in state_dict
            )
        if fits:
            return name
    return None
