"""What the training-step benchmark measures: the network, the batch, and the implementation."""

import dataclasses
from typing import Literal

Precision = Literal["float32", "bfloat16", "float16"]
Side = Literal["ours", "eager", "channels_last", "compile"]
"""`ours`, or a way to run the original in PyTorch. `compile` is channels-last with `torch.compile`."""


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """One training step."""

    variant: str
    batch: int
    precision: Precision
    height: int
    width: int
    objects: int
    """Objects per image."""
    rematerialise: Literal["none", "stage"] = "none"
    """`train.rematerialise` of our step."""
    fused_conv: bool = False
    """`train.fused_conv` of our step."""
    deterministic: bool = False
    """`train.deterministic` of our step."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.height, self.width

    def __str__(self) -> str:
        return f"{self.variant} {self.precision} batch {self.batch} at {self.height}x{self.width}"
