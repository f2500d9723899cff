"""Options of a forward pass that change how it is traced."""

import dataclasses
from typing import Literal

ConvolutionForm = Literal["backend", "primitive", "portable"]
"""`backend`: the form that runs fastest on jax's default backend. `primitive`: one `conv_general_dilated` for each
convolution. `portable`: the forms of all platforms, for an export to several; lowering picks one for each platform."""

PointwiseForm = Literal["plain", "fused", "interpreted"]
"""Of 1x1 convolutions with batch norm and SiLU in training. `plain`: one operation after the other. `fused`: kernels of
our own, for NVIDIA GPUs. `interpreted`: these kernels in operations of XLA, for tests on other backends."""


@dataclasses.dataclass(frozen=True)
class ForwardOptions:
    """Static options of a forward pass, which the network passes down to its layers.

    They are arguments rather than fields of the model, so that a model has the same structure in training, in inference
    and in an export.
    """

    batch_norm_axis: str | None = None
    """Mapped axis for synchronised batch norm, over which the statistics of a training batch are also taken. None: each
    device uses the statistics of its own images."""
    rematerialise: bool = False
    """Store only the input of each stage for the backward pass and recompute the features inside it."""
    separate_one_to_one: bool = False
    """Append the logit of the one-to-one branch of an end-to-end network as the last channel, for its loss, instead of
    folding it into the objectness logit."""
    convolution: ConvolutionForm = "backend"
    for_gpu: bool = False
    """Train in the form that moves the fewest bytes and starts the fewest kernels on GPUs: convolutions of the same
    input as one, and batch norm that computes again what it would read. CPUs take longer with it."""
    pointwise: PointwiseForm = "plain"
