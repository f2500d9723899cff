"""Converts a config to JSON types and back, and names settings as on the command line."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, Union

from yolox_jax.config import Config, ConfigError


def flag(name: str) -> str:
    """The command-line flag of a setting.

    >>> flag("data.input_size")
    '--data.input-size'
    """
    return "--" + name.replace("_", "-")


def config_to_dict(config: Config) -> dict[str, Any]:
    """Converts a config to JSON types: nested dicts, with lists for tuples. `config_from_dict` is the inverse."""
    return typing.cast(dict[str, Any], _to_json(config))


def config_from_dict(values: dict[str, Any]) -> Config:
    """Builds a config from the nested dict that `config_to_dict` returns. Missing settings get their defaults.

    Raises:
        ConfigError: A setting does not exist, or a value has the wrong type.
    """
    config = _from_json(values, Config, "")
    assert isinstance(config, Config)
    return config


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens the nested dict of `config_to_dict` to one level, keyed by the names of the settings.

    >>> flatten({"seed": 0, "data": {"input_size": [640, 640], "more_train": [{"images": "a"}]}})
    {'seed': 0, 'data.input_size': [640, 640], 'data.more_train[0].images': 'a'}
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, item in enumerate(value):
                flat |= flatten(item, f"{prefix}{key}[{index}].")
        else:
            flat[prefix + key] = value
    return flat


def primary_name(name: str) -> str:
    """Maps a setting of an additional dataset to that of the first dataset; other names stay the same.

    >>> primary_name("data.more_train[0].images")
    'data.train.images'
    """
    return re.sub(r"^data\.more_(train|val)\[\d+\]", r"data.\1", name)


def typed(value: Any) -> str:
    """A value as typed on the command line.

    >>> typed((640, 0.5, None))
    '640 0.5 None'
    """
    if isinstance(value, tuple | list):
        return " ".join(typed(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """How to end an error about an unknown name: "; did you mean ...?" if a known name is close to it, else ".".

    Of names with folders, such as `roadmap/simota`, the last part is compared.
    """
    by_last_part = {one.rpartition("/")[2]: one for one in known}
    matches = difflib.get_close_matches(name, by_last_part, n=1, cutoff=0.5)
    return f"; did you mean {by_last_part[matches[0]]}?" if matches else "."


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_to_json(item) for item in value]
    return value


def _from_json(value: Any, kind: Any, name: str) -> Any:
    """Converts `value` to the type `kind`; `name` is the dotted name of the setting."""
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
    raise ConfigError(f"{flag(name)} must be {_describe(kind)}, got {typed(value)} ({type(value).__name__})")


def _section_from_json(values: dict[str, Any], section: type, prefix: str) -> Any:
    kinds = typing.get_type_hints(section)  # without the ranges
    for key in values:
        if key not in kinds:
            raise ConfigError(
                f"unknown setting {prefix}{key}{nearest(prefix + key, (prefix + kind for kind in kinds))}"
            )
    return section(**{key: _from_json(value, kinds[key], prefix + key) for key, value in values.items()})


def _describe(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(argument) for argument in arguments)
    if dataclasses.is_dataclass(kind):
        return "a section of settings"
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and arguments[1:] == (...,):
        return f"a list of any length, each {_describe(arguments[0])}"
    if origin is tuple:
        return f"{len(arguments)} values: " + ", ".join(_describe(argument) for argument in arguments)
    return {int: "an integer", float: "a number", str: "a string", bool: "True or False", type(None): "None"}.get(
        kind, str(kind)
    )
