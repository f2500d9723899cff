"""Ranges that annotate the field of a setting, as in `epochs: Annotated[int, AtLeast(1)]`.

If a field has several ranges, all must hold. A range inside a tuple type applies to one of its values, a range around
it to the whole tuple. `yolox_jax.config.checks` reads them.
"""

import dataclasses
import math
from typing import Annotated


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """Inclusive lower bound."""

    bound: float

    def holds(self, value: float) -> bool:
        """Whether the value reaches the bound."""
        return value >= self.bound

    def __str__(self) -> str:
        return f"at least {self.bound:g}"


@dataclasses.dataclass(frozen=True)
class Above:
    """Exclusive lower bound."""

    bound: float

    def holds(self, value: float) -> bool:
        """Whether the value exceeds the bound."""
        return value > self.bound

    def __str__(self) -> str:
        return f"above {self.bound:g}"


@dataclasses.dataclass(frozen=True)
class AtMost:
    """Inclusive upper bound."""

    bound: float

    def holds(self, value: float) -> bool:
        """Whether the value does not exceed the bound."""
        return value <= self.bound

    def __str__(self) -> str:
        return f"at most {self.bound:g}"


@dataclasses.dataclass(frozen=True)
class Below:
    """Exclusive upper bound."""

    bound: float

    def holds(self, value: float) -> bool:
        """Whether the value is below the bound."""
        return value < self.bound

    def __str__(self) -> str:
        return f"below {self.bound:g}"


@dataclasses.dataclass(frozen=True)
class Ascending:
    """A smallest and a largest value, in this order; they may be equal."""

    def holds(self, value: tuple[float, float]) -> bool:
        """Whether the first does not exceed the second."""
        return value[0] <= value[1]

    def nearest(self, value: tuple[float, float]) -> tuple[float, float]:
        """The same values in order."""
        return value[1], value[0]

    def __str__(self) -> str:
        return "in ascending order"


@dataclasses.dataclass(frozen=True)
class MultiplesOf:
    """Sizes that are positive multiples of a step."""

    step: int

    def holds(self, value: tuple[int, ...]) -> bool:
        """Whether all sizes are positive multiples."""
        return all(size > 0 and size % self.step == 0 for size in value)

    def nearest(self, value: tuple[int, ...]) -> tuple[int, ...]:
        """The closest positive multiples."""
        return tuple(max(self.step, math.floor(size / self.step + 0.5) * self.step) for size in value)

    def __str__(self) -> str:
        return f"positive multiples of {self.step}"


Range = AtLeast | Above | AtMost | Below | Ascending | MultiplesOf

Count = Annotated[int, AtLeast(1)]
CountOrZero = Annotated[int, AtLeast(0)]
Positive = Annotated[float, Above(0)]
NonNegative = Annotated[float, AtLeast(0)]
Fraction = Annotated[float, AtLeast(0), AtMost(1)]
NonZeroFraction = Annotated[float, Above(0), AtMost(1)]
