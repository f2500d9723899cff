"""What `gpu_session.py` measures: commands of this folder and of the project, the most valuable first."""

import dataclasses
import sys
from pathlib import Path

from common import CHECKOUT
from original_package import is_installed

LARGEST_BATCH = {"yolox_nano": 1024, "yolox_s": 512, "yolox_l": 256, "yolox_x": 128, "yolox_darknet53": 256}
"""Largest powers of two whose step fits a card of 141 GB in half precision; on a smaller card the parts that do not fit
fail, and the others go on."""
COMPARED_BATCH = {"yolox_s": 64, "yolox_l": 32}
"""Batch sizes that all sides can run on cards of 80 GB."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One command whose results are kept."""

    name: str
    what: str
    command: tuple[str, ...]
    minutes: float
    """Stopped after this time; what it has written by then is kept."""
    result: Path | None = None
    """JSON file that the command writes."""
    compile_ahead: bool = False
    """Whether the command takes `--compile-only`."""


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """The scale of a session."""

    largest_batch: dict[str, int]
    compared_batch: dict[str, int]
    precisions: tuple[str, ...]
    size: tuple[str, ...]
    rounds: str
    seconds: str
    peak_size: str
    latency_variants: tuple[str, ...]
    latency_batches: tuple[str, ...]
    training: tuple[str, ...]


_FULL = _Sizes(
    largest_batch=LARGEST_BATCH,
    compared_batch=COMPARED_BATCH,
    precisions=("bfloat16", "float16"),
    size=(),
    rounds="3",
    seconds="3",
    peak_size="8192",
    latency_variants=("yolox_s", "yolox_nano", "yolox_l", "yolox_tiny", "yolox_m", "yolox_x", "yolox_darknet53"),
    latency_batches=("1", "8", "64"),
    training=("--schedule.epochs", "3", "--schedule.no-aug-epochs", "1"),
)
_REHEARSAL = _Sizes(
    largest_batch={"yolox_nano": 4},
    compared_batch={"yolox_nano": 2},
    precisions=("float32",),
    size=("--size", "96", "96"),
    rounds="1",
    seconds="0.05",
    peak_size="64",
    latency_variants=("yolox_nano",),
    latency_batches=("1",),
    training=(
        *("--schedule.epochs", "1", "--schedule.no-aug-epochs", "0", "--schedule.warmup-epochs", "0"),
        *("--data.input-size", "96", "96", "--data.train.fraction", "0.2", "--train.log-interval", "3"),
    ),
)


def full_session(output: Path, data: Path | None, before: Path | None) -> list[Part]:
    """Return the parts for a GPU, those that matter most first."""
    return _parts(_FULL, output, data, before)


def rehearsal(output: Path, data: Path | None, before: Path | None) -> list[Part]:
    """Return the same kinds of parts at a size that a CPU does in minutes."""
    return _parts(_REHEARSAL, output, data, before)


def _parts(sizes: _Sizes, output: Path, data: Path | None, before: Path | None) -> list[Part]:
    first = sizes.precisions[0]
    parts = [_step(sizes, output, variant, batch, first, peak=True) for variant, batch in sizes.compared_batch.items()]
    if is_installed():
        parts += [
            _step(sizes, output, variant, batch, first, original=("channels_last", "compile"))
            for variant, batch in sizes.compared_batch.items()
        ]
    if before is not None:
        parts += [
            _step(sizes, output, variant, batch, first, checkout=before)
            for variant, batch in sizes.compared_batch.items()
        ]
    parts += [_profile(sizes, output, variant, batch) for variant, batch in sizes.compared_batch.items()]
    parts += [
        _step(sizes, output, variant, batch, first, extra=("--fused-conv",))
        for variant, batch in sizes.compared_batch.items()
    ]
    parts += [
        _step(sizes, output, variant, batch, precision)
        for precision in sizes.precisions
        for variant, batch in sizes.largest_batch.items()
    ]
    parts += [_determinism(sizes, output)]
    parts += [_latency(sizes, output, variant) for variant in sizes.latency_variants]
    variant, batch = next(reversed(sizes.compared_batch.items()))
    parts += [
        _step(sizes, output, variant, batch, first, extra=("--rematerialise", "stage")),
        _step(sizes, output, variant, batch, first, extra=("--deterministic",)),
    ]
    if data is not None:
        parts += [_training(sizes, output, data, precision) for precision in sizes.precisions]
    return parts


