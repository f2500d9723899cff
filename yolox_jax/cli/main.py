"""`yolox-jax`: picks the command and turns the errors that users can mend into one message without a traceback."""

import argparse
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence

COMMANDS = {
    "train": "train a detector as a config says",
    "evaluate": "score weights on a data set with the COCO metric",
    "predict": "draw the detections in an image or a folder",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code.

    Args:
        argv: The command and its flags; those of the process if None.

    Returns:
        0, or 2 where the user has something to mend: the message on stderr says what. 130 if interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    command = _parser().parse_args(words[:1]).command
    # A command is loaded when asked for, so that `--help` does not wait for jax.
    module = importlib.import_module(f"yolox_jax.cli.{command}")
    try:
        module.main(words[1:])
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not _is_for_user(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    commands = "\n".join(f"  {name:10}{what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="yolox-jax",
        description="The YOLOX object detector in JAX.",
        epilog=f"commands:\n{commands}\n\nyolox-jax COMMAND --help shows the flags of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"yolox-jax {importlib.metadata.version('yolox-jax')}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="what to do")
    return parser


def _is_for_user(error: Exception) -> bool:
    """Whether the message alone tells what to do: an error class of this package, or of the file system."""
    return type(error).__module__.split(".")[0] == "yolox_jax" or isinstance(error, OSError)
