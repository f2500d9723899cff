"""What is measured of a training step: the network, the batch, and who computes it."""

import dataclasses
from typing import Literal

Precision = Literal["float32", "bfloat16", "float16"]
Side = Literal["ours", "eager", "channels_last", "compile"]
"""Ours, or a way to run the original in PyTorch: as it comes; in channels-last layout; that with `torch.compile`."""


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """One training step."""

    variant: str
    batch: int
    precision: Precision
    height: int
    width: int
    objects: int
    """Of each image."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.height, self.width

    def __str__(self) -> str:
        return f"{self.variant} {self.precision} batch {self.batch} at {self.height}x{self.width}"
