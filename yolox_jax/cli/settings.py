"""The flags that commands with a config share: `--config`, and one flag for each of its settings."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from yolox_jax.cli.parsing import parse
from yolox_jax.config import Config, ConfigError, DatasetConfig
from yolox_jax.config.checks import check_config
from yolox_jax.config.files import load_config, shipped_configs

Extra = TypeVar("Extra")

CONFIG_OF_PATH = "yolox_s"
"""The config of commands that are given the path of a dataset and no `--config`."""


def parse_with_config(
    extra_type: type[Extra], argv: list[str], *, prog: str, description: str, path_field: str = ""
) -> tuple[Extra, Config]:
    """Reads `--config`, then all other flags, with the settings of that config as defaults.

    Prints the help and exits if `--help` is given. Exits with code 2 and a message that names the flag if a flag is
    unknown or its value has the wrong type.

    Args:
        extra_type: Frozen dataclass with the command's own flags; the docstrings of its fields are their help.
        argv: The command line without the name of the program.
        prog: The name of the program, for the help.
        description: What the command does, for the help.
        path_field: The field of `extra_type` with the path of a dataset, if it has one. Where a path is given, the
            datasets there take the place of those of the config, and `--config` defaults to `CONFIG_OF_PATH`. A
            validation set that is not there is `DatasetConfig()`.

    Raises:
        ConfigError: `--config` is missing or names no config, a setting is invalid, or there is no dataset at the path.
    """
    name = requested_config(argv)
    if name is None and not path_field and not {"-h", "--help"} & set(argv):
        raise ConfigError(f"--config is required. Pass {_config_help()}")

    def parsed(config: Config) -> Any:
        config = config if name is None else _with_requested_formats(config, argv)
        defaults = "of the schema; pass --config to see those of a config" if name is None else f"of {name}"
        return parse(
            _arguments_type(extra_type, config, config_required=not path_field),
            argv,
            prog=prog,
            description=f"{description} The defaults shown are those {defaults}.",
        )

    arguments = parsed(Config() if name is None else load_config(name))
    path = getattr(arguments.extra, path_field) if path_field else None
    if path is not None:
        arguments = parsed(_with_datasets_at(path, load_config(name or CONFIG_OF_PATH), argv))
    elif name is None:
        raise ConfigError(f"pass the path of a dataset, or --config with {_config_help()}")
    check_config(arguments.settings)
    return arguments.extra, arguments.settings


def _with_datasets_at(path: Path, config: Config, argv: list[str]) -> Config:
    from yolox_jax.data.sources.at_path import datasets_at

    images = [_flag_value(argv, f"--data.{split}.images") or "" for split in ("train", "val")]
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


def _flag_value(argv: list[str], flag: str) -> str | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(flag, dest="value")
    known, _ = parser.parse_known_args(argv)
    value: str | None = known.value
    return value


def _with_requested_formats(config: Config, argv: list[str]) -> Config:
    """Clears the paths of a dataset whose format is changed on the command line, as they belong to the old one."""

    def cleared(dataset: DatasetConfig, flag: str) -> DatasetConfig:
        try:
            requested = _flag_value(argv, flag)
        except argparse.ArgumentError:
            return dataset  # without a value; the parser of all flags reports it
        if requested in (None, dataset.format):
            return dataset
        return dataclasses.replace(dataset, images="", annotations="", split="")

    train = cleared(config.data.train, "--data.train.format")
    val = cleared(config.data.val, "--data.val.format")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, train=train, val=val))


def _config_help() -> str:
    return (
        f"the name of a shipped config ({', '.join(shipped_configs())}), or the path of a config file or run directory"
    )


def _arguments_type(extra_type: type, config: Config, *, config_required: bool) -> type:
    """The whole command line as one dataclass, for tyro; `name=""` leaves the flags without a prefix."""
    help_text = _config_help().capitalize() + "."
    if not config_required:
        help_text += f" With the path of a dataset, the default is {CONFIG_OF_PATH}."
    config_flag = Annotated[str | None, tyro.conf.arg(help=help_text, metavar="CONFIG")]
    return dataclasses.make_dataclass(
        "Arguments",
        [
            ("config", Annotated[str, tyro.conf.arg(help=help_text, metavar="CONFIG")])
            if config_required
            else ("config", config_flag, dataclasses.field(default=None)),
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


def announce_datasets(path: Path, config: Config, splits: Sequence[Literal["train", "val"]] = ("train", "val")) -> None:
    """Prints which datasets were found at a path, as the flags that name them."""
    for split in splits:
        dataset = config.data.train if split == "train" else config.data.val
        if dataset == DatasetConfig():
            print(f"{split}: no such split found at {path}; only the training images are used")
        else:
            settings = {"images": dataset.images, "annotations": dataset.annotations, "split": dataset.split}
            given = " ".join(f"--data.{split}.{name} {value}" for name, value in settings.items() if value)
            print(f"{split}: --data.{split}.format {dataset.format} {given}")
