"""How long a run has taken, and how long it will take."""


def format_duration(seconds: float) -> str:
    """Seconds as `1 d 02 h`, `2:03:04` or `3:04`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02d} h"
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Pace:
    """Estimates the time left from the steps taken so far, evaluations and checkpoints included."""

    def __init__(self, total_steps: int) -> None:
        self._total_steps = total_steps
        self._first: tuple[int, float] | None = None
        self._newest: tuple[int, float] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether a step was taken."""
        return self._first is not None

    def add(self, step: int, now: float) -> None:
        """Notes that `step` steps were taken. Time before the first one, mostly compilation, does not count."""
        self._first = self._first or (step, now)
        self._newest = step, now

    def seconds_left(self, now: float) -> float | None:
        """Seconds to the end of the run; None before the second step, and in a pause that outlasts the estimate."""
        if self._first is None or self._newest is None or self._newest[0] == self._first[0]:
            return None
        (first_step, first_time), (step, time) = self._first, self._newest
        left = (time - first_time) / (step - first_step) * (self._total_steps - step) - (now - time)
        return left if left > 0 else 0.0 if step == self._total_steps else None
