"""Weights given on a command line: a path, or the name of published weights, downloaded with a progress bar."""

from pathlib import Path
from typing import Annotated

import tyro

from yolox_jax.cli.progress import show_download

WeightsPath = Annotated[str, tyro.conf.arg(metavar="WEIGHTS")]
OptionalWeightsPath = Annotated[str | None, tyro.conf.arg(metavar="WEIGHTS")]
"""Strings, because a `Path` drops the `./` that tells a run directory from the name of published weights."""


def fetch_if_published(weights: str) -> Path:
    """The path of weights that exist, which are downloaded first if `weights` is the name of published weights.

    Raises:
        FileNotFoundError, WeightsError: See `yolox_jax.weights.resolve` and `find_weights`.
    """
    # Imported here, so that --help and errors in flags do not wait for jax.
    from yolox_jax.weights import find_weights, resolve

    with show_download() as on_progress:
        path = resolve(weights, on_progress=on_progress)
    find_weights(path)
    return path
