"""The console of a run: a progress bar on a terminal, plain lines elsewhere, and everything in `log.txt`."""

import contextlib
import logging
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn

logger = logging.getLogger("yolox_jax")


class TrainingConsole:
    """Shows the progress of training; installs handlers of the package's logger while it is open."""

    def __init__(self, log_file: Path, total_steps: int, *, process: int = 0) -> None:
        """All processes except the first show only warnings and write no log file."""
        self._quiet = process > 0
        self._before = logger.level, logger.propagate
        console = Console(quiet=self._quiet)
        self._to_file: logging.Handler = logging.NullHandler()
        if process == 0:
            self._to_file = logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace")
            self._to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._to_screen: logging.Handler
        if process > 0:
            self._to_screen = logging.StreamHandler()
            self._to_screen.setLevel(logging.WARNING)
            self._to_screen.setFormatter(logging.Formatter(f"process {process}: %(message)s"))
        elif console.is_terminal:
            self._to_screen = RichHandler(console=console, show_path=False, show_level=False, highlighter=None)
        else:
            self._to_screen = logging.StreamHandler()
            self._to_screen.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        self._progress = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            console=console,
            disable=process > 0 or not console.is_terminal,
        )
        self._total_steps = total_steps
        self._task = self._progress.add_task("loading images and compiling", total=total_steps)
        self._first_report: tuple[int, float] | None = None

    def show(self, text: str) -> None:
        """Shows the current activity next to the bar, on a terminal only."""
        self._progress.update(self._task, description=text)

    def show_step(self, step: int, text: str) -> None:
        """Shows the metrics of a logged step and the time left, and writes them to the log."""
        if self._quiet:
            return
        if self._first_report is None:
            # Time is measured from the first report on, because most of the time before it is spent compiling.
            self._first_report = step, time.perf_counter()
        else:
            first_step, first_time = self._first_report
            seconds_per_step = (time.perf_counter() - first_time) / (step - first_step)
            text += f" | {format_duration(seconds_per_step * (self._total_steps - step))} left"
        self._progress.update(self._task, completed=step, description=text)
        record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, (), None)
        self._to_file.handle(record)
        if self._progress.disable:  # otherwise the bar shows it
            self._to_screen.handle(record)

    def __enter__(self) -> "TrainingConsole":
        logger.setLevel(logging.INFO)
        # The root logger may have its own handler (absl's), which would print every line a second time.
        logger.propagate = False
        logger.addHandler(self._to_file)
        logger.addHandler(self._to_screen)
        self._progress.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()
        if kind is not None:  # logged to the file only; whoever catches the error prints it
            text = f"{kind.__name__}: {error}"
            self._to_file.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, text, (), None))
        logger.removeHandler(self._to_file)
        logger.removeHandler(self._to_screen)
        level, logger.propagate = self._before
        logger.setLevel(level)
        with contextlib.suppress(OSError):  # closing flushes buffered lines, which fails on a full disk
            self._to_file.close()


def format_duration(seconds: float) -> str:
    """Seconds as `1 d 02:03:04`, `2:03:04` or `3:04`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02d}:{minutes:02d}:{seconds:02d}"
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
