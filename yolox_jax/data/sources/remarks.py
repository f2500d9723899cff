"""Remarks of readers on entries that are written oddly, but have only one meaning and are read as meant."""

import dataclasses
from typing import Literal, NamedTuple


class RemarkKind(NamedTuple):
    """What readers remark on. The name says what is odd and how it is read."""

    name: str
    level: Literal["warning", "note"]
    """A note appears in `data check` only, a warning also in the log of training and evaluation."""
    advice: str
    """What to do, as a sentence."""


NUMBERS_AS_TEXT = RemarkKind(
    "numbers written as text", "warning", "They are read as numbers. Other programs may refuse or ignore them."
)
FLAGS_AS_TEXT = RemarkKind(
    "flags written as text", "warning", "They are read as meant. Other programs take any text for true, even 0."
)


@dataclasses.dataclass(eq=False)
class Remarks:
    """The remarks on one dataset. Each kind is counted, and its first entry kept for the warnings of the dataset."""

    listed: dict[RemarkKind, list[str]] | None = None
    """If given, all remarks are also added here, for `data check`."""
    _counts: dict[RemarkKind, tuple[int, str]] = dataclasses.field(default_factory=dict)

    def add(self, kind: RemarkKind, text: str) -> None:
        """Add a remark; `text` names the file and the entry."""
        count, first = self._counts.get(kind, (0, text))
        self._counts[kind] = count + 1, first
        if self.listed is not None:
            self.listed.setdefault(kind, []).append(text)

    def warnings(self) -> tuple[str, ...]:
        """Return one sentence for each kind, without notes."""
        return tuple(
            f"{kind.name}: {count} (first: {first}). {kind.advice.rstrip('.')}"
            for kind, (count, first) in self._counts.items()
            if kind.level == "warning"
        )
