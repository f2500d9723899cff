"""Stopping a run from outside, by a signal, so that nothing is lost."""

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

logger = logging.getLogger("yolox_jax.training")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """A run that a signal stopped, after it was saved; the message says where it goes on."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
        """As shells and schedulers give it for a program that a signal ended: 143 for SIGTERM, 130 for SIGINT."""


class StopSignals:
    """While open, SIGTERM and Ctrl-C are noted, for the run to stop at its next step; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.received = 0
        """Number of the signal, 0 without one."""
        self._before: dict[signal.Signals, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.received:
            self.received = number
            again = "; Ctrl-C once more stops without saving" if number == signal.SIGINT else ""
            logger.warning("%s: the run will be saved and stop%s", signal.Signals(number).name, again)

    def __enter__(self) -> "StopSignals":
        # Python lets only the main thread take signals; a run in another one is stopped by whoever started it.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
