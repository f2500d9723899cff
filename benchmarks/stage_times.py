"""Times the stages of a pipeline from outside, by wrapping the functions that do the work for the time of a run."""

import contextlib
import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2


class Stage(NamedTuple):
    """A function, found by its name on a module or class, that belongs to a stage."""

    owner: Any
    function: str
    name: str | Callable[..., str]
    """Of the stage; or what tells it from the arguments."""


def _conversion(image: Any, code: int, *_: Any, **__: Any) -> str:
    return "colour" if code in (cv2.COLOR_BGR2HSV, cv2.COLOR_HSV2BGR) else "channels"


OPENCV_STAGES = (
    Stage(cv2, "imread", "decode"),  # and reads
    Stage(cv2, "imdecode", "decode"),
    Stage(cv2, "resize", "resize"),
    Stage(cv2, "warpAffine", "warp"),
    Stage(cv2, "addWeighted", "mixup"),
    Stage(cv2, "cvtColor", _conversion),
    Stage(cv2, "LUT", "colour"),
    Stage(cv2, "add", "colour"),
    Stage(cv2, "subtract", "colour"),
    Stage(cv2, "extractChannel", "colour"),
    Stage(cv2, "insertChannel", "colour"),
    Stage(cv2, "split", "colour"),
    Stage(cv2, "merge", "colour"),
    Stage(cv2, "flip", "flip"),
)


@contextlib.contextmanager
def timed_stages(stages: Sequence[Stage]) -> Iterator[dict[str, float]]:
    """Wrap functions and give the CPU seconds of each stage, in all threads of this process, as they add up.

    A stage that calls another, such as MixUp the reading of its partner, is not charged for it. Waiting, for a disk
    or for a core, is no CPU time.
    """
    seconds: dict[str, float] = defaultdict(float)
    lock, local = threading.Lock(), threading.local()

    def timed(function: Callable[..., Any], name: str | Callable[..., str]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            outer = getattr(local, "inner_seconds", 0.0)
            local.inner_seconds = 0.0
            start = time.thread_time()
            try:
                return function(*arguments, **keywords)
            finally:
                elapsed = time.thread_time() - start
                with lock:
                    stage = name if isinstance(name, str) else name(*arguments, **keywords)
                    seconds[stage] += elapsed - local.inner_seconds
                local.inner_seconds = outer + elapsed

        return call

    originals = [(stage, getattr(stage.owner, stage.function)) for stage in stages]
    for stage, function in originals:
        setattr(stage.owner, stage.function, timed(function, stage.name))
    try:
        yield seconds
    finally:
        for stage, function in originals:
            setattr(stage.owner, stage.function, function)
