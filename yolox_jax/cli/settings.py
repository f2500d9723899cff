"""The flags that commands with a config share: `--config`, and one flag for each of its settings."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from yolox_jax.cli.flags import flags_of
from yolox_jax.cli.help import is_help_requested
from yolox_jax.cli.parsing import given_flags, parse_flags
from yolox_jax.cli.settings_help import print_settings_help
from yolox_jax.cli.terminal import say
from yolox_jax.config import Config, ConfigError, DatasetConfig, ScheduleConfig, with_optimizer
from yolox_jax.config.checks import check_config
from yolox_jax.config.files import listed_configs, load_config
from yolox_jax.config.schedule import scale_schedule
from yolox_jax.config.serialization import flag, typed

Extra = TypeVar("Extra")

PHASES = ("warmup_epochs", "no_aug_epochs", "milestones")
"""Settings of the schedule in epochs, which scale with the length of the run."""

CONFIG_OF_PATH = "finetune"
"""The config of commands that are given the path of a dataset and no config."""


def parse_with_config(
    extra_type: type[Extra],
    argv: list[str],
    *,
    prog: str,
    description: str,
    uses: Sequence[str] = ("",),
    path_field: str = "",
    path_suffices: bool = False,
    default_config: str | None = None,
    config_default: str = "",
    resumed_schedule: Callable[[Extra], ScheduleConfig | None] = lambda extra: None,
) -> tuple[Extra, Config]:
    """Reads `--config`, then all other flags, with the settings of that config as defaults.

    Prints the help and exits if `--help` is given. Exits with code 2 and a message that names the flag if a flag is
    unknown or its value has the wrong type.

    Args:
        extra_type: Frozen dataclass with the command's own flags; the docstrings of its fields are their help.
        argv: The command line without the name of the program.
        prog: The name of the program, for the help.
        description: What the command does, for the help.
        uses: The settings that the command uses, for the help: their names, or those of whole sections. All settings
            are accepted, so that commands may be given the same flags.
        path_field: The field of `extra_type` with the path of a dataset, if it has one. Where a path is given, the
            datasets there take the place of those of the config. A validation set that is not there is
            `DatasetConfig()`.
        path_suffices: Whether `--config` defaults to `CONFIG_OF_PATH` where a path is given.
        default_config: The config to use without `--config`.
        config_default: Says in the help which one that is, if there can be one.
        resumed_schedule: Returns the schedule of the run that is resumed, given the command's own arguments. It is kept
            where `--schedule.epochs` would otherwise scale it.

    Raises:
        ConfigError: `--config` is missing or names no config, a setting is invalid, or there is no dataset at the path.
    """
    name = requested_config(argv) or default_config
    if is_help_requested(argv):
        config = Config() if name is None else load_config(name)
        if path_suffices:
            config_default = f"With the path of a dataset, the default is {CONFIG_OF_PATH}."
        own = flags_of(_arguments_type(extra_type, config, config_default))
        print_settings_help(
            own[: 1 + len(flags_of(extra_type))],
            config,
            prog=prog,
            description=description,
            config_name=name,
            uses=uses,
            brief="--help-all" not in argv,
        )
        raise SystemExit(0)
    if name is None and not path_suffices:
        raise ConfigError(f"--config is required. Pass {_config_help()}")

    def parsed(config: Config) -> Any:
        config = config if name is None else _with_requested_formats(config, argv)
        arguments_type = _arguments_type(extra_type, config, "optional")
        return config, parse_flags(arguments_type, argv, flags_of(arguments_type), prog=prog)

    config, arguments = parsed(Config() if name is None else load_config(name))
    path = getattr(arguments.extra, path_field) if path_field else None
    if path is not None:
        config, arguments = parsed(_with_datasets_at(path, load_config(name or CONFIG_OF_PATH), argv))
    elif name is None:
        argument = next(one.text for one in flags_of(extra_type) if one.name == path_field)
        raise ConfigError(f"pass the path of a dataset ({argument}), or --config with {_config_help()}")
    settings = _with_requested_rate(arguments.settings, argv)
    settings = _with_rates_of_optimizer(settings, config, argv)
    settings = _with_scaled_schedule(settings, config, argv, resumed_schedule(arguments.extra))
    check_config(settings)
    return arguments.extra, settings


def _with_requested_rate(config: Config, argv: list[str]) -> Config:
    """Lets `--optimizer.lr-per-image` replace the `optimizer.lr` of a config."""
    given = given_flags(argv)
    if "--optimizer.lr-per-image" not in given or config.optimizer.lr is None:
        return config
    if "--optimizer.lr" in given:
        raise ConfigError(
            "--optimizer.lr and --optimizer.lr-per-image exclude each other: pass the peak learning rate, or that rate "
            "per image of the batch"
        )
    return dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, lr=None))


def _with_rates_of_optimizer(config: Config, before: Config, argv: list[str]) -> Config:
    """Changes the learning rate and weight decay with `--optimizer.name`, unless they are given."""
    given, optimizer, recipe = given_flags(argv), config.optimizer, before.optimizer
    suited = with_optimizer(recipe, optimizer.name)
    if "--optimizer.lr" in given or "--optimizer.lr-per-image" in given:
        suited = dataclasses.replace(suited, lr=optimizer.lr, lr_per_image=optimizer.lr_per_image)
    if "--optimizer.weight-decay" in given:
        suited = dataclasses.replace(suited, weight_decay=optimizer.weight_decay)
    names = ("lr", "lr_per_image", "weight_decay")
    changes = {name: getattr(suited, name) for name in names if getattr(suited, name) != getattr(optimizer, name)}
    if optimizer.name == recipe.name or not changes:
        return config
    listed = ", ".join(
        f"{flag(f'optimizer.{name}')} {getattr(optimizer, name):g} -> {value:g}" for name, value in changes.items()
    )
    say(f"to suit --optimizer.name {optimizer.name}: {listed}", sys.stderr)
    return dataclasses.replace(config, optimizer=dataclasses.replace(optimizer, **changes))


def _with_scaled_schedule(config: Config, before: Config, argv: list[str], resumed: ScheduleConfig | None) -> Config:
    """Scales the phases of the schedule with `--schedule.epochs`, unless they are given or a run is resumed."""
    given, schedule, recipe = given_flags(argv), config.schedule, before.schedule
    fixed = {name for name in PHASES if flag(f"schedule.{name}") in given}
    if "--schedule.epochs" not in given or schedule.epochs < 1 or len(fixed) == len(PHASES):
        return config
    if resumed is not None and resumed.epochs == schedule.epochs:
        scaled = resumed
    elif schedule.epochs != recipe.epochs:
        warmup = schedule.warmup_epochs if "warmup_epochs" in fixed else None
        if resumed is not None and warmup is None:  # it lies behind
            warmup = resumed.warmup_epochs
        scaled = scale_schedule(recipe, schedule.epochs, warmup_epochs=warmup)
        _announce_schedule(scaled, recipe, fixed)
    else:
        return config
    kept = ("min_lr_ratio", "name", "gamma", *fixed)
    scaled = dataclasses.replace(scaled, **{name: getattr(schedule, name) for name in kept})
    return dataclasses.replace(config, schedule=scaled)


def _announce_schedule(scaled: ScheduleConfig, recipe: ScheduleConfig, fixed: set[str]) -> None:
    changes = [
        f"{flag(f'schedule.{name}')} {typed(getattr(recipe, name))} -> {typed(getattr(scaled, name))}"
        for name in PHASES
        if name not in fixed and getattr(recipe, name) != getattr(scaled, name)
    ]
    if changes:
        say(f"scaled to --schedule.epochs {scaled.epochs}: {', '.join(changes)}", sys.stderr)


def _with_datasets_at(path: Path, config: Config, argv: list[str]) -> Config:
    from yolox_jax.data.sources.at_path import datasets_at

    images = [requested(argv, f"--data.{split}.images") or "" for split in ("train", "val")]
    train, val = datasets_at(path, train_images=images[0], val_images=images[1])
    data = dataclasses.replace(config.data, train=train, val=val or DatasetConfig(), more_train=(), more_val=())
    return dataclasses.replace(config, data=data)


def requested_config(argv: list[str]) -> str | None:
    """Returns the value of `--config` on a command line, or None if it is absent. Ignores all other flags.

    Raises:
        ConfigError: `--config` has no value.
    """
    try:
        return _flag_value(argv, "--config")
    except argparse.ArgumentError:
        raise ConfigError(f"--config has no value. Pass {_config_help()}") from None


def requested(argv: list[str], flag: str) -> str | None:
    """Returns the value of a flag on a command line, or None if it or its value is absent. Ignores all other flags."""
    try:
        return _flag_value(argv, flag)
    except argparse.ArgumentError:
        return None  # the parser of all flags reports it


def _flag_value(argv: list[str], flag: str) -> str | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(flag, dest="value")
    known, _ = parser.parse_known_args(argv)
    value: str | None = known.value
    return value


def _with_requested_formats(config: Config, argv: list[str]) -> Config:
    """Clears the paths of a dataset whose format is changed on the command line, as they belong to the old one."""

    def cleared(dataset: DatasetConfig, flag: str) -> DatasetConfig:
        if requested(argv, flag) in (None, dataset.format):
            return dataset
        return dataclasses.replace(dataset, images="", annotations="", split="")

    train = cleared(config.data.train, "--data.train.format")
    val = cleared(config.data.val, "--data.val.format")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, train=train, val=val))


def _config_help() -> str:
    """What `--config` takes."""
    return f"the name of a shipped config ({listed_configs()}), or the path of a config file or run directory"


def _arguments_type(extra_type: type, config: Config, config_default: str) -> type:
    """The whole command line as one dataclass, for tyro; `name=""` leaves the flags without a prefix."""
    config_flag = tyro.conf.arg(help=f"{_config_help().capitalize()}. {config_default}".strip(), metavar="CONFIG")
    return dataclasses.make_dataclass(
        "Arguments",
        [
            ("config", Annotated[str | None, config_flag], dataclasses.field(default=None))
            if config_default
            else ("config", Annotated[str, config_flag]),
            ("extra", Annotated[extra_type, tyro.conf.arg(name="")]),
            (
                "settings",
                # Boolean settings take a value: which of --x and --no-x exists would depend on the config.
                Annotated[Config, tyro.conf.FlagConversionOff, tyro.conf.arg(name="")],
                dataclasses.field(default=config),
            ),
        ],
        kw_only=True,
    )
