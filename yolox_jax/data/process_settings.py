"""Settings of this process that hold while batches are loaded, and are restored afterwards."""

import threading
from types import TracebackType

import cv2
from absl import flags


class LoadingSettings:
    """A context that can be open several times at once: the first to enter changes the settings, the last restores.

    OpenCV does not start threads of its own: loading is parallel over images, and they would compete for the cores.

    The absl flags of grain can be read although no program has parsed any. grain reads one when it starts a worker,
    and absl refuses that (https://github.com/google/grain/issues/1355).
    """

    def __init__(self) -> None:
        # Reentrant: garbage collection inside it may close the batches of the same thread.
        self._lock = threading.RLock()
        self._num_open = 0
        self._opencv_threads = 0
        self._flags_present: dict[str, int] = {}

    def __enter__(self) -> None:
        with self._lock:
            self._num_open += 1
            if self._num_open == 1:
                self._opencv_threads = cv2.getNumThreads()
                cv2.setNumThreads(0)
                self._flags_present = {name: flags.FLAGS[name].present for name in flags.FLAGS if _is_of_grain(name)}
                for name in self._flags_present:
                    flags.FLAGS[name].present = 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._num_open -= 1
            if self._num_open == 0:
                cv2.setNumThreads(self._opencv_threads)
                for name, present in self._flags_present.items():
                    flags.FLAGS[name].present = present


def _is_of_grain(name: str) -> bool:
    return name.startswith("grain_")


LOADING_SETTINGS = LoadingSettings()
"""The one context of this process."""
