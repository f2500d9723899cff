"""Parses command lines into dataclasses; the docstrings of their fields are the help texts."""

import dataclasses
import functools
import itertools
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from yolox_jax.cli.flags import ArgumentConfig, Flag, default_of, docstrings, flags_of, metavar_of, unwrapped
from yolox_jax.cli.help import is_help_requested, print_help
from yolox_jax.config import ConfigError
from yolox_jax.config.serialization import flag, typed
from yolox_jax.files import expand_home

Arguments = TypeVar("Arguments")

COUNTS = {1: "one", 2: "two", 3: "three", 4: "four"}
SCALARS = {int: "an integer", float: "a number", bool: "True or False"}
EXAMPLES = {int: ("416", "640", "640", "640"), float: ("0.5", "1.5", "1.5", "1.5")}

NAMES_ELSEWHERE = {
    "--imgsz": "--data.input-size H W, or --input-size H W",
    "--img-size": "--data.input-size H W, or --input-size H W",
    "--batch": "--train.batch-size",
    "--batch-size": "--train.batch-size",
    "--epochs": "--schedule.epochs",
    "--schedule.hours": "--hours",
    "--lr": "--optimizer.lr",
    "--lr0": "--optimizer.lr",
    "--workers": "--data.num-workers",
    "--patience": "--evaluation.patience",
    "--freeze": "--model.freeze",
    "--model": "--model.variant and --model.weights",
    "--project": "--workdir",
    "--name": "--workdir",
    "--conf": "--score-threshold, or --evaluation.score-threshold",
    "--iou": "--iou-threshold, or --evaluation.iou-threshold",
    "--source": "the path alone",
}
"""What flags of other detectors' programs are called here."""

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
    flags = flags_of(arguments_type)
    if is_help_requested(argv):
        print_help(prog, description, {"Options": flags})
        raise SystemExit(0)
    return parse_flags(arguments_type, argv, flags, prog=prog, flag_pairs=flag_pairs)


def parse_flags(
    arguments_type: type[Arguments], argv: list[str], flags: Sequence[Flag], *, prog: str, flag_pairs: bool = False
) -> Arguments:
    """Like `parse`, without the help; `flags` are those of `arguments_type`.

    Raises:
        ConfigError: flags have their names in other programs.
    """
    _check_names(argv, flags)
    return tyro.cli(
        arguments_type,
        args=_in_order(argv, flags),
        prog=prog,
        config=() if flag_pairs else (tyro.conf.FlagCreatePairsOff,),
        registry=_registry,
    )


def _check_names(argv: Sequence[str], flags: Sequence[Flag]) -> None:
    """Tells what flags of other programs are called here; tyro reports all other unknown flags."""
    known = {flag(one.name) for one in flags if not one.is_positional}
    foreign = [name for name in NAMES_ELSEWHERE if name in given_flags(argv) and name not in known]
    hints = []
    for name in foreign:
        here = [text for text in NAMES_ELSEWHERE[name].split(", or ") if text.split()[0] in known or "--" not in text]
        if here:
            hints.append(f"for {name}, use {here[0]}")
    if hints:
        raise ConfigError(f"unknown options: {'; '.join(hints)}. --help lists all options")


def given_flags(argv: Sequence[str]) -> set[str]:
    """The flags on a command line, spelt with hyphens."""
    return {_spelt(word) for word in argv if word.startswith("--")}


def _spelt(word: str) -> str:
    """The flag that a word starts with; other words stay the same."""
    return word.partition("=")[0].replace("_", "-") if word.startswith("--") else word


def _in_order(argv: Sequence[str], flags: Sequence[Flag]) -> list[str]:
    """Reorders a command line so that tyro reads it as meant: flags, each with its values, then positional arguments.

    tyro would hand all following words to a flag whose value is a tuple or None, and reads positional arguments only
    if nothing stands between them. The values of tuples of fixed length are joined. Switches that may be None, for
    which tyro expects a value, get it.
    """
    by_text = {flag(one.name): one for one in flags if not one.is_positional}
    values_of_switches = {
        flag(name): f"{flag(one.name)}={value}"
        for one in flags
        if one.is_switch and one.is_optional
        for name, value in ((one.name, True), (f"no_{one.name}", False))
    }
    has_positional = any(one.is_positional for one in flags)
    words, ordered, positional = list(argv), [], []
    while words:
        word = words.pop(0)
        if word == "--":
            positional += words
            break
        word = values_of_switches.get(_spelt(word), word) if "=" not in word else word
        one = by_text.get(_spelt(word))
        if one is not None and one.num_values is not None:
            values = [word.partition("=")[2]] if "=" in word else []
            values += _taken(words, one.num_values - len(values), one)
            ordered.append(f"{flag(one.name)}={' '.join(values)}")
        elif one is not None and not one.is_switch and "=" not in word:
            ordered += [word, *_taken(words, len(words) if one.is_list else 1, one)]
        elif has_positional and not _is_flag(word):
            positional.append(word)
        else:
            ordered.append(word)
    return [*ordered, *(["--", *positional] if positional else [])]