def _step(
    sizes: _Sizes,
    output: Path,
    variant: str,
    batch: int,
    precision: str,
    *,
    original: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    checkout: Path | None = None,
    peak: bool = False,
) -> Part:
    """The training step of a network; beside the original, of another checkout, or with more flags."""
    beside = ["beside_the_original"] if original else ["before"] if checkout else []
    name = "_".join(["step", variant, precision, str(batch), *(word.strip("-") for word in extra), *beside])
    words = [
        *("--variants", variant, "--batch", str(batch), "--precision", precision, *sizes.size),
        *("--rounds", sizes.rounds, "--seconds", sizes.seconds, *extra, "--original", *original),
        *(("--peak-size", sizes.peak_size) if peak else ()),
    ]
    what = " ".join(["training step of", variant, "batch", str(batch), precision, *extra, *beside]).replace("_", " ")
    script = (checkout or CHECKOUT) / "benchmarks" / "train_step.py"
    # The script of an older checkout may not know --compile-only.
    return _writing(name, what, script, words, output, minutes=3.0, compile_ahead=not (original or checkout))


def _latency(sizes: _Sizes, output: Path, variant: str) -> Part:
    words = [
        *("--variants", variant, "--batch", *sizes.latency_batches, "--precision", _half(sizes), *sizes.size),
        *("--against", "channels_last", "onnx", "--rounds", sizes.rounds, "--seconds", sizes.seconds),
    ]
    what = f"detection with {variant}, suppression included, beside the original and ONNX Runtime"
    return _writing(f"latency_{variant}", what, CHECKOUT / "benchmarks" / "latency.py", words, output, minutes=4.0)


def _determinism(sizes: _Sizes, output: Path) -> Part:
    words = ["--config", "quickstart", "--train.precision", sizes.precisions[0], *sizes.training]
    what = "two trainings with real loading compared bit for bit, deterministic and not"
    return _writing("determinism", what, CHECKOUT / "benchmarks" / "determinism.py", words, output, minutes=5.0)


def _profile(sizes: _Sizes, output: Path, variant: str, batch: int) -> Part:
    size = ("--data.input-size", *sizes.size[1:]) if sizes.size else ()
    command = [
        *(sys.executable, "-m", "yolox_jax", "profile", "--config", variant, "--train.batch-size", str(batch)),
        *("--train.precision", sizes.precisions[0], *size, "--output", str(output / f"profile_{variant}")),
    ]
    return Part(f"profile_{variant}", f"operations of the step of {variant} by kind", tuple(command), minutes=3.0)


def _training(sizes: _Sizes, output: Path, data: Path, precision: str) -> Part:
    workdir = output / f"training_{precision}"
    command = [
        *(sys.executable, str(CHECKOUT / "train.py"), "--config", "bccd_nano", "--data", str(data)),
        *("--train.precision", precision, "--workdir", str(workdir), "--resume", *sizes.training),
    ]
    what = f"a training in {precision} with real loading: its metrics"
    return Part(f"training_{precision}", what, tuple(command), minutes=5.0)


def _writing(
    name: str,
    what: str,
    script: Path,
    words: list[str],
    output: Path,
    *,
    minutes: float,
    compile_ahead: bool = False,
) -> Part:
    """A benchmark script with its JSON file."""
    result = output / f"{name}.json"
    command = (sys.executable, str(script), *words, "--output", str(result))
    return Part(name, what, command, minutes, result, compile_ahead)


def _half(sizes: _Sizes) -> str:
    return "float16" if "float16" in sizes.precisions else sizes.precisions[0]
