"""`yolox-jax train`: trains a detector as a config says."""

import dataclasses
from pathlib import Path

from yolox_jax.cli.settings import parse_with_config, requested_config


@dataclasses.dataclass(frozen=True)
class TrainArguments:
    """Where the run lies."""

    workdir: Path | None = None
    """Folder for weights, metrics, logs and pictures; runs/ and the name of the config if not given."""
    resume: bool = False
    """Go on where the run in the folder stopped."""


def main(argv: list[str]) -> None:
    """Trains; `argv` is the command line after `train`."""
    arguments, config = parse_with_config(
        TrainArguments, argv, prog="yolox-jax train", description="Train a detector as a config says."
    )
    workdir = arguments.workdir or Path("runs") / Path(requested_config(argv) or "").stem
    # Here, so that the help and wrong flags are answered before jax is loaded.
    from yolox_jax.training.trainer import train

    train(config, workdir=workdir, resume=arguments.resume)
