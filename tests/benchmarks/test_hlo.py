"""Compiled programs are read: kernels, bytes, operations, and what they are for."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from deviceless_report import collectives, least_ms, report
from hlo_kernels import Kernel, kernels
from hlo_text import Array, arrays_of, parse
from kernel_kinds import kind_of
from yolox_jax.training.profiling.cards import load_card

PROGRAMS = Path(__file__).parent / "programs"
"""A few kernels each of YOLOX-s, compiled for an H100 at batch 64, and of YOLOX-nano at 64 px, for a v5e."""


def named(file: str) -> dict[str, Kernel]:
    return {kernel.instruction.name: kernel for kernel in kernels(parse((PROGRAMS / file).read_text()))}


@pytest.fixture(scope="module")
def gpu() -> dict[str, Kernel]:
    return named("h100.hlo.txt")


@pytest.fixture(scope="module")
def tpu() -> dict[str, Kernel]:
    return named("v5e.hlo.txt")


def test_shapes_are_read_with_their_layout_and_padding():
    plain, tiled = arrays_of("(f32[3,4]{1,0}, bf16[1,4,85]{2,0,1:T(8,128)(2,1)S(1)})")
    assert plain == Array("f32", (3, 4), (1, 0)) and plain.bytes == plain.padded_bytes == 48
    assert (tiled.minor_to_major, tiled.tile, tiled.memory_space) == ((2, 0, 1), (8, 128), 1)
    assert tiled.bytes == 2 * 4 * 85 and tiled.padded_bytes == 2 * 8 * 4 * 128
    assert arrays_of("pred[]")[0].bytes == 1 and arrays_of("s4[10]{0}")[0].bytes == 5


def test_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="no program"):
        parse("error: out of memory")


def test_instructions_know_the_lines_of_python_behind_them(tpu: dict[str, Kernel]):
    (convolution,) = [one for one in tpu["fusion.1178"].inner if one.opcode == "convolution"]
    origin = tpu["fusion.1178"].origins[tpu["fusion.1178"].inner.index(convolution)]
    assert [frame.function for frame in origin[:4]] == ["_primitive", "conv2d", "Conv.__call__", "BaseConv.__call__"]
    assert origin[0].file == "yolox_jax/models/convolution.py"


def test_on_a_tpu_only_what_lies_in_the_large_memory_counts_as_moved(tpu: dict[str, Kernel]):
    # Twelve channels of sixteen values in tiles of eight by 128, fetched into the memory of the core.
    assert (tpu["copy-start.46"].read_bytes, tpu["copy-start.46"].written_bytes) == (9 * 16 * 128 * 4, 0)
    assert "copy-done.46" not in tpu
    assert (tpu["fusion.1178"].read_bytes, tpu["fusion.1178"].written_bytes) == (0, 0)
    assert tpu["fusion.2607"].read_bytes == 128 * 4


def test_convolutions_inside_fusions_are_counted_and_named_by_direction(tpu: dict[str, Kernel]):
    kinds = {name: kind_of(tpu[name]) for name in ("fusion.1178", "fusion.2607", "fusion.2043", "psum.3808")}
    assert list(kinds.values()) == [
        "convolution, forward",
        "convolution, input gradient",
        "convolution, weight gradient",
        "between devices",
    ]
    assert tpu["fusion.1178"].flop == 2 * 8 * 8 * 32 * 32
    assert tpu["fusion.2607"].flop == 2 * 2 * 2 * 64
    # A depthwise kernel of three taps meets 8 + 2 * 7 pixels of an axis of eight.
    assert tpu["fusion.2043"].flop == 2 * 64 * (8 + 2 * 7) ** 2


def test_kernels_of_a_gpu_are_told_apart(gpu: dict[str, Kernel]):
    kinds = {name: kind_of(kernel) for name, kernel in gpu.items()}
    assert kinds == {
        "cudnn-conv.164": "convolution, forward",
        "cudnn-conv.241": "convolution, input gradient",
        "cudnn-conv-bw-input.34": "convolution, input gradient",
        "cudnn-conv-bw-filter.151": "convolution, weight gradient",
        "input_reduce_fusion.173": "batch norm, forward",
        "input_reduce_fusion.124": "batch norm, backward",
        "input_reduce_fusion.720": "update",
        "wrapped_slice.2": "network, other",
        "wrapped_transpose": "loss and assignment",
        "copy.3026": "copy",
        "loop_broadcast_fusion.4": "small",
    }


def test_kernels_of_a_gpu_read_write_and_compute_what_their_shapes_say(gpu: dict[str, Kernel]):
    first = gpu["cudnn-conv.164"]
    pixels, weights = 64 * 320 * 320, 32 * 3 * 3 * 12
    assert first.read_bytes == 2 * (12 * pixels + weights) and first.written_bytes == 2 * 32 * pixels
    assert first.flop == 2 * 64 * (3 * 320 - 2) ** 2 * 12 * 32
    # The same convolution backwards has as many products: those of the output with the kernel, or with the input.
    assert gpu["cudnn-conv-bw-input.34"].flop == 2 * 64 * (3 * 20 - 2) ** 2 * 128 * 128
    assert gpu["cudnn-conv-bw-filter.151"].flop == 2 * 64 * 80 * 80 * 128
    half = gpu["wrapped_slice.2"]
    assert half.read_bytes == half.written_bytes == 2 * 64 * 40 * 40 * 128


def test_the_least_time_is_that_of_bytes_operations_or_the_start(gpu: dict[str, Kernel]):
    card = load_card("h100")
    moving, starting = gpu["cudnn-conv.164"], gpu["loop_broadcast_fusion.4"]
    assert least_ms(moving, card, "bfloat16") == pytest.approx(1e3 * 576.7e6 / 3350e9, rel=1e-3)
    assert least_ms(starting, card, "bfloat16") == 0.002
    computing = gpu["cudnn-conv-bw-input.34"]
    assert least_ms(computing, card, "bfloat16") == pytest.approx(1e3 * computing.flop / 989.4e12)


def test_a_report_sums_up_what_its_kernels_cost(gpu: dict[str, Kernel]):
    figures = report((PROGRAMS / "h100.hlo.txt").read_text(), load_card("h100"), "bfloat16")
    assert figures["total"]["kernels"] == len(gpu) == sum(one["kernels"] for one in figures["kinds"].values())
    assert figures["kinds"]["convolution, input gradient"]["kernels"] == 2
    times = [one["least_ms"] for one in figures["kinds"].values()]
    assert times == sorted(times, reverse=True) and sum(times) == pytest.approx(figures["total"]["least_ms"], rel=1e-3)
    assert figures["collectives"] == []


def test_transfers_between_devices_are_listed_and_take_no_time(tpu: dict[str, Kernel]):
    assert collectives(list(tpu.values())) == [{"kind": "all-reduce", "times": 1, "bytes": 4}]
    assert least_ms(tpu["psum.3808"], load_card("v5e"), "bfloat16") == 0


CONVOLUTIONS = {
    "3x3": ((4, 9, 9, 8), (3, 3, 8, 16), 1, 1),
    "3x3, stride 2": ((4, 9, 12, 8), (3, 3, 8, 16), 2, 1),
    "1x1": ((4, 9, 9, 8), (1, 1, 8, 16), 1, 1),
    "depthwise": ((4, 9, 9, 8), (3, 3, 1, 8), 1, 8),
    "depthwise, stride 2": ((4, 8, 8, 8), (3, 3, 1, 8), 2, 8),
}


@pytest.mark.parametrize(("image", "kernel", "stride", "groups"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("argument", ["forward", "input gradient", "weight gradient"])
def test_operations_of_convolutions_are_those_that_xla_counts(
    image: tuple[int, ...], kernel: tuple[int, ...], stride: int, groups: int, argument: str
):
    padding = [(kernel[0] // 2, kernel[0] // 2)] * 2

    def forward(x: jax.Array, w: jax.Array) -> jax.Array:
        dimensions = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, w, (stride, stride), padding, dimension_numbers=dimensions, feature_group_count=groups
        )

    x, w = jnp.zeros(image), jnp.zeros(kernel)
    out = jnp.zeros(jax.eval_shape(forward, x, w).shape)
    functions = {
        "forward": (forward, (x, w)),
        "input gradient": (lambda w, out: jax.vjp(lambda x: forward(x, w), x)[1](out), (w, out)),
        "weight gradient": (lambda x, out: jax.vjp(lambda w: forward(x, w), w)[1](out), (x, out)),
    }
    function, arguments = functions[argument]
    compiled = jax.jit(function).lower(*arguments).compile()
    # XLA turns some into matrix products.
    own = sum(kernel.flop for kernel in kernels(parse(compiled.as_text() or "")))
    assert own and own == pytest.approx(compiled.cost_analysis()["flops"], rel=0.03)


def test_loops_count_their_kernels_as_often_as_they_run():
    def f(x: jax.Array) -> jax.Array:
        return lax.scan(lambda carry, _: (jnp.sin(carry) @ carry, None), x, length=7)[0]

    text = jax.jit(f).lower(jnp.zeros((16, 16))).compile().as_text() or ""
    products = [kernel for kernel in kernels(parse(text)) if kernel.flop]
    assert sum(kernel.times for kernel in products) == 7


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_fusion_reads_only_the_part_that_it_slices(dtype: str):
    def f(x: jax.Array) -> jax.Array:
        return jnp.sin(x[:100]) + 1

    x = jnp.zeros((1000, 64), dtype)
    text = jax.jit(f).lower(x).compile().as_text() or ""
    read = sum(kernel.read_bytes for kernel in kernels(parse(text)))
    assert read < 0.25 * x.nbytes
