"""The settings as JSON and back, with errors that name the setting as it is typed on the command line."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, Union

from yolox_jax.config import Config, ConfigError


def flag(name: str) -> str:
    """The name of a setting as typed on the command line: `data.input_size` is `--data.input-size`."""
    return "--" + name.replace("_", "-")


def config_to_dict(config: Config) -> dict[str, Any]:
    """The config as JSON types: nested dicts, with lists for tuples. `config_from_dict` is the way back."""
    return typing.cast(dict[str, Any], _to_json(config))


def config_from_dict(values: dict[str, Any]) -> Config:
    """The config that `config_to_dict` turned into `values`. Settings that are not given have their defaults.

    Raises:
        ConfigError: A name is no setting, or a value has the wrong type.
    """
    config = _from_json(values, Config, "")
    assert isinstance(config, Config)
    return config


def typed(value: Any) -> str:
    """A value as typed on the command line."""
    if isinstance(value, tuple | list):
        return " ".join(typed(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that found no such name: a guess at the one that was meant, where there is one."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else "."


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_to_json(item) for item in value]
    return value


def _from_json(value: Any, kind: Any, name: str) -> Any:
    """`value` as the type `kind`; `name` is the dotted name of the setting."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _section_from_json(value, typing.cast(type, kind), f"{name}." if name else "")
    if origin is Literal and value in arguments:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _from_json(value, next(argument for argument in arguments if argument is not type(None)), name)
    if origin is tuple and isinstance(value, list) and arguments[1:] == (...,):
        names = [f"{name}[{place}]" if dataclasses.is_dataclass(arguments[0]) else name for place in range(len(value))]
        return tuple(_from_json(item, arguments[0], item_name) for item, item_name in zip(value, names, strict=True))
    if origin is tuple and isinstance(value, list) and len(value) == len(arguments):
        return tuple(_from_json(item, argument, name) for item, argument in zip(value, arguments, strict=True))
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, bool, str) and type(value) is kind:
        return value
    raise ConfigError(f"{flag(name)} {typed(value)} ({type(value).__name__}) cannot work: it must be {_describe(kind)}")


def _section_from_json(values: dict[str, Any], section: type, prefix: str) -> Any:
    kinds = typing.get_type_hints(section)
    for key in values:
        if key not in kinds:
            raise ConfigError(
                f"there is no setting {prefix}{key}{nearest(prefix + key, (prefix + kind for kind in kinds))}"
            )
    return section(**{key: _from_json(value, kinds[key], prefix + key) for key, value in values.items()})


def _describe(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and arguments[1:] == (...,):
        return f"a list, of any length, of {_describe(arguments[0])}"
    if origin is tuple:
        return f"{len(arguments)} values: " + " ".join(_describe(argument) for argument in arguments)
    return {int: "a whole number", float: "a number", str: "text", bool: "True or False", type(None): "None"}.get(
        kind, str(kind)
    )
