"""Stops a run on a signal, after saving it."""

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

logger = logging.getLogger("yolox_jax.training")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """A signal stopped the run, after it was saved. The message says where it can be resumed."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
        """Exit code of a program terminated by the signal, by convention: 143 for SIGTERM, 130 for SIGINT."""


class StopSignals:
    """While open, SIGTERM and Ctrl-C ask the run to stop after its current step. A second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.received = 0
        """Number of the signal; 0 if none was received."""
        self._before: dict[signal.Signals, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.received:
            self.received = number
            again = "; press Ctrl-C again to stop without saving" if number == signal.SIGINT else ""
            logger.warning("%s received: saving the run and stopping%s", signal.Signals(number).name, again)

    def raise_if_received(self, activity: str) -> None:
        """Stops an activity before the first step, when there is nothing to save yet.

        Raises:
            Interrupted: a signal was received; the message contains `activity`, such as "decoding images".
        """
        if self.received:
            name = signal.Signals(self.received).name
            raise Interrupted(self.received, f"stopped by {name} while {activity}: nothing is lost")

    def __enter__(self) -> "StopSignals":
        # Python delivers signals to the main thread only. A run in another thread is stopped by its caller.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
