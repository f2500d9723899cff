"""Parses command lines into dataclasses; the docstrings of their fields are the help texts."""

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import typing
from typing import Any, TypeVar

import tyro

Arguments = TypeVar("Arguments")

_registry = tyro.constructors.ConstructorRegistry()


def parse(
    arguments_type: type[Arguments], argv: list[str], *, prog: str, description: str, flag_pairs: bool = False
) -> Arguments:
    """Parses a command line.

    Prints the help and exits if `--help` is given. Exits with code 2 and a message that names the flag if a flag is
    unknown or its value has the wrong type.

    Args:
        arguments_type: Frozen dataclass with one field per flag.
        argv: The command line without the name of the program.
        prog: The name of the program, for the help.
        description: What the command does, for the help.
        flag_pairs: Offer `--no-x` for every `--x` that takes no value, and vice versa.
    """
    return tyro.cli(
        arguments_type,
        args=argv,
        prog=prog,
        description=description,
        config=() if flag_pairs else (tyro.conf.FlagCreatePairsOff,),
        registry=_registry,
    )


@_registry.struct_rule
def _dataclass_with_flowing_help(
    info: tyro.constructors.StructTypeInfo,
) -> tyro.constructors.StructConstructorSpec | None:
    """Replaces tyro's own rule for dataclasses, which keeps the line breaks of docstrings in the help."""
    if not dataclasses.is_dataclass(info.type):
        return None
    types = typing.get_type_hints(info.type, include_extras=True)
    fields = tuple(
        tyro.constructors.StructFieldSpec(
            name=field.name,
            type=types[field.name],
            default=_default(field, info.default),
            helptext=functools.partial(_field_help, typing.cast(type, info.type), field.name),
        )
        for field in dataclasses.fields(info.type)
    )
    return tyro.constructors.StructConstructorSpec(instantiate=info.type, fields=fields)


def _default(field: dataclasses.Field, section: Any) -> Any:
    """The default of a field: its value in the default of the whole dataclass, if that has one."""
    if dataclasses.is_dataclass(section):
        return getattr(section, field.name)
    return tyro.MISSING if field.default is dataclasses.MISSING else field.default


def _field_help(section: type, name: str) -> str | None:
    return _docstrings(section).get(name)


@functools.cache
def _docstrings(section: type) -> dict[str, str]:
    """The docstrings of the fields of a dataclass, each as one line."""
    try:
        source = textwrap.dedent(inspect.getsource(section))
    except (OSError, TypeError):  # a dataclass made at run time
        return {}
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    docstrings = {}
    for field, docstring in itertools.pairwise(definition.body):
        if isinstance(field, ast.AnnAssign) and isinstance(docstring, ast.Expr):
            assert isinstance(field.target, ast.Name) and isinstance(docstring.value, ast.Constant)
            docstrings[field.target.id] = " ".join(str(docstring.value.value).split())
    return docstrings
