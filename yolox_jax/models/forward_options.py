"""How a forward pass is computed, as arguments that a trace shows."""

import dataclasses
from typing import Literal

ConvolutionForm = Literal["backend", "primitive", "portable"]
"""`backend`: whatever runs fastest on jax's default backend; `primitive`: one `conv_general_dilated` for each
convolution, on every backend; `portable`: the forms of all platforms, of which lowering keeps the right one, for an
export that runs on more than one."""


@dataclasses.dataclass(frozen=True)
class ForwardOptions:
    """Static arguments of a forward pass.

    The network passes them down to its layers. They are no fields of the model, so that the model of a training step,
    of an export and of a detector have one structure.
    """

    batch_norm_axis: str | None = None
    """Mapped axis over which batch norm takes the statistics of a training batch (synchronised batch norm); None for
    the statistics of each device on its own."""
    rematerialise: bool = False
    """Keep only the input of each stage for the backward pass, which then computes the features inside it again."""
    convolution: ConvolutionForm = "backend"
