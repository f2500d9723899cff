"""What the kernels of a training step are for."""

from collections import Counter
from typing import Literal

from hlo_convolutions import direction
from hlo_kernels import Kernel, is_cudnn_convolution, is_fused_convolution
from hlo_text import Frame

Kind = Literal[
    "convolution, forward",
    "convolution, input gradient",
    "convolution, weight gradient",
    "1x1 convolution and batch norm, forward",
    "1x1 convolution and batch norm, backward",
    "matrix product",
    "batch norm, forward",
    "batch norm, backward",
    "network, other",
    "loss and assignment",
    "update",
    "copy",
    "small",
    "not known",
    "between devices",
]

COPIES = {"copy", "copy-start", "slice", "transpose"}

SMALL_BYTES = 2**20
"""Kernels of the network that move less than this, such as the last stage of a sum, are counted apart: they take as
long as their start does."""

ROOMS: dict[str, Kind] = {
    "yolox_jax/models/normalization.py": "batch norm, forward",
    "yolox_jax/models/fused_pointwise.py": "batch norm, forward",
    "yolox_jax/models/": "network, other",
    "yolox_jax/assignment/": "loss and assignment",
    "yolox_jax/losses.py": "loss and assignment",
    "yolox_jax/top_k.py": "loss and assignment",
    "yolox_jax/boxes.py": "loss and assignment",
    "yolox_jax/anchors.py": "loss and assignment",
    "yolox_jax/training/step/multiscale.py": "network, other",
    "yolox_jax/training/": "update",
    "optax/": "update",
}
"""What the code in a file or folder is for; the first that fits. Of the lines behind an instruction, the innermost in
one of these decides."""


def kind_of(kernel: Kernel) -> Kind:
    """What a kernel is for. Of several things, a convolution comes first; then most of its instructions decide."""
    if kernel.collective:
        return "between devices"
    for instruction in kernel.inner:
        if instruction.opcode == "convolution" or is_cudnn_convolution(instruction):
            return f"convolution, {direction(instruction)}"  # type: ignore[return-value]
    if is_fused_convolution(kernel.instruction):
        side = "backward" if "pointwise_backward" in kernel.instruction.op_name else "forward"
        return f"1x1 convolution and batch norm, {side}"  # type: ignore[return-value]
    if kernel.flop:
        return "matrix product"
    votes = Counter(room for origin in kernel.origins if (room := _room(origin)))
    kind = votes.most_common(1)[0][0] if votes else _without_origin(kernel)
    if kind not in ("loss and assignment", "update", "copy") and kernel.read_bytes + kernel.written_bytes < SMALL_BYTES:
        return "small"
    if kind == "batch norm, forward" and any("transpose(" in one.op_name for one in kernel.inner):
        return "batch norm, backward"
    return kind


def _without_origin(kernel: Kernel) -> Kind:
    """The kind of a kernel that comes from no line of Python.

    The compiler adds copies to change a layout, to keep an array that is overwritten, and on TPUs to bring weights into
    the memory of the core.
    """
    return "copy" if all(one.opcode in COPIES for one in kernel.inner) else "not known"


def _room(origin: tuple[Frame, ...]) -> Kind | None:
    for frame in origin:
        for path, kind in ROOMS.items():
            if path in frame.file:
                return kind
    return None
