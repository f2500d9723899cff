"""`yolox-jax`: runs a command, and prints errors that users can fix without a traceback."""

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from yolox_jax.cli.commands import known_command
from yolox_jax.cli.compiler_messages import hide_slow_compilation_reminders
from yolox_jax.cli.huge_pages import restart_with_huge_pages
from yolox_jax.cli.terminal import say
from yolox_jax.files import package_version
from yolox_jax.training.interruption import Interrupted

COMMANDS = {
    "train": "train from a config",
    "evaluate": "compute the COCO metrics of weights on a dataset",
    "predict": "run detection on images, folders, videos or cameras",
    "export": "export a network as StableHLO, ONNX or a web page",
    "verify": "compare an exported file with its weights on your own images",
    "report": "write an HTML report of an evaluation: metrics, curves, error types and the worst images",
    "visualize-assignment": "draw which anchors are assigned to the objects of training images",
    "data": "check a dataset, preview training images, find suspect annotations, or cluster anchor boxes",
    "memory": "find the largest batch size that fits on a device",
    "profile": "time a training step and list its most expensive operations",
}


def program(command: str | None = None) -> NoReturn:
    """Runs the command line of this process, then exits.

    Args:
        command: The command to run; None to take it from the command line.
    """
    restart_with_huge_pages()
    _print_any_text()
    # Before Orbax logs anything, because absl then installs a handler of its own.
    logging.getLogger().addHandler(_WarningPrinter(logging.WARNING))
    hide_slow_compilation_reminders()
    try:
        code = main(sys.argv[1:] if command is None else [command, *sys.argv[1:]])
    except Exception:
        traceback.print_exc()
        code = 1
    if code:
        # Exit at once: Python would wait for running compilations, and jax for the other processes of the run, which in
        # turn wait for this one.
        logging.shutdown()
        with contextlib.suppress(OSError):  # the reader of a pipe may be gone
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit()


def main(argv: Sequence[str]) -> int:
    """Runs a command.

    Args:
        argv: The command and its flags.

    Returns:
        The exit code: 0 for success; 1 if a check found errors; 2 for an error that the user can fix, explained on
        stderr; 130 after Ctrl-C; 143 if SIGTERM stopped a training run, which was saved.
    """
    if not argv:
        _parser().print_help(sys.stderr)
        return 2
    command = _parser().parse_args(argv[:1]).command
    # Commands are imported on demand, so that `--help` does not wait for jax.
    try:
        code: int | None = importlib.import_module(f"yolox_jax.cli.{command.replace('-', '_')}").main(list(argv[1:]))
    except Interrupted as stopped:
        say(str(stopped), sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        hint = "; pass --resume to continue from the last checkpoint" if command == "train" else ""
        print(f"interrupted{hint}", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if "yolox_jax" in str(error.name):
            raise
        say(
            f"error: package {error.name} is not installed for {sys.executable}. In a checkout, run `pip install -e .` "
            "or `make env`, which installs into .venv; then use .venv/bin/yolox-jax",
            sys.stderr,
        )
        return 2
    except Exception as error:
        if not _is_for_user(error):
            raise
        say(f"error: {error}", sys.stderr)
        return 2
    return code or 0


def _print_any_text() -> None:
    """Replaces letters that the terminal or a file cannot show, such as those of class names, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


class _WarningPrinter(logging.Handler):
    """Prints each warning once, until the console of a training run takes over.

    It looks up stderr for each message, because a progress bar replaces it to keep lines apart from the bar.
    """

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a message, with its level unless the record says that it is a notice."""
        try:
            text = self.format(record)
            if text not in self._printed:
                self._printed.add(text)
                level = "" if hasattr(record, "is_notice") else f"{record.levelname.lower()}: "
                say(f"{level}{text}", sys.stderr)
        except Exception:  # as every handler does: a message that cannot be printed must not stop the command
            self.handleError(record)


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS)) + 2
    commands = "\n".join(f"  {name:{width}}{what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="yolox-jax",
        description="The YOLOX object detector in JAX.",
        epilog=f"commands:\n{commands}\n\nyolox-jax COMMAND --help shows the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"yolox-jax {package_version()}")
    parser.add_argument("command", type=known_command(COMMANDS), metavar="COMMAND", help="the command to run")
    return parser


def _is_for_user(error: Exception) -> bool:
    """Whether the message alone tells users what to do: an error of this package or of the file system."""
    return type(error).__module__.split(".")[0] == "yolox_jax" or isinstance(error, OSError)
