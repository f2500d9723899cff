"""Published weights that a command line names, fetched with their progress on the console."""

from pathlib import Path

from yolox_jax.cli.progress import show_download
from yolox_jax.weights import resolve


def fetch_if_published(weights: str | Path) -> Path:
    """The path of weights that are given by path or by the name of a published network.

    Raises:
        FileNotFoundError, WeightsError: as `yolox_jax.weights.resolve`.
    """
    with show_download() as on_progress:
        return resolve(weights, on_progress=on_progress)