def _taken(words: list[str], count: int, one: Flag) -> list[str]:
    """Removes up to `count` values of a flag from the words that follow it."""
    taken: list[str] = []
    while words and len(taken) < count and not _is_flag(words[0]):
        taken.append(words.pop(0))
        if one.is_optional and one.num_values is not None and taken[0].lower() == "none":
            break
    return taken


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word[1:2] not in "0123456789."


@_registry.primitive_rule
def _tuple_of_fixed_length(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Reads such a tuple from its joined values, with errors in words."""
    kind, _, is_optional = unwrapped(info.type)
    parts = [unwrapped(part)[0] for part in typing.get_args(kind)]
    if typing.get_origin(kind) is not tuple or parts[1:] == [...]:
        return None

    def read(words: list[str]) -> Any:
        values = words[0].split()
        if is_optional and [value.lower() for value in values] == ["none"]:
            return None
        try:
            return tuple(part(value) for part, value in zip(parts, values, strict=True))
        except ValueError:
            raise ValueError(f"expected {_described(parts, is_optional)}; got {words[0] or 'nothing'}") from None

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar_of(kind),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: typed(value).split(),
    )


@_registry.primitive_rule
def _tuple_of_tuples(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Reads any number of tuples of fixed length, such as sizes, from all their values in a row."""
    kind, _, _ = unwrapped(info.type)
    items = [unwrapped(part)[0] for part in typing.get_args(kind)]
    if typing.get_origin(kind) is not tuple or items[1:] != [...] or typing.get_origin(items[0]) is not tuple:
        return None
    parts = [unwrapped(part)[0] for part in typing.get_args(items[0])]

    def read(words: list[str]) -> Any:
        groups = list(itertools.zip_longest(*[iter(words)] * len(parts)))
        try:
            return tuple(tuple(part(word) for part, word in zip(parts, group, strict=True)) for group in groups)
        except (ValueError, TypeError):  # a word is no number, or is missing in the last group
            raise ValueError(
                f"expected any number of groups of {_described(parts, False)}; got {' '.join(words)}"
            ) from None

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar=metavar_of(kind),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: typed(value).split(),
    )


def _described(parts: list[type], is_optional: bool) -> str:
    noun = {int: "integers", float: "numbers"}.get(parts[0], "values")
    example = " ".join(EXAMPLES.get(parts[0], ())[: len(parts)])
    words = f"{COUNTS.get(len(parts), len(parts))} {noun}" + (f", e.g. {example}" if example else "")
    return words + (", or None" if is_optional else "")


@_registry.primitive_rule
def _scalar(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Reads paths, numbers and booleans, with errors in words, and None for all types that may be None."""
    kind, _, is_optional = unwrapped(info.type)
    if kind is Path:  # a shell leaves the ~ of --flag=~/folder
        read, choices = lambda words: expand_home(words[0]), None
    elif kind in SCALARS:
        read, choices = functools.partial(_read_scalar, kind), None
    elif is_optional and typing.get_origin(kind) is not tuple:
        inner: Any = tyro.constructors.ConstructorRegistry.get_primitive_spec(
            tyro.constructors.PrimitiveTypeInfo.make(kind, info.markers)
        )
        read, choices = inner.instance_from_str, inner.choices and (*inner.choices, "None")
    else:
        return None

    def read_or_none(words: list[str]) -> Any:
        return None if is_optional and words[0].lower() == "none" else read(words)

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar_of(kind),
        instance_from_str=read_or_none,
        is_instance=lambda value: is_optional or value is not None,
        str_from_instance=lambda value: [str(value)],
        choices=choices,
    )


def _read_scalar(kind: Any, words: list[str]) -> Any:
    try:
        return {"true": True, "false": False}[words[0].lower()] if kind is bool else kind(words[0])
    except (ValueError, KeyError):
        raise ValueError(f"expected {SCALARS[kind]}; got {words[0]}") from None


@_registry.struct_rule
def _dataclass_with_flowing_help(
    info: tyro.constructors.StructTypeInfo,
) -> tyro.constructors.StructConstructorSpec | None:
    """Replaces tyro's own rule for dataclasses, which keeps the line breaks of docstrings in the help."""
    if not dataclasses.is_dataclass(info.type):
        return None
    section: Any = info.type
    hints = typing.get_type_hints(section, include_extras=True)
    fields = tuple(
        tyro.constructors.StructFieldSpec(
            name=field.name,
            type=_with_metavar(hints[field.name], field.name),
            default=default_of(field, info.default),
            helptext=functools.partial(docstrings(section).get, field.name),
        )
        for field in dataclasses.fields(section)
    )
    return tyro.constructors.StructConstructorSpec(instantiate=section, fields=fields)


def _with_metavar(annotation: Any, name: str) -> Any:
    """The type of a field whose values have the same name in error messages as in the help."""
    kind, markers, _ = unwrapped(annotation)
    if dataclasses.is_dataclass(kind) or kind is bool or any(isinstance(marker, ArgumentConfig) for marker in markers):
        return annotation
    return Annotated[annotation, tyro.conf.arg(metavar=metavar_of(kind, name))]
