"""Devices that are not in this machine: XLA compiles for them from a description, but nothing runs on them."""

import importlib.metadata
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache

from yolox_jax.config import ConfigError
from yolox_jax.training.profiling.cards import Card, load_card

COMPILERS = {
    "gpu": ("deviceless", ("jax-cuda12-pjrt", "jax-cuda13-pjrt")),
    "tpu": ("tpu", ("libtpu",)),
}
"""The extra that brings the compiler for a platform, and the packages of which one holds it."""


class DescribedDevices(NamedTuple):
    """Devices of one kind to compile for."""

    card: Card
    devices: Sequence[jax.Device]

    def __str__(self) -> str:
        many = f"{len(self.devices)} " if len(self.devices) > 1 else ""
        return f"{many}{self.card.name}"


def described_devices(name: str, count: int | None = None) -> DescribedDevices:
    """The devices of a name, such as `h100` or `v5e:2x2`, for `PreparedStep`.

    The process may use the CPU alone from here on: jax would otherwise look for the accelerators that the compilers
    belong to, and complain where they are missing.

    Args:
        name: the name of a GPU, or that of a TPU with the arrangement of its chips.
        count: number of GPUs; by default 1. TPUs are as many as their arrangement says.

    Raises:
        ConfigError: no accelerator of that name is described, its compiler is not installed, or it cannot be arranged
            like that.
    """
    kind, colon, arrangement = name.partition(":")
    card = load_card(kind)
    if card.platform == "gpu" and colon:
        raise ConfigError(f"--device {name}: a GPU has no arrangement. Use --device {kind} --devices N")
    # libtpu ends the process if one of the numbers is 0.
    if card.platform == "tpu" and not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", arrangement):
        raise ConfigError(f"--device {name} needs the arrangement of its chips, such as --device {card.example}")
    if card.platform == "tpu" and count is not None:
        raise ConfigError(f"--devices is for GPUs; --device {name} says how many chips there are")
    if count is not None and count < 1:
        raise ConfigError(f"--devices must be at least 1, got {count}")
    _check_compiler(card.platform, name)
    jax.config.update("jax_platforms", "cpu")
    try:
        found = _gpus(card, count or 1) if card.platform == "gpu" else _tpus(card, name)
    except RuntimeError as error:  # that of jax is one too
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"--device {name}: the compiler refuses it, or cannot be loaded ({reason})") from error
    return DescribedDevices(card, found.devices)


def compile_described(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compiles for devices that are not there, past jax's cache: it would keep such a program but cannot read it."""
    was_enabled = jax.config.values["jax_enable_compilation_cache"]
    _enable_cache(False)
    try:
        return lowered.compile()
    finally:
        _enable_cache(was_enabled)


def _enable_cache(enabled: bool) -> None:
    jax.config.update("jax_enable_compilation_cache", enabled)
    compilation_cache.reset_cache()  # jax remembers from the first compilation on whether there is a cache


def _gpus(card: Card, count: int) -> topologies.TopologyDescription:
    # Slices, hosts and GPUs of a host.
    return topologies.get_topology_desc(platform="cuda", target_config=card.target, topology=f"1x1x{count}")


def _tpus(card: Card, name: str) -> topologies.TopologyDescription:
    # Keeps libtpu from asking Google's metadata server for the machine it runs on.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    options = {"chip_config_name": card.chip_config} if card.chip_config else {}
    return topologies.get_topology_desc(platform="tpu", topology_name=name, **options)


def _check_compiler(platform: str, name: str) -> None:
    extra, packages = COMPILERS[platform]
    for package in packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        return
    raise ConfigError(
        f"--device {name} needs the compiler for {platform.upper()}s, which is not installed. "
        f"Run `pip install 'yolox-jax[{extra}]'`"
    )
