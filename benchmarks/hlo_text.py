"""Parses the text of an optimized XLA program: computations, their instructions, and where each comes from."""

import dataclasses
import functools
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

BITS = {"pred": 8, "token": 0, "opaque": 0}
"""Types whose name does not end in their number of bits."""

ARRAY = re.compile(r"\b([a-z]+[0-9]*\w*)\[([0-9,]*)\](?:\{([^}]*)\})?")
INSTRUCTION = re.compile(r"^\s*(ROOT )?%?(\S+) = (\(.*?\)|\S+) ([a-z][a-z0-9-]*)\((.*)$")
COMPUTATION = re.compile(r"^(ENTRY )?%?(\S+) \(.*\{$")
TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")


class Frame(NamedTuple):
    """A line of Python that an instruction comes from."""

    file: str
    function: str
    line: int


@dataclasses.dataclass(frozen=True)
class Array:
    """The shape of an array, and how it lies in memory."""

    dtype: str
    dims: tuple[int, ...]
    minor_to_major: tuple[int, ...] = ()
    tile: tuple[int, ...] = ()
    """Of the minormost axes, which are padded to multiples of it; on TPUs only."""
    memory_space: int = 0
    """0 is the large memory; others are on the chip, on TPUs only."""

    @property
    def elements(self) -> int:
        """Number of elements, without padding."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> float:
        """Size without padding."""
        return self.elements * _bits(self.dtype) / 8

    @property
    def padded_bytes(self) -> float:
        """Size in memory."""
        padded = list(self.dims)
        for axis, size in zip(self.minor_to_major, reversed(self.tile), strict=False):
            padded[axis] = -(-padded[axis] // size) * size
        return math.prod(padded) * _bits(self.dtype) / 8


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction of a computation."""

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    """Its result; several for a tuple."""
    operands: tuple[str, ...]
    """Names of instructions of the same computation; of a parameter, its number."""
    attributes: str
    """The text behind the operands."""
    is_root: bool

    @property
    def op_name(self) -> str:
        """The jax primitive behind it with the transformations around it: `jit(step)/transpose(jvp())/add`."""
        found = re.search(r'op_name="((?:[^"\\]|\\.)*)"', self.attributes)
        return found[1] if found else ""

    @property
    def target(self) -> str:
        """The function that a custom call calls."""
        found = re.search(r'custom_call_target="([^"]+)"', self.attributes)
        return found[1] if found else ""

    @property
    def called(self) -> tuple[str, ...]:
        """The computations that it runs."""
        found = re.findall(r"(?:calls|body|to_apply|branch_computations)=(\{[^}]*\}|%?[\w.\-]+)", self.attributes)
        return tuple(name for group in found for name in re.findall(r"[\w.\-]+", group))

    @property
    def trips(self) -> int:
        """How often a loop runs, as far as the compiler knows; 1 for everything else."""
        found = re.search(r'"known_trip_count":\{"n":"(\d+)"', self.attributes)
        return int(found[1]) if found else 1


Computation = Mapping[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Module:
    """An optimized program."""

    computations: Mapping[str, Computation]
    entry: str
    frames: Mapping[str, tuple[Frame, ...]]
    """The lines of Python behind each stack frame, the innermost first."""

    def origin(self, instruction: Instruction) -> tuple[Frame, ...]:
        """The lines of Python behind an instruction, the innermost first."""
        found = re.search(r"stack_frame_id=(\d+)", instruction.attributes)
        return self.frames.get(found[1], ()) if found else ()


def parse(text: str) -> Module:
    """Parses what `jax.stages.Compiled.as_text` returns.

    Raises:
        ValueError: the text holds no program.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    tables: dict[str, list[str]] = defaultdict(list)
    entry, table, current = "", "", None
    for line in text.splitlines():
        if line.strip() in TABLES:
            table = line.strip()
        elif header := COMPUTATION.match(line):
            table, current = "", computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
        elif table:
            tables[table].append(line)
        elif line.startswith("}"):
            current = None
        elif current is not None and (found := INSTRUCTION.match(re.sub(r"/\*index=\d+\*/", "", line))):
            instruction = _instruction(found)
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("the text holds no program of XLA")
    return Module(computations, entry, _frames(tables))


def arrays_of(text: str) -> tuple[Array, ...]:
    """The arrays named in a shape, which may be a tuple."""
    return tuple(_array(*found) for found in ARRAY.findall(text))


def _instruction(found: re.Match[str]) -> Instruction:
    root, name, shape, opcode, rest = found.groups()
    depth = 1
    for end, letter in enumerate(rest):  # noqa: B007  (used behind the loop)
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            break
    inside, attributes = rest[:end], rest[end + 1 :]
    operands = [inside] if opcode in ("parameter", "constant") else re.findall(r"%([^\s,()]+)", inside)
    return Instruction(name, opcode, arrays_of(shape), tuple(operands), attributes, root is not None)


@functools.lru_cache(maxsize=100_000)
def _array(dtype: str, dims: str, layout: str) -> Array:
    order, _, memory = layout.partition(":")
    tile = re.search(r"T\(([\d,]+)\)", memory)
    space = re.search(r"S\((\d+)\)", memory)
    return Array(
        dtype,
        _numbers(dims),
        _numbers(order),
        _numbers(tile[1]) if tile else (),
        int(space[1]) if space else 0,
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)


def _bits(dtype: str) -> int:
    if dtype in BITS:
        return BITS[dtype]
    found = re.match(r"[a-z]+(\d+)", dtype)
    return int(found[1]) if found else 0


def _frames(tables: Mapping[str, list[str]]) -> dict[str, tuple[Frame, ...]]:
    names = {
        table: {found[1]: found[2] for line in tables[table] if (found := re.match(r'(\d+) "(.*)"', line))}
        for table in ("FileNames", "FunctionNames")
    }
    locations = {
        found[1]: Frame(names["FileNames"][found[2]], names["FunctionNames"][found[3]], int(found[4]))
        for line in tables["FileLocations"]
        if (found := re.match(r"(\d+) \{file_name_id=(\d+) function_name_id=(\d+) line=(\d+)", line))
    }
    parents = {
        found[1]: (found[2], int(found[3] or 0))
        for line in tables["StackFrames"]
        if (found := re.match(r"(\d+) \{file_location_id=(\d+)(?: parent_frame_id=(\d+))?", line))
    }
    # XLA writes the number of the parent plus one, so that an outermost frame seems to be the parent of the next.
    shift = int(any(int(frame) == parent for frame, (_, parent) in parents.items()))

    def trail(frame: str) -> tuple[Frame, ...]:
        found = []
        while frame in parents:
            location, parent = parents[frame]
            found.append(locations[location])
            frame = str(parent - shift)
        return tuple(found)

    return {frame: trail(frame) for frame in parents}
