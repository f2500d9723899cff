"""Weights into a model and out of it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from yolox_jax.models import YOLOX
from yolox_jax.weights.errors import WeightsError
from yolox_jax.weights.files import read_weights
from yolox_jax.weights.names import describe, from_original_layout, named_variables, original_shape, to_original_layout
from yolox_jax.weights.published import resolve

_SHOWN = 4


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What loading did, as the original's names."""

    loaded: tuple[str, ...]
    """Set from the file."""
    skipped: tuple[str, ...]
    """In the file but not used: unknown to the model, or of another shape."""
    missing: tuple[str, ...]
    """In the model but left as they were: not in the file, or of another shape there."""


def load_weights(model: YOLOX, path: str | Path, *, strict: bool = True) -> LoadReport:
    """Set a model's parameters and batch statistics from a file.

    Args:
        model: changed in place.
        path: .pth, .safetensors, .npz, a run directory, or the name of published weights, such as `yolox_s`, which are
            fetched at their first use.
        strict: refuse weights that do not fit exactly; otherwise load what fits by name and shape.

    Raises:
        FileNotFoundError: if there is no such file.
        WeightsError: if the file cannot be read, or its weights do not fit (the model is unchanged then).
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
    """A model's parameters and batch statistics with the original's names and layouts (SPEC A1.8).

    `num_batches_tracked`, which nothing reads, is left out.
    """
    return {
        key: np.ascontiguousarray(to_original_layout(np.asarray(variable[...])))
        for key, variable in named_variables(model).items()
    }


def _load(
    model: YOLOX, state_dict: Mapping[str, Shaped[np.ndarray, "..."]], *, strict: bool, source: str
) -> LoadReport:
    variables = named_variables(model)
    given = {key: array for key, array in state_dict.items() if not key.endswith(".num_batches_tracked")}
    common = [key for key in variables if key in given]
    wanted = {key: original_shape(variables[key].shape) for key in common}
    misshaped = [key for key in common if given[key].shape != wanted[key]]
    unexpected = [key for key in given if key not in variables]
    missing = [key for key in variables if key not in given]
    if strict and (misshaped or unexpected or missing):
        shapes = [f"{key} is {list(given[key].shape)}, should be {list(wanted[key])}" for key in misshaped]
        lists = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
        raise WeightsError(_mismatch(model, given, lists, source))
    loaded = [key for key in common if given[key].shape == wanted[key]]
    for key in loaded:
        array = from_original_layout(np.asarray(given[key]))
        variables[key].set_value(jnp.asarray(array, variables[key].dtype))
    return LoadReport(tuple(loaded), (*unexpected, *misshaped), (*missing, *misshaped))


def _mismatch(
    model: YOLOX,
    given: Mapping[str, Shaped[np.ndarray, "..."]],
    lists: Mapping[str, Sequence[str]],
    source: str,
) -> str:
    lines = [f"{source} does not fit the model."]
    try:
        variant, num_classes = describe(given)
    except WeightsError as error:
        lines = [f"{source} does not fit the model: {error}."]
    else:
        if (variant, num_classes) != (model.variant, model.num_classes):
            ours = f"{model.variant} with {_classes(model.num_classes)}"
            lines.append(f"These are weights of {variant} with {_classes(num_classes)}; the model is {ours}.")
    for what, entries in lists.items():
        if entries:
            more = f", ... (and {len(entries) - _SHOWN} more)" if len(entries) > _SHOWN else ""
            lines.append(f"  {len(entries)} {what}: {', '.join(entries[:_SHOWN])}{more}")
    lines.append(
        "Create the model that the weights belong to, or load only what fits: `model.weights` in a training config, "
        "strict=False in Python."
    )
    return "\n".join(lines)


def _classes(number: int) -> str:
    return "1 class" if number == 1 else f"{number} classes"
