"""Progress of a command: a bar on a terminal, a few plain lines otherwise."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextlib.contextmanager
def show_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows progress; yields a function to call with the number of items done and the total.

    Nothing is shown before its first call, so that an error before the first item has no bar above it.

    Args:
        what: The items, such as "images".
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(what, total=None, visible=False)
            yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)
        return

    yield _printer_of_tenths(console, what)


@contextlib.contextmanager
def show_rate(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Like `show_progress`, but also shows the number of items per second; the total may be unknown.

    Args:
        what: The items, such as "images".
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        print_tenths = _printer_of_tenths(console, what)
        yield lambda done, total: None if total is None else print_tenths(done, total)
        return
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None, rate="")

        def show(done: int, total: int | None) -> None:
            elapsed = bar.tasks[task].elapsed
            bar.update(task, completed=done, total=total, rate=f"{done / elapsed:.1f}/s" if elapsed else "")

        yield show


@contextlib.contextmanager
def show_download() -> Iterator[Callable[[int, int | None], None]]:
    """Shows a download; yields a function to call with the bytes received and the total, which may be unknown.

    Nothing is shown before its first call.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        print_tenths = _printer_of_tenths(console, "MiB")
        yield lambda received, total: None if total is None else print_tenths(received >> 20, total >> 20)
        return
    columns = (TextColumn("download"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("download", total=None, visible=False)
        yield lambda received, total: bar.update(task, completed=received, total=total, visible=True)


def _printer_of_tenths(console: Console, what: str) -> Callable[[int, int], None]:
    tenths_shown = 0

    def print_each_tenth(done: int, total: int) -> None:
        nonlocal tenths_shown
        tenths = 10 * done // max(total, 1)
        if tenths > tenths_shown:
            tenths_shown = tenths
            console.print(f"{done} of {total} {what}", highlight=False)

    return print_each_tenth
