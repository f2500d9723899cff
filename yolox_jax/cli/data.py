"""`yolox-jax data`: commands to inspect datasets."""

import argparse
import importlib

from yolox_jax.cli.commands import known_command

COMMANDS = {
    "anchors": "cluster anchor boxes for an anchor-based head from the sizes of the objects",
    "check": "check the images and annotations of a dataset for problems",
    "preview": "draw training images exactly as the network sees them",
    "suspects": "find annotations that a trained detector contradicts",
}


def main(argv: list[str]) -> int | None:
    """Runs a command and returns its exit code; `argv` is the command line after `data`."""
    listed = "\n".join(f"  {name:10}{what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="yolox-jax data",
        description="Inspect a dataset, or the datasets of a config.",
        epilog=f"commands:\n{listed}\n\nyolox-jax data COMMAND --help shows the flags of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", type=known_command(COMMANDS), metavar="COMMAND", help="the command to run")
    command = parser.parse_args(argv[:1]).command
    code: int | None = importlib.import_module(f"yolox_jax.cli.data_{command}").main(argv[1:])
    return code
