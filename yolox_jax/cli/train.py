"""`yolox-jax train`: trains a detector from a config."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from yolox_jax.cli.dataset_path import DataPath, with_announced_data
from yolox_jax.cli.parsing import given_flags
from yolox_jax.cli.settings import CONFIG_OF_PATH, parse_with_config, requested_config
from yolox_jax.cli.terminal import say
from yolox_jax.config import ConfigError, ScheduleConfig
from yolox_jax.config.files import RUN_SETTINGS, find_config, load_config
from yolox_jax.config.names import initial_weights_name
from yolox_jax.files import expand_home


@dataclasses.dataclass(frozen=True)
class TrainArguments:
    """The data, the run directory and the processes of a run."""

    data: DataPath = None
    """Dataset to train on: a data.yaml (YOLO), a COCO JSON file, or the folder of a YOLO, COCO, VOC or Roboflow
    dataset. Its validation split is found too. --data.train.* and --data.val.* take precedence."""
    workdir: Path | None = None
    """Run directory. By default, runs/NAME after the name of the config, or the run directory passed as --config."""
    resume: bool = False
    """Resume from the latest checkpoint in the run directory; with --extend, with other settings."""
    extend: bool = False
    """With --resume: continue with other settings, such as a larger --schedule.epochs or another --train.batch-size.
    The schedule bends at the latest checkpoint."""
    hours: float | None = None
    """Train for about this long. The first steps are timed, then --schedule.epochs is set to what fits."""
    distributed: bool = False
    """Run as one of several processes that jax detects by itself, as on TPU pods. Not needed with Slurm or Open MPI."""
    coordinator: str | None = None
    """host:port of process 0, to run as one of several processes of any other launcher. The same for all processes."""
    num_processes: int | None = None
    """Number of processes. Requires --coordinator."""
    process_id: int | None = None
    """Index of this process, from 0. Requires --coordinator."""


def main(argv: list[str]) -> None:
    """Trains; `argv` is the command line after `train`."""
    argv, auto_batch_size = _without_auto_batch_size(argv)
    arguments, config = parse_with_config(
        TrainArguments,
        argv,
        prog="yolox-jax train",
        description="Train from a config.",
        path_field="data",
        path_suffices=True,
        resumed_schedule=lambda arguments: _recorded_schedule(_workdir(arguments, argv)) if arguments.resume else None,
    )
    _check_hours(arguments, argv)
    if requested_config(argv) is None:
        say(f"using --config {CONFIG_OF_PATH}", sys.stderr)
    config = with_announced_data(config, arguments.data, "train", "val")
    # Imported here, so that --help and errors in flags do not wait for jax.
    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.cli.published import fetch_if_published
    from yolox_jax.data.sources import check_datasets_named
    from yolox_jax.training.distributed import leave, start_distributed
    from yolox_jax.training.interruption import Interrupted
    from yolox_jax.training.timed_run import train_for_hours
    from yolox_jax.training.trainer import train

    keep_compiled()
    if config.model.weights and not arguments.resume:  # the trainer would download them without a progress bar
        check_datasets_named(config.data)  # before the download
        fetch_if_published(initial_weights_name(config.model))
    start_distributed(
        arguments.coordinator, arguments.num_processes, arguments.process_id, detect=arguments.distributed
    )
    try:
        start: dict[str, Any] = {
            "workdir": _workdir(arguments, argv),
            "resume": arguments.resume,
            "auto_batch_size": auto_batch_size,
        }
        if arguments.hours is not None:
            train_for_hours(config, arguments.hours, **start)
        else:
            train(config, extend=arguments.extend, **start)
    except Exception as error:
        leave(together=isinstance(error, Interrupted))
        raise


def _check_hours(arguments: TrainArguments, argv: list[str]) -> None:
    """Raises ConfigError if the length of the run is set in two ways."""
    also = "--schedule.epochs" if "--schedule.epochs" in given_flags(argv) else "--extend" * arguments.extend
    if arguments.hours is not None and also:
        raise ConfigError(f"--hours and {also} exclude each other: --hours sets the number of epochs. Leave one out")


def _without_auto_batch_size(argv: list[str]) -> tuple[list[str], bool]:
    """Takes `--train.batch-size auto` off the command line, and tells whether it was there."""
    for place, word in enumerate(argv):
        name, _, value = word.partition("=")
        values = [value] if value else argv[place + 1 : place + 2]
        if name.replace("_", "-") == "--train.batch-size" and values == ["auto"]:
            return argv[:place] + argv[place + (1 if value else 2) :], True
    return argv, False


def _workdir(arguments: TrainArguments, argv: list[str]) -> Path:
    config_path = find_config(requested_config(argv) or CONFIG_OF_PATH)
    is_run = config_path.name == RUN_SETTINGS
    return expand_home(arguments.workdir or (config_path.parent if is_run else Path("runs") / config_path.stem))


def _recorded_schedule(workdir: Path) -> ScheduleConfig | None:
    """The schedule of the run in a run directory; None if there is none, or none that the trainer could resume."""
    path = workdir / RUN_SETTINGS
    try:
        return load_config(path).schedule if path.is_file() else None
    except ConfigError:
        return None
