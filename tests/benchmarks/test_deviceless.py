"""Training steps compile for accelerators that are not there, and the benchmark says what they need."""

import json
from pathlib import Path
from typing import Any

import jax
import pytest
from flax import nnx

from absent_devices import skip_without_compiler
from deviceless import main
from deviceless_report import markdown
from yolox_jax.models import create_model
from yolox_jax.training.profiling.cards import GIB

SMALL = ["--config", "yolox_nano", "--size", "64", "64", "--num-classes", "3"]


def compiled_cell(output: Path, device: str, *words: str) -> dict[str, Any]:
    """The figures of nano's step at 64 px; skips the test if the compiler for `device` is not installed."""
    skip_without_compiler(device)
    assert main([*SMALL, "--device", device, *words, "--output", str(output)]) == 0
    (cell,) = json.loads(output.read_text())["cells"]
    return dict(cell)


def state_bytes(*kinds: type[nnx.Variable]) -> int:
    model = create_model("yolox_nano", 3)
    return sum(leaf.nbytes for kind in kinds for leaf in jax.tree.leaves(nnx.state(model, kind)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "h1000"], "--device h1000 is not described; did you mean h100?"),
        (["--device", "v5e:2x2", "--devices", "4"], "--devices is for GPUs"),
    ],
)
def test_a_device_that_is_not_described_is_an_error_of_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main([*SMALL, *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_step_for_one_gpu_is_reported_and_not_compiled_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "out" / "cells.json"
    cell = compiled_cell(output, "h100", "--batch-size", "2")
    assert "compiling yolox_nano" in capsys.readouterr().err
    # Parameters, momentum and averages, and the images.
    least = 3 * state_bytes(nnx.Param) + 2 * 64 * 64 * 3
    assert cell["fits"] and least < cell["needed_gib"] * GIB < 10 * least
    convolutions = [cell["kinds"][f"convolution, {one}"]["kernels"] for one in ("forward", "weight gradient")]
    assert min(convolutions) > 100, "they are cuDNN's, not the forms for CPUs"
    assert cell["collectives"] == [] and cell["precision"] == "bfloat16"
    start_s = 2e-6
    assert 0 < cell["most_images_per_s"] < 1.001 * 2 / (cell["total"]["kernels"] * start_s)
    assert compiled_cell(output, "h100", "--batch-size", "2") == cell
    assert "compiling" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("device", "words"), [("h100", ["--devices", "8"]), ("v5e:2x2", [])])
def test_devices_exchange_gradients_and_statistics_once_and_no_images(tmp_path: Path, device: str, words: list[str]):
    cell = compiled_cell(tmp_path / "cells.json", device, *words, "--batch-size", "8")
    assert cell["fits"] and {one["kind"] for one in cell["collectives"]} == {"all-reduce"}
    exchanged = sum(one["times"] * one["bytes"] for one in cell["collectives"])
    state = state_bytes(nnx.Param, nnx.BatchStat)
    assert state <= exchanged <= state + 100, "gradients and statistics, and a few losses"
    if device == "h100":
        assert sum(one["bytes"] > 1000 for one in cell["collectives"]) == 1


@pytest.mark.parametrize(
    ("device", "devices", "shown"), [("h100", 1, "h100"), ("h100", 8, "8 x h100"), ("v5e:2x2", 4, "v5e:2x2")]
)
def test_tables_say_how_many_devices_there_are_once(device: str, devices: int, shown: str) -> None:
    cell = {"config": "yolox_nano", "device": device, "devices": devices, "precision": "bfloat16", "batch_size": 16}
    row = markdown([cell | {"needed_gib": 1.0}]).splitlines()[-1]
    assert row.startswith(f"| yolox_nano | {shown} | bfloat16 | 16 | 1.00 |")
