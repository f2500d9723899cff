"""Maps the original's parameter names and layouts to ours (docs/yolox.md, 2.8).

Modules have the same names, so only the last part of a name and the layout of kernels differ:

    backbone.backbone.dark2.0.conv.kernel [kh, kw, in, out]  is  backbone.backbone.dark2.0.conv.weight [out, in, kh, kw]
    backbone.backbone.dark2.0.bn.mean                        is  backbone.backbone.dark2.0.bn.running_mean
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Shaped

from yolox_jax.models import YOLOX
from yolox_jax.text import counted, shortened
from yolox_jax.weights.errors import WeightsError

_ANCHORS = (
    "head.cls_preds.0.weight",
    "backbone.backbone.stem.conv.conv.weight",
    "backbone.out1_cbl.conv.weight",
)
"""Weights contain at least one of these names, even those of a backbone alone."""
_WRAPPERS = ("module", "_orig_mod")
"""Parts that `DataParallel` and `torch.compile` add to names, at the start or inside."""
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def original_name(path: Sequence[Any]) -> str:
    """Return the original's name of the variable at `path` in a model."""
    return ".".join([*map(str, path[:-1]), _LEAVES[str(path[-1])]])


def named_variables(model: YOLOX) -> dict[str, nnx.Variable]:
    """Return all parameters and batch statistics of a model, frozen or not, by the original's name."""
    return {original_name(path): variable for path, variable in nnx.to_flat_state(nnx.state(model))}


def to_original_layout(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Transpose kernels from [kh, kw, in, out] to [out, in, kh, kw]. All other arrays have one axis and stay."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


def from_original_layout(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Transpose kernels from [out, in, kh, kw] to [kh, kw, in, out]. All other arrays have one axis and stay."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def original_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in the original of a variable of this shape."""
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape


def without_prefix(
    state_dict: Mapping[str, Shaped[np.ndarray, "..."]],
) -> tuple[dict[str, Shaped[np.ndarray, "..."]], str | None]:
    """Remove what other programs put in front of the original's names, such as `module.` or `model.`.

    Returns:
        The weights under the original's names, and a sentence about what was removed; None if nothing was. Arrays
        without the prefix do not belong to the network and are left out.

    Raises:
        WeightsError: the weights hold several networks with different prefixes.
    """
    names = {key: ".".join(part for part in key.split(".") if part not in _WRAPPERS) for key in state_dict}
    if len(set(names.values())) < len(names):  # two arrays would get the same name
        names = {key: key for key in state_dict}
    prefix = _common_prefix(list(names.values()))
    renamed = {key: name.removeprefix(prefix) for key, name in names.items() if name.startswith(prefix)}
    if all(key == name for key, name in renamed.items()):
        return dict(state_dict), None
    example, clean = next((key, name) for key, name in renamed.items() if key != name)
    remark = f"read {counted(sum(key != name for key, name in renamed.items()), 'name')} like {example} as {clean}"
    others = [key for key in names if key not in renamed]
    if others:
        remark += f"; left out {counted(len(others), 'other array')}: {shortened(others, 4)}"
    return {name: state_dict[key] for key, name in renamed.items()}, remark


def _common_prefix(names: Sequence[str]) -> str:
    for anchor in _ANCHORS:
        prefixes = sorted({name.removesuffix(anchor) for name in names if f".{name}".endswith(f".{anchor}")})
        if "" in prefixes:
            return ""
        if len(prefixes) > 1:
            raise WeightsError(
                f"there are {len(prefixes)} networks, with the prefixes {' and '.join(map(repr, prefixes))}. Save the "
                "state dict of one of them alone"
            )
        if prefixes:
            return prefixes[0]
    return ""
