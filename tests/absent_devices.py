"""Tests that compile for accelerators that are not there."""

import pytest

from yolox_jax.config import ConfigError
from yolox_jax.training.profiling.described_devices import described_devices


def skip_without_compiler(device: str) -> None:
    """Skips the test if the compiler for a device is not installed. One that is installed must work."""
    try:
        described_devices(device)
    except ConfigError as error:
        if "which is not installed" not in str(error):
            raise
        pytest.skip(str(error))
