"""Estimates the shortest possible training time per image from the computation and memory traffic it requires.

The computation is that of the convolutions: the forward pass, and twice as much backward. The memory traffic is that of
the features, if convolutions are not fused with the batch norm that follows. Each convolution's input is moved three
times: in the forward pass, for the input gradient and for the kernel gradient. Its output is moved eleven times: one
write by the convolution, two reads and one write by batch norm and activation, two reads of two arrays and one write by
their gradient, and two reads by the gradients of the convolution. Weights, losses and the optimizer are ignored.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from rich.console import Console
from rich.table import Table

from our_step import matrix_tflops
from yolox_jax.models import VARIANTS, create_model, summarize
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.training.reporting.utilization import TRAINING_PASSES

INPUT_TRAFFIC, OUTPUT_TRAFFIC = 3, 11


def main(argv: Sequence[str]) -> None:
    """Estimate and print; `argv` is the command line without the program name."""
    arguments = _parse(argv)
    tflops = arguments.tflops or matrix_tflops(arguments.precision, 8192 if jax.default_backend() != "cpu" else 2048)
    bandwidth = arguments.gigabytes or _copy_gigabytes()
    ceilings = f"{tflops:.3g} TFLOP/s and {bandwidth:.3g} GB/s"
    table = Table(title=f"Minimum training time per image in {arguments.precision}, at {ceilings}")
    for name in ("network", "size", "GFLOP", "MB moved", "FLOP/byte", "compute ms", "memory ms", "max images/s"):
        table.add_column(name, justify="left" if name == "network" else "right")
    for variant in arguments.variants:
        size = VARIANTS[variant].input_size
        model = create_model(variant)
        gflop = TRAINING_PASSES * summarize(model, size).gflops
        megabytes = _feature_values(model, size) * jnp.dtype(arguments.precision).itemsize / 1e6
        computing, moving = gflop / tflops, megabytes / bandwidth
        table.add_row(
            variant,
            "{}x{}".format(*size),
            f"{gflop:.1f}",
            f"{megabytes:.0f}",
            f"{1000 * gflop / megabytes:.0f}",
            f"{computing:.4g}",
            f"{moving:.4g}",
            # The times add up, because XLA does not overlap them.
            f"{1000 / (computing + moving):.4g}",
        )
    Console(width=120).print(table)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="roofline.py", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="networks")
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16", "float16"], default="bfloat16", help="precision of the features"
    )
    parser.add_argument("--tflops", type=float, help="compute throughput in TFLOP/s; measured here if omitted")
    parser.add_argument("--gigabytes", type=float, help="memory bandwidth in GB/s; measured here if omitted")
    return parser.parse_args(argv)


def _feature_values(model: Any, size: tuple[int, int]) -> int:
    """Return the number of feature values that a training step reads and writes per image."""
    graphdef, state = nnx.split(model)
    options = ForwardOptions(convolution="primitive")
    trace = jax.make_jaxpr(lambda state, images: nnx.merge(graphdef, state, copy=True)(images, options))(
        state, jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    )
    convolutions = [eqn for eqn in trace.jaxpr.eqns if eqn.primitive.name == "conv_general_dilated"]
    inputs = sum(eqn.invars[0].aval.size for eqn in convolutions)
    outputs = sum(eqn.outvars[0].aval.size for eqn in convolutions)
    return INPUT_TRAFFIC * inputs + OUTPUT_TRAFFIC * outputs


def _copy_gigabytes() -> float:
    """Return the memory bandwidth in GB/s, reads and writes together, from the fastest of several large copies."""
    x = jnp.ones(2**28 if jax.default_backend() != "cpu" else 2**26, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    jax.block_until_ready(copy(x))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(copy(x))
        times.append(time.perf_counter() - start)
    return 2 * x.nbytes / min(times) / 1e9


if __name__ == "__main__":
    main(sys.argv[1:])
