"""Prints the help of a command: its flags in groups, wrapped to the width of the terminal."""

import textwrap
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

import tyro
from rich.console import Console
from rich.text import Text

from yolox_jax.cli.flags import Flag

NARROWEST, WIDEST, TEXT_COLUMN = 60, 110, 34
"""Range of the longest line, and where the description of a flag starts, in characters."""

NO_BREAK = "\N{NO-BREAK SPACE}"
LONGEST_UNBROKEN = 24
"""Defaults up to this length stay on one line."""


def is_help_requested(argv: Sequence[str]) -> bool:
    """Whether a command line asks for help instead of running the command."""
    return not {"-h", "--help", "--help-all"}.isdisjoint(argv)


def print_help(
    prog: str,
    description: str,
    groups: Mapping[str, Sequence[Flag]],
    *,
    notes: Sequence[str] = (),
    footer: str = "",
    brief: Collection[str] = (),
) -> None:
    """Prints the help.

    Only bold type is used, which is readable on dark and light terminals; none if the output is not a terminal.

    Args:
        prog: The name of the program.
        description: What the command does.
        groups: The flags by heading.
        notes: Sentences that follow the description.
        footer: A paragraph at the end.
        brief: Headings of groups that show only the first sentence on each flag.
    """
    console = Console(highlight=False)
    width = min(max(console.width, NARROWEST), WIDEST)
    positional = [one for flags in groups.values() for one in flags if one.is_positional]
    usage = " ".join(
        [prog, *(one.metavar if one.default is tyro.MISSING else f"[{one.metavar}]" for one in positional), "[OPTIONS]"]
    )
    lines = [Text.assemble(("usage: ", "bold"), usage)]
    lines += [Text(), *(Text(line) for line in _wrapped(" ".join([description, *notes]), width))]
    for heading, flags in groups.items():
        is_brief = heading in brief
        if positional and flags:
            lines += _group("Arguments", [one for one in flags if one.is_positional], width, is_brief)
            flags = [one for one in flags if not one.is_positional]
        lines += _group(heading, flags, width, is_brief)
    if footer:
        lines += [Text(), *(Text(line) for line in _wrapped(footer, width))]
    for line in lines:
        console.print(line, soft_wrap=True)


def _group(heading: str, flags: Sequence[Flag], width: int, is_brief: bool) -> Iterator[Text]:
    if not flags:
        return
    yield Text()
    yield Text(heading, "bold")
    for one in flags:
        yield from _entry(one, width, is_brief)


def _entry(one: Flag, width: int, is_brief: bool) -> Iterator[Text]:
    value = "" if one.is_switch or one.is_positional else f" {one.metavar}" + ("|None" if _takes_none(one) else "")
    head = Text.assemble("  ", (one.text, "bold"), value)
    lines = _wrapped(_description(one, is_brief), width - TEXT_COLUMN)
    if len(head) <= TEXT_COLUMN - 2 and lines:
        yield head + Text(" " * (TEXT_COLUMN - len(head)) + lines.pop(0))
    else:
        yield head
    yield from (Text(" " * TEXT_COLUMN + line) for line in lines)


def _takes_none(one: Flag) -> bool:
    """Whether passing None makes a difference, because there may be another default."""
    return one.is_optional and "None" in one.description


def _description(one: Flag, is_brief: bool) -> str:
    parts = [one.summary if is_brief else one.description]
    if typing.get_origin(one.kind) is Literal and one.metavar == "NAME":
        parts.append(f"One of {', '.join(map(str, typing.get_args(one.kind)))}.")
    if default := one.described_default():
        parts.append(f"({default})" if len(default) > LONGEST_UNBROKEN else f"({default})".replace(" ", NO_BREAK))
    return " ".join(parts)


def _wrapped(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ") for line in lines]
