"""Progress of a command: a bar on a terminal, a few plain lines elsewhere."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def show_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that is to be called with the numbers of things done and of all things, as work goes on.

    Args:
        what: the things that are counted, such as "images".
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return

    tenths_shown = 0

    def print_each_tenth(done: int, total: int) -> None:
        nonlocal tenths_shown
        tenths = 10 * done // max(total, 1)
        if tenths > tenths_shown:
            tenths_shown = tenths
            console.print(f"{done} of {total} {what}", highlight=False)

    yield print_each_tenth
