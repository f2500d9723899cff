"""The findings of a dataset check: one for each kind of problem, with all places where it occurs."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from yolox_jax.data.dataset import Record

Split = Literal["train", "val"]
Level = Literal["error", "warning", "note"]
Box = tuple[float, float, float, float]

BOTH: tuple[Split, ...] = ("train", "val")

MAX_CASES = 1000
"""Largest number of cases listed per finding; all are counted."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One occurrence of a problem."""

    text: str
    """The file, entry or box, and what is wrong with it."""
    records: tuple[Record, ...] = ()
    """Images that show it."""
    boxes_xyxy: tuple[Box, ...] = ()
    """Boxes that show it, as annotated, in pixels of the image; empty if it concerns the whole image."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """All problems of one kind, in one split or between both."""

    kind: str
    """In a few words, such as `boxes without area`."""
    splits: tuple[Split, ...]
    level: Level
    """`error`: training stops. `warning`: training runs, but something is lost or probably wrong. `note`: worth
    knowing."""
    advice: str
    """The effect on training, and what to do."""
    count: int
    cases: tuple[Case, ...]
    """The worst or the first, at most `MAX_CASES`."""

    def sentence(self) -> str:
        """Return the finding as one line of a log."""
        first = f" (for example {self.cases[0].text})" if self.cases else ""
        return f"{' and '.join(self.splits)}: {self.kind}: {self.count}{first}. {self.advice}"


def finding_if_any(
    kind: str, splits: tuple[Split, ...], level: Level, advice: str, cases: Sequence[Case], *, count: int | None = None
) -> list[Finding]:
    """Return a list with the finding of some cases, or an empty list without cases.

    `count` is the number of all cases, if `cases` is only a part of them.
    """
    if not cases:
        return []
    return [Finding(kind, splits, level, advice, len(cases) if count is None else count, tuple(cases[:MAX_CASES]))]
