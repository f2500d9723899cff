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
    """What `metrics.jsonl` records: losses, `lr` and `images_per_second` of a `step`; `AP`, `AP50` and the other
    metrics of an `evaluation`. Empty for a `checkpoint`. A metric that is not finite is NaN; AP without annotations is
    None."""
    path: Path | None = None
    """Folder of a `checkpoint`."""


class StopTraining(Exception):
    """Raised by a callback to end the run before the next step. The run is saved, and `resume=True` continues it."""


Callback = Callable[[TrainingEvent], object]
"""A function of a `TrainingEvent`. What it returns is ignored. Any exception ends the run, after saving it."""
