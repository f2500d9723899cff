"""Names of commands on a command line."""

import argparse
from collections.abc import Callable, Collection

from yolox_jax.config.serialization import nearest


def known_command(commands: Collection[str]) -> Callable[[str], str]:
    """A type for argparse that accepts the names of commands, and proposes the nearest one for others."""

    def check(name: str) -> str:
        if name not in commands:
            listed = ", ".join(commands)
            raise argparse.ArgumentTypeError(f"there is no command {name}{nearest(name, commands)} Commands: {listed}")
        return name

    return check
