"""Times the stages of a pipeline from outside, by temporarily wrapping the functions that do the work."""

import contextlib
import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2


class Stage(NamedTuple):
    """A function to time, given as an attribute of a module or class, and its stage."""

    owner: Any
    function: str
    name: str | Callable[..., str]
    """Stage name, or a function that derives it from the call's arguments."""


def _conversion(image: Any, code: int, *_: Any, **__: Any) -> str:
    return "colour" if code in (cv2.COLOR_BGR2HSV, cv2.COLOR_HSV2BGR) else "channels"


OPENCV_STAGES = (
    Stage(cv2, "imread", "decode"),  # includes reading the file
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
def timed_stages(stages: Sequence[Stage], clock: Callable[[], float] = time.thread_time) -> Iterator[dict[str, float]]:
    """Wrap the functions and yield the seconds of each stage, accumulated over all threads of this process.

    The time of a nested stage is not counted in the outer one: MixUp, for example, does not include loading the second
    image. By default, seconds are CPU time, which waiting for a disk or a core is not.
    """
    seconds: dict[str, float] = defaultdict(float)
    lock, local = threading.Lock(), threading.local()

    def timed(function: Callable[..., Any], name: str | Callable[..., str]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            outer = getattr(local, "inner_seconds", 0.0)
            local.inner_seconds = 0.0
            start = clock()
            try:
                return function(*arguments, **keywords)
            finally:
                elapsed = clock() - start
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
