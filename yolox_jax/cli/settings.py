"""The flags that commands with a config share: `--config`, and one flag for each of its settings."""

import argparse
import dataclasses
from typing import Annotated, Any, TypeVar

import tyro

from yolox_jax.cli.parsing import parse
from yolox_jax.config import Config, ConfigError, DatasetConfig
from yolox_jax.config.checks import check_config
from yolox_jax.config.files import load_config, shipped_configs

Extra = TypeVar("Extra")


def parse_with_config(extra_type: type[Extra], argv: list[str], *, prog: str, description: str) -> tuple[Extra, Config]:
    """Reads `--config`, then all other flags, with the settings of that config as defaults.

    Prints the help and exits if `--help` is given. Exits with code 2 and a message that names the flag if a flag is
    unknown or its value has the wrong type.

    Args:
        extra_type: Frozen dataclass with the command's own flags; the docstrings of its fields are their help.
        argv: The command line without the name of the program.
        prog: The name of the program, for the help.
        description: What the command does, for the help.

    Raises:
        ConfigError: `--config` is missing or names no config, or a setting is invalid.
    """
    name = requested_config(argv)
    if name is None and not {"-h", "--help"} & set(argv):
        raise ConfigError(f"--config is required. Pass {_config_help()}")
    config = Config() if name is None else _with_requested_formats(load_config(name), argv)
    defaults = "of the schema; pass --config to see those of a config" if name is None else f"of {name}"
    arguments: Any = parse(
        _arguments_type(extra_type, config),
        argv,
        prog=prog,
        description=f"{description} The defaults shown are those {defaults}.",
    )
    check_config(arguments.settings)
    return arguments.extra, arguments.settings


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


def _arguments_type(extra_type: type, config: Config) -> type:
    """The whole command line as one dataclass, for tyro; `name=""` leaves the flags without a prefix."""
    return dataclasses.make_dataclass(
        "Arguments",
        [
            ("config", Annotated[str, tyro.conf.arg(help=_config_help().capitalize() + ".", metavar="CONFIG")]),
            ("extra", Annotated[extra_type, tyro.conf.arg(name="")]),
            (
                "settings",
                # Boolean settings take a value: which of --x and --no-x exists would depend on the config.
                Annotated[Config, tyro.conf.FlagConversionOff, tyro.conf.arg(name="")],
                dataclasses.field(default=config),
            ),
        ],
    )
