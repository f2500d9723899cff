"""The flags of a command, as derived from the dataclass that holds its arguments."""

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro

from yolox_jax.config.serialization import flag, typed

ArgumentConfig: Any = type(tyro.conf.arg())
"""The class of the annotations that `tyro.conf.arg` makes."""

METAVARS = {
    "anchors": "[WIDTH HEIGHT ...]",
    "annotations": "FILE",
    "cache_dir": "FOLDER",
    "classes": "[NAME ...]",
    "freeze": "[LAYER ...]",
    "hsv_gains": "HUE SATURATION VALUE",
    "images": "FOLDER",
    "input_size": "H W",
    "loggers": "[NAME ...]",
    "mixup_scale": "MIN MAX",
    "mosaic_scale": "MIN MAX",
    "multiscale_px": "MIN MAX",
    "split": "NAME",
    "weights": "WEIGHTS",
    "workdir": "FOLDER",
}
"""Names for the values of arguments and settings whose type alone says little."""

LONGEST_CHOICES = 32
"""Choices that are longer than this are listed in the help text instead of the metavar."""


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flag, or positional argument, of a command."""

    name: str
    """With dots: `data.input_size`."""
    kind: Any
    """Type of its value, without annotations and without None."""
    is_optional: bool
    """Whether its value may be None."""
    is_positional: bool
    is_switch: bool
    """Whether it takes no value."""
    default: Any
    """`tyro.MISSING` if it is required."""
    description: str
    """One line."""
    metavar: str
    """Stands for its value in the help."""

    @property
    def text(self) -> str:
        """As typed; both forms of a switch that is not off by default, so that the description fits."""
        if self.is_positional:
            return self.metavar
        if self.is_switch and self.default is not False:
            return f"{flag(self.name)}, {flag(f'no_{self.name}')}"
        return flag(self.name)

    @property
    def num_values(self) -> int | None:
        """The number of values of a tuple of fixed length; None for all other types."""
        arguments = typing.get_args(self.kind)
        is_fixed = typing.get_origin(self.kind) is tuple and arguments[1:] != (...,)
        return len(arguments) if is_fixed else None

    @property
    def is_list(self) -> bool:
        """Whether it takes any number of values."""
        return typing.get_origin(self.kind) is tuple and self.num_values is None

    @property
    def summary(self) -> str:
        """The first sentence of the description."""
        first, separator, _ = self.description.partition(". ")
        return first + "." if separator else first

    def described_default(self) -> str:
        """The default in words, empty if the description says what happens without a value."""
        if self.default is tyro.MISSING:
            return "required"
        if self.is_switch:
            return f"default: {flag(self.name)}" if self.default is True else ""
        if self.default in (None, "", ()):
            return ""
        return f"default: {typed(self.default)}"


def flags_of(
    arguments_type: Any, default: Any = tyro.MISSING, prefix: str = "", *, switches: bool = True
) -> list[Flag]:
    """All flags of a dataclass of arguments, including those of nested dataclasses, in order.

    Args:
        arguments_type: The dataclass.
        default: Provides the defaults if it is an instance of the dataclass.
        prefix: What precedes the names, with its dot.
        switches: Whether booleans are flags without a value.
    """
    return list(_flags(arguments_type, default, prefix, switches))


def _flags(section: Any, default: Any, prefix: str, switches: bool) -> Iterator[Flag]:
    annotations = typing.get_type_hints(section, include_extras=True)
    for field in dataclasses.fields(section):
        kind, markers, is_optional = unwrapped(annotations[field.name])
        value = default_of(field, default)
        config = next((marker for marker in markers if isinstance(marker, ArgumentConfig)), None)
        if dataclasses.is_dataclass(kind):
            nested = prefix if config is not None and config.name == "" else f"{prefix}{field.name}."
            yield from _flags(kind, value, nested, switches and tyro.conf.FlagConversionOff not in markers)
        elif not any(map(dataclasses.is_dataclass, typing.get_args(kind))):  # such as `data.more_train`
            name = prefix + field.name
            description = (config and config.help) or docstrings(section).get(field.name, "")
            yield Flag(
                name=name,
                kind=kind,
                is_optional=is_optional,
                is_positional=tyro.conf.Positional in markers,
                is_switch=switches and kind is bool,
                default=value,
                description=description,
                metavar=(config and config.metavar) or metavar_of(kind, field.name),
            )


def default_of(field: dataclasses.Field, section: Any) -> Any:
    """The default of a field: its value in the default of the whole dataclass, if that has one."""
    if dataclasses.is_dataclass(section):
        return getattr(section, field.name)
    return tyro.MISSING if field.default is dataclasses.MISSING else field.default


def unwrapped(annotation: Any) -> tuple[Any, list[Any], bool]:
    """A type without annotations and None, the annotations, and whether it may be None."""
    markers: list[Any] = []
    is_optional = False
    while True:
        if typing.get_origin(annotation) is Annotated:
            annotation, *more = typing.get_args(annotation)
            markers += more
        elif typing.get_origin(annotation) in (Union, types.UnionType):
            (annotation,) = (one for one in typing.get_args(annotation) if one is not type(None))
            is_optional = True
        else:
            return annotation, markers, is_optional


def metavar_of(kind: Any, name: str = "") -> str:
    """What stands for a value of a type in the help."""
    if name in METAVARS:
        return METAVARS[name]
    kind, *_ = unwrapped(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        listed = "|".join(map(str, arguments))
        return listed if len(listed) <= LONGEST_CHOICES else "NAME"
    if origin is tuple and arguments[1:] == (...,):
        return f"[{metavar_of(arguments[0])} ...]"
    if origin is tuple:
        return " ".join(map(metavar_of, arguments))
    return {int: "N", float: "X", bool: "True|False", Path: "PATH"}.get(kind, "TEXT")


@functools.cache
def docstrings(section: type) -> dict[str, str]:
    """The docstrings of the fields of a dataclass, each as one line without backquotes."""
    try:
        source = textwrap.dedent(inspect.getsource(section))
    except (OSError, TypeError):  # a dataclass made at run time
        return {}
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, docstring in itertools.pairwise(definition.body):
        if isinstance(field, ast.AnnAssign) and isinstance(docstring, ast.Expr):
            assert isinstance(field.target, ast.Name) and isinstance(docstring.value, ast.Constant)
            found[field.target.id] = " ".join(str(docstring.value.value).replace("`", "").split())
    return found
