"""What the commands share on the command line: `--config`, and every setting of that config as a flag of its own."""

import argparse
import dataclasses
from typing import Annotated, Any, TypeVar

import tyro

from yolox_jax.config import Config, ConfigError
from yolox_jax.config.checks import check_config
from yolox_jax.config.files import load_config, shipped_configs

Extra = TypeVar("Extra")


def parse_with_config(extra_type: type[Extra], argv: list[str], *, prog: str, description: str) -> tuple[Extra, Config]:
    """Reads `--config`, then every other flag with the settings of that config as defaults.

    Prints the help and exits where `--help` is asked for. A flag that is unknown or has a wrong value ends the program
    with exit code 2 and a message that names it.

    Args:
        extra_type: Frozen dataclass with the command's own flags; the docstrings of its fields are their help.
        argv: The command line without the name of the program.
        prog: The name of the program, for the help.
        description: What the command does, for the help.

    Raises:
        ConfigError: `--config` is missing or names no config, or the settings cannot work.
    """
    name = requested_config(argv)
    if name is None and not {"-h", "--help"} & set(argv):
        raise ConfigError(f"--config is missing; give {_config_help()}")
    config = Config() if name is None else load_config(name)
    defaults = "the built-in ones; add --config to see its own" if name is None else f"those of {name}"
    arguments: Any = tyro.cli(
        _arguments_type(extra_type, config),
        args=argv,
        prog=prog,
        description=f"{description} Defaults shown are {defaults}.",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    check_config(arguments.settings)
    return arguments.extra, arguments.settings


def requested_config(argv: list[str]) -> str | None:
    """The value of `--config` on a command line; the other flags are not looked at.

    Raises:
        ConfigError: `--config` stands there without a value.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config")
    try:
        found, _ = parser.parse_known_args(argv)
    except argparse.ArgumentError:
        raise ConfigError(f"--config has no value; give {_config_help()}") from None
    name: str | None = found.config
    return name


def _config_help() -> str:
    return f"the path of a config file or of a run, or a shipped name: {', '.join(shipped_configs())}"


def _arguments_type(extra_type: type, config: Config) -> type:
    """The whole command line as one dataclass, for tyro; `name=""` leaves the flags without a prefix."""
    return dataclasses.make_dataclass(
        "Arguments",
        [
            ("config", Annotated[str, tyro.conf.arg(help=_config_help().capitalize())]),
            ("extra", Annotated[extra_type, tyro.conf.arg(name="")]),
            (
                "settings",
                # Settings that are true or false take that word: which of --x and --no-x there is would depend on the
                # config.
                Annotated[Config, tyro.conf.FlagConversionOff, tyro.conf.arg(name="")],
                dataclasses.field(default=config),
            ),
        ],
    )
