"""Operations and direction of the convolutions and matrix products in an optimized XLA program."""

import functools
import math
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from hlo_text import Array, Computation, Instruction

Direction = Literal["forward", "input gradient", "weight gradient"]


class Axis(NamedTuple):
    """The window of a convolution along one axis."""

    size: int
    stride: int
    low: int
    """Padding before the first pixel; the padding behind the last one follows from the sizes."""
    input_dilation: int
    kernel_dilation: int


def convolution_flop(instruction: Instruction, computation: Computation) -> float:
    """Operations of a convolution, two for each product of a pixel and a weight; products with padding do not count.

    Args:
        instruction: a `convolution`, or a call of cuDNN that computes one.
        computation: the one it belongs to.
    """
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    assert labels is not None, instruction.name
    roles = _roles(instruction, computation)
    of_image, of_kernel, of_out = (_sizes(text, array) for text, array in zip(labels.groups(), roles, strict=True))
    taps = 1
    for number, axis in enumerate(window(instruction.attributes, sum(name.isdigit() for name in of_out))):
        taps *= _products(of_image[str(number)], of_out[str(number)], axis)
    return 2.0 * of_out["b"] * of_out["f"] * of_kernel["i"] * taps


def product_flop(instruction: Instruction, computation: Computation) -> float:
    """Operations of a matrix product: a `dot`, or a call of cuBLAS; two for each product of numbers."""
    contracted = re.search(r'lhs_contracting_dim(?:ensions"|s)[=:][{\[]"?([\d,"]*)', instruction.attributes)
    lhs = computation[instruction.operands[0]].arrays[0]
    axes = [int(number) for number in re.findall(r"\d+", contracted[1])] if contracted else []
    return 2.0 * instruction.arrays[0].elements * math.prod(lhs.dims[axis] for axis in axes)


def pointwise_flop(instruction: Instruction, computation: Computation) -> float:
    """Operations of a kernel of `pointwise_kernels.py`: those of one product, or in the backward pass two."""
    features = instruction.arrays[0]
    pixels = features.dims[0]
    operands = [computation[name].arrays[0] for name in instruction.operands]
    weights = next(one for one in operands if one.dtype == features.dtype and one.dims[0] != pixels)
    return (4.0 if "pointwise_backward" in instruction.op_name else 2.0) * pixels * weights.elements


def direction(instruction: Instruction) -> Direction:
    """Whether a convolution belongs to the forward pass, or which gradient it computes."""
    if instruction.target.endswith("BackwardFilter"):
        return "weight gradient"
    if instruction.target.endswith("BackwardInput"):
        return "input gradient"
    if "transpose(" not in instruction.op_name:
        return "forward"
    labels = re.search(r"dim_labels=(\w+)_", instruction.attributes)
    # Features lie behind the batch (NHWC). In the gradient of the weights, which is a sum over the images, they trade
    # places.
    return "weight gradient" if labels and labels[1].index("f") < labels[1].index("b") else "input gradient"


def window(attributes: str, axes: int) -> list[Axis]:
    """The window of a convolution, axis by axis; `axes` of size 1 if it has none."""
    found = re.search(r"window=\{([^}]*)\}", attributes)
    parts = dict(part.split("=", 1) for part in found[1].split()) if found else {}

    def numbers(name: str, default: int) -> list[int]:
        return [int(text.partition("_")[0]) for text in parts[name].split("x")] if name in parts else [default] * axes

    columns = (numbers("size", 1), numbers("stride", 1), numbers("pad", 0), numbers("lhs_dilate", 1))
    return [Axis(*values) for values in zip(*columns, numbers("rhs_dilate", 1), strict=True)]


def _roles(instruction: Instruction, computation: Computation) -> tuple[Array, Array, Array]:
    """Image, kernel and output of a convolution. For cuDNN's gradients, those of the forward pass."""
    first, second = (computation[name].arrays[0] for name in instruction.operands[:2])
    result = instruction.arrays[0]
    if instruction.target.endswith("BackwardFilter"):
        return first, result, second
    if instruction.target.endswith("BackwardInput"):
        return result, second, first
    return first, second, result


def _sizes(labels: str, array: Array) -> Mapping[str, int]:
    return dict(zip(labels, array.dims, strict=True))


@functools.cache
def _products(image: int, out: int, axis: Axis) -> int:
    """How many pairs of an output and a tap along an axis meet a pixel, rather than padding or a gap between pixels."""
    place = axis.stride * np.arange(out)[:, None] + axis.kernel_dilation * np.arange(axis.size) - axis.low
    pixel, gap = np.divmod(place, axis.input_dilation)
    return int(np.sum((gap == 0) & (pixel >= 0) & (pixel < image)))
