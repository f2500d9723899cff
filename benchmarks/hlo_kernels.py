"""The kernels of an optimized XLA program: what each reads, writes and computes."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator

from hlo_convolutions import convolution_flop, pointwise_flop, product_flop
from hlo_text import Computation, Frame, Instruction, Module

NO_KERNEL = {
    "after-all",
    "bitcast",
    "bitcast-convert",
    "constant",
    "get-tuple-element",
    "opt-barrier",
    "parameter",
    "partition-id",
    "replica-id",
    "tuple",
}
"""Instructions that neither compute nor move anything."""

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")

ELSEWHERE = ("-done", "-update")
"""The ends of instructions that belong to another one, which starts the same work."""

CONTROL = {"call", "conditional", "while", "async-start"}


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel of the program, or a transfer between devices."""

    instruction: Instruction
    inner: tuple[Instruction, ...]
    """What it computes: the instructions of a fusion, or the instruction itself."""
    origins: tuple[tuple[Frame, ...], ...]
    """The lines of Python behind each of them, the innermost first."""
    read_bytes: float
    written_bytes: float
    flop: float
    """Of convolutions and matrix products only."""
    times: int
    """How often it runs in a step."""

    @property
    def collective(self) -> str:
        """The kind of a transfer between devices, such as `all-reduce`; empty for kernels."""
        return next((kind for kind in COLLECTIVES if self.instruction.opcode.startswith(kind)), "")


def kernels(module: Module) -> list[Kernel]:
    """All kernels that a program runs, in its order; those inside loops once, with the number of their runs."""
    return list(_kernels_of(module, module.entry, 1))


def _kernels_of(module: Module, name: str, times: int) -> Iterator[Kernel]:
    computation = module.computations[name]
    for instruction in computation.values():
        if instruction.opcode in NO_KERNEL or instruction.opcode.endswith(ELSEWHERE):
            continue
        if instruction.opcode in CONTROL and instruction.called:
            for called in instruction.called:
                yield from _kernels_of(module, called, times * instruction.trips)
            continue
        yield _kernel(module, computation, instruction, times)


def _kernel(module: Module, computation: Computation, instruction: Instruction, times: int) -> Kernel:
    whole = [_bytes(computation[name]) for name in instruction.operands if name in computation]
    read, written = sum(whole), _bytes(instruction)
    inner: tuple[tuple[Instruction, Computation], ...] = ((instruction, computation),)
    if instruction.opcode == "fusion":
        body = module.computations[instruction.called[0]]
        inner = tuple(_inside(module, body))
        read = _read_by_fusion(body, whole)
    elif instruction.opcode == "copy-start":  # its result names the source and a flag besides
        written = instruction.arrays[0].padded_bytes if instruction.arrays[0].memory_space == 0 else 0
    return Kernel(
        instruction,
        tuple(one for one, _ in inner),
        tuple(module.origin(one) for one, _ in inner),
        read,
        written,
        sum(_flop(one, around) for one, around in inner),
        times,
    )


def _inside(module: Module, body: Computation) -> Iterator[tuple[Instruction, Computation]]:
    """The instructions of a fusion, and of fusions inside it."""
    for instruction in body.values():
        if instruction.opcode == "fusion":
            yield from _inside(module, module.computations[instruction.called[0]])
        elif instruction.opcode not in NO_KERNEL:
            yield instruction, body


def _bytes(instruction: Instruction) -> float:
    """Of the result, as far as it lies in the large memory."""
    return sum(array.padded_bytes for array in instruction.arrays if array.memory_space == 0)


def _flop(instruction: Instruction, computation: Computation) -> float:
    if instruction.opcode == "convolution" or is_cudnn_convolution(instruction):
        return convolution_flop(instruction, computation)
    if instruction.opcode == "dot" or re.search(r"cublas|gemm", instruction.target):
        return product_flop(instruction, computation)
    if is_fused_convolution(instruction):
        return pointwise_flop(instruction, computation)
    return 0.0


def is_cudnn_convolution(instruction: Instruction) -> bool:
    """Whether an instruction is a convolution that cuDNN computes."""
    return instruction.target.startswith("__cudnn$conv")


def is_fused_convolution(instruction: Instruction) -> bool:
    """Whether an instruction is a kernel of our own for 1x1 convolutions."""
    return instruction.target == "__gpu$xla.gpu.triton" and "pointwise_" in instruction.op_name


def _read_by_fusion(body: Computation, whole: list[float]) -> float:
    """Bytes that a fusion reads, if it reads only parts of some arrays: those it slices, pads or overwrites.

    Goes back from the result to the parameters, with the share of each array's elements that is needed.

    Args:
        body: the instructions of the fusion.
        whole: the size of each parameter.
    """
    needed: dict[str, float] = defaultdict(float)
    for instruction in reversed(list(body.values())):
        share = 1.0 if instruction.is_root else min(needed[instruction.name], 1.0)
        for position, name in enumerate(instruction.operands):
            if name in body:
                needed[name] = max(needed[name], share * _share_of_operand(instruction, position, body[name]))
    return sum(
        whole[int(one.operands[0])] * min(needed[one.name], 1.0) for one in body.values() if one.opcode == "parameter"
    )


def _share_of_operand(instruction: Instruction, position: int, operand: Instruction) -> float:
    """The share of an operand's elements that an instruction needs where all of its own are needed.

    An instruction that combines elements, such as a sum or a convolution, needs all of them.
    """
    own = sum(array.elements for array in instruction.arrays)
    theirs = max(sum(array.elements for array in operand.arrays), 1)
    if position == 0 and instruction.opcode in ("slice", "dynamic-slice", "gather", "pad"):
        return min(own / theirs, 1.0)
    if position == 0 and instruction.opcode == "dynamic-update-slice":
        return 0.0
    return 1.0
