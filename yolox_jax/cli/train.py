"""`yolox-jax train`: trains a detector as a config says."""

import dataclasses
from pathlib import Path

from yolox_jax.cli.settings import parse_with_config, requested_config
from yolox_jax.config.files import RUN_SETTINGS, find_config


@dataclasses.dataclass(frozen=True)
class TrainArguments:
    """Where the run lies."""

    workdir: Path | None = None
    """Folder for weights, metrics, logs and pictures; if not given, runs/ and the name of the config, or the run that
    --config names."""
    resume: bool = False
    """Go on where the run in the folder stopped."""
    distributed: bool = False
    """One of several processes, on a TPU pod or where jax can find the others but Slurm or Open MPI do not tell."""
    coordinator: str | None = None
    """Several processes of any other launcher: host:port of process 0, the same for all."""
    num_processes: int | None = None
    """Goes with --coordinator: how many processes there are."""
    process_id: int | None = None
    """Goes with --coordinator: the number of this process, from 0."""


def main(argv: list[str]) -> None:
    """Trains; `argv` is the command line after `train`."""
    arguments, config = parse_with_config(
        TrainArguments, argv, prog="yolox-jax train", description="Train a detector as a config says."
    )
    config_path = find_config(str(requested_config(argv)))
    is_run = config_path.name == RUN_SETTINGS
    workdir = arguments.workdir or (config_path.parent if is_run else Path("runs") / config_path.stem)
    # Here, so that the help and wrong flags are answered before jax is loaded.
    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.cli.published import fetch_if_published
    from yolox_jax.training.distributed import leave, start_distributed
    from yolox_jax.training.interruption import Interrupted
    from yolox_jax.training.trainer import train

    keep_compiled()
    if config.model.weights and not arguments.resume:  # the trainer would fetch them too, but show no progress
        fetch_if_published(config.model.weights)
    start_distributed(
        arguments.coordinator, arguments.num_processes, arguments.process_id, detect=arguments.distributed
    )
    try:
        train(config, workdir=workdir, resume=arguments.resume)
    except Exception as error:
        leave(together=isinstance(error, Interrupted))
        raise
