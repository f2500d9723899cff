"""Accelerators described in files: what the compiler and an estimate of the least time need to know of them."""

import dataclasses
import math
import os
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Literal

from yolox_jax.config import ConfigError
from yolox_jax.config.serialization import nearest

GIB = 2**30

MEMORY_FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"
"""The environment variable that says which share of a GPU's memory jax takes."""

_FOLDER = files(__package__) / "card_files"


@dataclasses.dataclass(frozen=True)
class Card:
    """A GPU, or a TPU chip; the fields of `card_files/*.toml`."""

    name: str
    platform: Literal["gpu", "tpu"]
    memory_gib: float
    program_share: float
    """The share of the memory that a program gets by default."""
    bandwidth_gb_s: float
    """Of the memory, in 1e9 bytes per second."""
    link_gb_s: float
    """Of all its links to other devices of the host or pod together, in one direction, in 1e9 bytes per second."""
    launch_us: float
    """The least time of a kernel, however little it does."""
    peak_tflops: Mapping[str, float]
    """Of matrix products, by `train.precision`."""
    sources: Mapping[str, str]
    """Where each of the numbers comes from."""
    example: str = ""
    """Of a TPU: an arrangement of chips, as given to `--device`."""
    chip_config: str = ""
    """Of a TPU: the configuration of its cores, if it is not the compiler's default."""
    target: str = ""
    """Of a GPU: the compiler's description of it, from the text file beside the card."""

    @property
    def program_bytes(self) -> int:
        """Memory available to programs, as a device of this kind would report it.

        Raises:
            ConfigError: the environment variable XLA_PYTHON_CLIENT_MEM_FRACTION is no number above 0.
        """
        share, given = self.program_share, os.environ.get(MEMORY_FRACTION)
        if self.platform == "gpu" and given:
            try:
                share = float(given)
            except ValueError:
                share = math.nan
            if not 0 < share < math.inf:
                raise ConfigError(f"the environment variable {MEMORY_FRACTION} must be a number above 0, not {given}")
        return int(share * self.memory_gib * GIB)


def card_names() -> list[str]:
    """The names of all described accelerators."""
    return sorted(file.name.removesuffix(".toml") for file in _FOLDER.iterdir() if file.name.endswith(".toml"))


def load_card(name: str) -> Card:
    """The accelerator of a name.

    Raises:
        ConfigError: none of that name is described.
    """
    known = card_names()
    if name not in known:
        raise ConfigError(f"--device {name} is not described{nearest(name, known)} Described are {', '.join(known)}")
    fields: dict[str, Any] = tomllib.loads((_FOLDER / f"{name}.toml").read_text("utf-8"))
    if fields["platform"] == "gpu":
        fields["target"] = (_FOLDER / f"{name}.txtpb").read_text("utf-8")
    return Card(**fields)
