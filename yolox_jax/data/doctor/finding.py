"""What a check of data sets found: one finding for each kind of fault, with the places where it is."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from yolox_jax.data.dataset import Record

Split = Literal["train", "val"]
Level = Literal["error", "warning", "note"]
Box = tuple[float, float, float, float]

BOTH: tuple[Split, ...] = ("train", "val")

MOST_CASES = 1000
"""Cases listed of one finding: enough to mend by hand; all are counted."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One place where a fault is."""

    text: str
    """Which file, entry or box, and what is wrong with it."""
    records: tuple[Record, ...] = ()
    """Images that show it."""
    boxes_xyxy: tuple[Box, ...] = ()
    """Boxes that show it, as annotated, in px of the image; none where it is the whole image."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """All faults of one kind in one split, or between both."""

    kind: str
    """In a few words, such as `boxes without area`."""
    splits: tuple[Split, ...]
    level: Level
    """`error`: training stops because of it. `warning`: training runs, but something is lost or most likely wrong.
    `note`: worth knowing."""
    advice: str
    """What becomes of it in training, and what to do."""
    count: int
    cases: tuple[Case, ...]
    """The worst or first, at most `MOST_CASES`."""

    def sentence(self) -> str:
        """The finding as one line of a log."""
        first = f" (such as {self.cases[0].text})" if self.cases else ""
        return f"{' and '.join(self.splits)}: {self.kind}: {self.count}{first}. {self.advice}"


def found(
    kind: str, splits: tuple[Split, ...], level: Level, advice: str, cases: Sequence[Case], *, count: int | None = None
) -> list[Finding]:
    """The finding of some cases, or nothing where there are none; `count` if there are more than these."""
    if not cases:
        return []
    return [Finding(kind, splits, level, advice, len(cases) if count is None else count, tuple(cases[:MOST_CASES]))]
