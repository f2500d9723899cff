"""The console of a run: a live bar on a terminal, plain lines elsewhere, and everything in `log.txt`."""

import contextlib
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from yolox_jax.text import counted
from yolox_jax.training.reporting.durations import Pace, format_duration
from yolox_jax.training.reporting.epoch_table import EpochTable
from yolox_jax.training.run_schedule import RunSchedule

logger = logging.getLogger("yolox_jax")

FILE_ONLY = {"file_only": True}
"""`extra` of a log record whose content the bar or the table shows on a terminal."""

BAR_WIDTH = 16
SLOW_COMPILATION_S = 20.0
"""Time after which a message says what is being compiled."""


class TrainingConsole:
    """Shows the progress of training; installs handlers of the package's logger while it is open."""

    def __init__(self, log_file: Path, schedule: RunSchedule, *, process: int = 0) -> None:
        """All processes except the first show only warnings and write no log file."""
        self._quiet = process > 0
        self._before = logger.level, logger.propagate
        self._schedule = schedule
        console = Console(quiet=self._quiet)
        # Rich takes a pipe for a terminal where FORCE_COLOR is set.
        self._is_live = not self._quiet and sys.stdout.isatty() and not console.is_dumb_terminal
        self._to_file: logging.Handler = logging.NullHandler()
        if process == 0:
            self._to_file = logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace")
            self._to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._to_screen = _screen_handler(console, process, is_live=self._is_live)
        self._table = EpochTable(schedule.config.schedule.epochs, schedule.config.evaluation.best_by)
        self._pace = Pace(schedule.total_steps)
        self._started = self._epoch_started = time.perf_counter()
        self._compiling_told_s = 0.0
        self._reported_step = 0
        self._metrics: Mapping[str, float] = {}
        self._activity: str | None = "loading images and compiling"
        self._progress = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(bar_width=BAR_WIDTH),
            _Status(self, console),
            console=console,
            disable=not self._is_live,
            refresh_per_second=4,
        )
        self._task = self._progress.add_task("", total=schedule.total_steps)

    def start_at(self, step: int) -> None:
        """Starts the bar where a resumed run continues, after `step` steps."""
        self._reported_step = step
        self._progress.update(self._task, completed=step)

    def show(self, text: str | None) -> None:
        """Shows the current activity next to the bar, on a terminal only; None for training."""
        self._activity = text

    def show_compiling(self, size: tuple[int, int], seconds: float, num_left: int, kept_in: str | None) -> None:
        """Shows that training waits for the step to be compiled, with a message if that takes long.

        Args:
            size: height and width of the network input, in px.
            seconds: how long training has waited so far.
            num_left: number of sizes that are not compiled yet.
            kept_in: folder from which the next start loads what is compiled; None if it compiles again.
        """
        where, left = f"at {size[0]}x{size[1]}", f"{counted(num_left, 'size')} left"
        self.show(f"compiling the step {where}, {left}")
        if seconds >= max(SLOW_COMPILATION_S, 2 * self._compiling_told_s):
            is_first = not self._compiling_told_s
            kept = (
                f". The next start is faster: compiled programs are kept in {kept_in}" if kept_in and is_first else ""
            )
            waited = format_duration(seconds)
            logger.info("compiling the training step %s, for %s so far; %s%s", where, waited, left, kept)
            self._compiling_told_s = seconds

    def took(self, step: int) -> None:
        """Moves the bar, after `step` steps of the run."""
        now = time.perf_counter()
        if not self._pace.has_begun:  # the time before the first step, mostly compilation, belongs to no epoch
            self._epoch_started = now
        self._pace.add(step, now)
        self._activity = None
        self._progress.update(self._task, completed=step)

    def show_step(self, step: int, text: str, metrics: Mapping[str, float]) -> None:
        """Shows the metrics of a logged step next to the bar, and writes them and the time left to the log."""
        self._table.add(metrics, step - self._reported_step)
        self._reported_step, self._metrics = step, metrics
        left = self._pace.seconds_left(time.perf_counter())
        if left is not None:
            text += f" | {format_duration(left)} left"
        logger.info("%s", text, extra=FILE_ONLY)

    def show_epoch(self, epoch: int, evaluation: Mapping[str, Any] | None) -> None:
        """Prints the line of an epoch (counted from 1) that has ended, with its evaluation if there was one."""
        now = time.perf_counter()
        lines = self._table.lines(epoch, evaluation, now - self._epoch_started)
        self._epoch_started, self._activity = now, None
        for line in lines:
            record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, line, (), None)
            self._to_file.handle(record)
            if self._is_live:
                self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
            elif not self._quiet:
                record.is_row = True
                self._to_screen.handle(record)

    def status(self, width: int) -> str:
        """What the bar says, in at most `width` columns where possible."""
        now, step = time.perf_counter(), int(self._progress.tasks[0].completed)
        schedule, metrics = self._schedule, self._metrics
        epochs = schedule.config.schedule.epochs
        left = self._pace.seconds_left(now)
        # In the order shown; those of the highest number are left out first.
        parts = [
            (0, self._activity or f"epoch {min(schedule.whole_epochs_after(step) + 1, epochs)}/{epochs}"),
            (5, f"step {step}/{schedule.total_steps}"),
            (2, f"loss {metrics['loss']:.3g}" if "loss" in metrics else ""),
            (4, f"lr {metrics['lr']:.2g}" if "lr" in metrics else ""),
            (6, f"{metrics['images_per_second']:.1f} images/s" if "images_per_second" in metrics else ""),
            (7, f"{metrics['data_wait']:.0%} waiting for data" if "data_wait" in metrics else ""),
            (3, f"{format_duration(now - self._started)} elapsed"),
            (1, "" if left is None else f"{format_duration(left)} left"),
        ]
        parts = [part for part in parts if part[1]]
        while len(text := ", ".join(text for _, text in parts)) > width and len(parts) > 1:
            parts.remove(max(parts))
        return text

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


class _Status(ProgressColumn):
    """What stands behind the bar, fitted to the width of the terminal."""

    max_refresh = None

    def __init__(self, training: TrainingConsole, console: Console) -> None:
        super().__init__()
        self._training, self._console = training, console

    def render(self, task: Task) -> Text:
        width = self._console.width - len("100% ") - BAR_WIDTH - 1
        return Text(self._training.status(width), no_wrap=True, overflow="ellipsis")


class _PlainFormatter(logging.Formatter):
    """Lines with the time, except those of the table, which would not fit into 80 columns with it."""

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if hasattr(record, "is_row") else super().format(record)


def _screen_handler(console: Console, process: int, *, is_live: bool) -> logging.Handler:
    handler: logging.Handler
    if is_live:
        handler = RichHandler(
            console=console, show_path=False, show_level=False, highlighter=None, log_time_format="%H:%M:%S"
        )
        handler.addFilter(lambda record: not hasattr(record, "file_only"))
        return handler
    handler = logging.StreamHandler()
    if process > 0:
        handler.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter(f"process {process}: %(message)s"))
    else:
        handler.setFormatter(_PlainFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    return handler
