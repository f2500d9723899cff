"""Copies onnx_runner.py, which runs ONNX files without this package, next to an exported file."""

import shutil
from pathlib import Path

from yolox_jax.config import ConfigError

RUNNER = Path(__file__).with_name("onnx_runner.py")


def check_runner_copy(folder: Path) -> None:
    """Raise ConfigError if a copy would replace a file of the same name with other content."""
    target = folder / RUNNER.name
    if target.exists() and target.read_bytes() != RUNNER.read_bytes():
        raise ConfigError(f"{target} already exists and differs. Remove it, or leave out --runner")


def copy_runner(folder: Path) -> Path:
    """Copies the program and returns its new path."""
    return Path(shutil.copy(RUNNER, folder))
