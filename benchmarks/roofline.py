"""The shortest time in which a device could train on an image: what has to be computed, and what has to be moved.

Counted are the operations of the convolutions, forward and twice as many backward, and the features that are read and
written where convolutions are not fused with the batch norm behind them: of each convolution its input three times
(forward, its own gradient, that of the kernel) and its output eleven times (written; twice read and once written by
batch norm and activation; twice two arrays read and one written by their gradient; twice read by the convolution's
gradients). Weights, losses and the optimizer are left out.
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
    """Counts and prints; `argv` is the command line without the name of the program."""
    arguments = _parse(argv)
    tflops = arguments.tflops or matrix_tflops(arguments.precision, 8192 if jax.default_backend() != "cpu" else 2048)
    bandwidth = arguments.gigabytes or _copy_gigabytes()
    ceilings = f"{tflops:.3g} TFLOP/s and {bandwidth:.3g} GB/s"
    table = Table(title=f"Least time of a training image in {arguments.precision}, at {ceilings}")
    for name in ("network", "size", "GFLOP", "MB moved", "FLOP a byte", "computing ms", "moving ms", "most images/s"):
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
            # One after the other, as XLA runs them.
            f"{1000 / (computing + moving):.4g}",
        )
    Console(width=120).print(table)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="roofline.py", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="networks")
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16", "float16"], default="bfloat16", help="of the features"
    )
    parser.add_argument("--tflops", type=float, help="what the device computes a second; not given: measured here")
    parser.add_argument("--gigabytes", type=float, help="what it moves a second; not given: measured here")
    return parser.parse_args(argv)


def _feature_values(model: Any, size: tuple[int, int]) -> int:
    """Values of features that one image's training step reads and writes."""
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
    """Bytes read and written a second where a large array is copied, the fastest of some tries."""
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
