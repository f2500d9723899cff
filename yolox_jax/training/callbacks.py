"""Callbacks: user functions that observe a run and can stop it."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class TrainingEvent:
    """The event that is passed to a callback."""

    kind: Literal["step", "evaluation", "checkpoint"]
    """`step`: metrics were logged, every `train.log_interval` steps and at the end of each epoch. `evaluation`: the
    averaged weights were evaluated. `checkpoint`: a checkpoint is being written in the background."""
    step: int
    """Steps taken so far."""
    epoch: float
    """Epochs completed so far, including the completed fraction of the current one."""
    metrics: Mapping[str, Any]
    """The metrics written to `metrics.jsonl`: losses, `lr` and `images_per_second` of a `step`; `AP`, `AP50` and the
    other metrics of an `evaluation`. Empty for a `checkpoint`."""
    path: Path | None = None
    """Folder of a `checkpoint`."""


class StopTraining(Exception):
    """Raised by a callback to end the run. The run is saved first; `resume=True` continues it."""


Callback = Callable[[TrainingEvent], object]
"""A function that takes a `TrainingEvent`. Its return value is ignored."""
