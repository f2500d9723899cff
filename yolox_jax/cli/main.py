"""`yolox-jax`: picks the command and turns the errors that users can mend into one message without a traceback."""

import argparse
import contextlib
import importlib
import importlib.metadata
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import yolox_jax
from yolox_jax.cli.huge_pages import restart_with_huge_pages
from yolox_jax.training.interruption import Interrupted

COMMANDS = {
    "train": "train a detector as a config says",
    "evaluate": "score weights on a data set with the COCO metric",
    "predict": "draw the detections in an image or a folder",
    "export": "write a network as one file for jax or for runtimes of ONNX",
    "report": "show an evaluation as one HTML page: figures, curves, kinds of errors, the worst images",
    "visualize-assignment": "draw which anchors the objects of training images get",
    "data": "check a data set, or look at what training makes of it",
    "memory": "find the largest batch that fits a device",
    "profile": "time a training step and list its costliest operations",
}


def program(command: str | None = None) -> NoReturn:
    """Runs the command line of this process and ends it.

    Args:
        command: what to run, where the program's name tells; None for the first word of the command line.
    """
    restart_with_huge_pages()
    try:
        code = main(sys.argv[1:] if command is None else [command, *sys.argv[1:]])
    except Exception:
        traceback.print_exc()
        code = 1
    if code:
        # At once: Python would first wait for what still compiles, and jax for the other processes of a run, which wait
        # for this one.
        logging.shutdown()
        with contextlib.suppress(OSError):  # nobody may be reading any more
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit()


def main(argv: Sequence[str]) -> int:
    """Runs a command and returns the exit code.

    Args:
        argv: the command and its flags.

    Returns:
        0; 1 where a check found faults; 2 where the user has something to mend: the message on stderr says what. 143
        where SIGTERM stopped a training that was saved, 130 where Ctrl-C stopped anything.
    """
    command = _parser().parse_args(argv[:1]).command
    # A command is loaded when asked for, so that `--help` does not wait for jax.
    try:
        code: int | None = importlib.import_module(f"yolox_jax.cli.{command.replace('-', '_')}").main(list(argv[1:]))
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        hint = "; --resume goes on from the last checkpoint" if command == "train" else ""
        print(f"interrupted{hint}", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if "yolox_jax" in str(error.name):
            raise
        print(
            f"error: {sys.executable} has no package {error.name}. `pip install -e .` in the checkout installs what is "
            "needed; `make env` does so into .venv, whose program is .venv/bin/yolox-jax",
            file=sys.stderr,
        )
        return 2
    except Exception as error:
        if not _is_for_user(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return code or 0


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS)) + 2
    commands = "\n".join(f"  {name:{width}}{what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="yolox-jax",
        description="The YOLOX object detector in JAX.",
        epilog=f"commands:\n{commands}\n\nyolox-jax COMMAND --help shows the flags of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"yolox-jax {yolox_jax.__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="what to do")
    return parser


def _is_for_user(error: Exception) -> bool:
    """Whether the message alone tells what to do: an error class of this package, or of the file system."""
    return type(error).__module__.split(".")[0] == "yolox_jax" or isinstance(error, OSError)
