"""Loads weights into a model and exports them from it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from yolox_jax.models import YOLOX
from yolox_jax.text import counted, shortened
from yolox_jax.weights.description import count_classes, describe, describe_model
from yolox_jax.weights.errors import WeightsError
from yolox_jax.weights.files import read_weights
from yolox_jax.weights.levels import level_of, strides_of, with_levels
from yolox_jax.weights.names import from_original_layout, named_variables, original_shape, to_original_layout
from yolox_jax.weights.published import resolve
from yolox_jax.weights.stem import image_channels, with_channels

_MAX_KEYS_SHOWN = 4
_CLASS_HEAD = "head.cls_preds."


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Which parameters were loaded, by the original's names."""

    loaded: tuple[str, ...]
    """Loaded from the file."""
    skipped: tuple[str, ...]
    """In the file but not used: the model does not have them, or with another shape."""
    missing: tuple[str, ...]
    """In the model but unchanged: the file does not have them, or with another shape."""
    num_classes: tuple[int, int] | None = None
    """Number of classes of the weights and of the model, where they differ."""
    new_levels: Mapping[int, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """The missing parameters of levels that the network of the file does not have, by stride."""
    channels: tuple[int, int] | None = None
    """Number of channels of the images of the weights and of the model, where they differ and the first convolution
    was adapted (`yolox_jax.weights.stem`)."""

    def summary(self) -> str:
        """What was loaded and what was not, in a sentence for a log."""
        parts = [f"loaded {counted(len(self.loaded), 'tensor')}"]
        if self.channels:
            parts.append(f"first convolution adapted ({self.channels[0]} → {counted(self.channels[1], 'channel')})")
        misshaped = [key for key in self.skipped if key in self.missing]
        head = [key for key in misshaped if key.startswith(_CLASS_HEAD)] if self.num_classes else []
        if self.num_classes and head:
            theirs, ours = self.num_classes
            classes = f"{theirs} → {counted(ours, 'class')}"
            parts.append(f"{counted(len(head), 'tensor')} of the class head reinitialised ({classes})")
        parts += [
            f"the level of stride {stride} is new: {counted(len(keys), 'tensor')} start from random values"
            for stride, keys in self.new_levels.items()
        ]
        explained = {*misshaped, *(key for keys in self.new_levels.values() for key in keys)}
        for what, keys in (
            ("reinitialised, because their shape differs", [key for key in misshaped if key not in head]),
            ("not in the file and reinitialised", [key for key in self.missing if key not in explained]),
            ("of the file not used, because the model does not have them", set(self.skipped) - set(misshaped)),
        ):
            if keys:
                parts.append(f"{counted(len(keys), 'tensor')} {what}: {shortened(sorted(keys), _MAX_KEYS_SHOWN)}")
        return "; ".join(parts)


def load_weights(model: YOLOX, path: str | Path, *, strict: bool = True) -> LoadReport:
    """Set a model's parameters and batch statistics from a file.

    Args:
        model: changed in place.
        path: .pth, .safetensors, .npz, a run directory, or the name of published weights, such as `yolox_s`, which are
            downloaded on first use.
        strict: raise if the weights do not match the model exactly. Otherwise, load those that match in name and shape,
            and adapt the first convolution to the number of channels of the model; those of a head stay at their
            strides if the model has other levels.

    Returns:
        Which parameters were loaded.

    Raises:
        FileNotFoundError: the file does not exist.
        WeightsError: the file cannot be read, or its weights do not match (without `strict`, not one of them); the
            model is unchanged.
    """
    return _load(model, read_weights(resolve(path)).state_dict, strict=strict, source=str(path))


def load_state_dict(
    model: YOLOX, state_dict: Mapping[str, Shaped[np.ndarray, "..."]], *, strict: bool = True
) -> LoadReport:
    """Set a model's parameters and batch statistics from arrays with the original's names and layouts.

    `num_batches_tracked` entries are ignored. Arguments and errors as for `load_weights`.
    """
    return _load(model, state_dict, strict=strict, source="the state dict")


def export_state_dict(model: YOLOX) -> dict[str, np.ndarray]:
    """Return a model's parameters and batch statistics with the original's names and layouts (docs/yolox.md, 2.8).

    `num_batches_tracked`, which is never used, is omitted.
    """
    return {
        key: np.ascontiguousarray(to_original_layout(np.asarray(variable[...])))
        for key, variable in named_variables(model).items()
    }


def _load(
    model: YOLOX, state_dict: Mapping[str, Shaped[np.ndarray, "..."]], *, strict: bool, source: str
) -> LoadReport:
    variables = named_variables(model)
    channels = image_channels(state_dict)
    original = {key: array for key, array in state_dict.items() if not key.endswith(".num_batches_tracked")}
    weights = original if strict else with_channels(with_levels(original, model.strides), model.channels)
    common = [key for key in variables if key in weights]
    expected_shapes = {key: original_shape(variables[key].shape) for key in common}
    misshaped = [key for key in common if weights[key].shape != expected_shapes[key]]
    unexpected = [key for key in weights if key not in variables]
    missing = [key for key in variables if key not in weights]
    if strict and (misshaped or unexpected or missing):
        shapes = [f"{key} is {list(weights[key].shape)}, expected {list(expected_shapes[key])}" for key in misshaped]
        lists = {"missing": missing, "unexpected": unexpected, "with a different shape": shapes}
        raise WeightsError(_mismatch(model, weights, lists, source))
    loaded = [key for key in common if weights[key].shape == expected_shapes[key]]
    if not loaded:
        lists = {"missing": missing, "unexpected": unexpected, "with a different shape": misshaped}
        raise WeightsError(_mismatch(model, original, lists, source))
    for key in loaded:
        array = from_original_layout(np.asarray(weights[key]))
        variables[key].set_value(jnp.asarray(array, variables[key].dtype))
    num_classes = count_classes(original)
    theirs = strides_of(original)
    left_out = [key for key in original if level_of(key, theirs) not in (None, *model.strides)] if not strict else []
    new_strides = [stride for stride in model.strides if stride not in theirs]
    return LoadReport(
        tuple(loaded),
        (*unexpected, *misshaped, *left_out),
        (*missing, *misshaped),
        None if num_classes in (None, model.num_classes) else (num_classes, model.num_classes),
        {one: tuple(key for key in missing if level_of(key, model.strides) == one) for one in new_strides},
        None if channels in (None, model.channels) else (channels, model.channels),
    )


def _mismatch(
    model: YOLOX,
    weights: Mapping[str, Shaped[np.ndarray, "..."]],
    lists: Mapping[str, Sequence[str]],
    source: str,
) -> str:
    lines = [f"{source} does not match the model."]
    try:
        theirs, ours = describe(weights), describe_model(model)
    except WeightsError as error:
        lines = [f"{source} does not match the model: {error}."]
    else:
        if theirs != ours:
            lines.append(f"These are weights of {theirs}; the model is {ours}.")
    for what, entries in lists.items():
        if entries:
            more = f", ... (and {len(entries) - _MAX_KEYS_SHOWN} more)" if len(entries) > _MAX_KEYS_SHOWN else ""
            lines.append(f"  {len(entries)} {what}: {', '.join(entries[:_MAX_KEYS_SHOWN])}{more}")
    lines.append(
        "Create the model that the weights belong to, or load only the weights that match: `model.weights` in a "
        "training config, strict=False in Python."
    )
    return "\n".join(lines)
