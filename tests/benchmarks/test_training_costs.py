"""Costs of runs on machines that are not here."""

import json
from pathlib import Path

import jax
import pytest
from flax import nnx

from training_costs import EPOCHS, MACHINES, SEEN_SHARE, TRAIN_IMAGES, Machine, cost, exchanged_bytes, main
from yolox_jax.models import create_model

VARIANTS = ("yolox_nano", "yolox_tiny")

LOADING = {
    "pipelines": [
        {"name": "ours", "loaded_by": "1 thread", "cache": "none", "images_per_s": {"median": 50.0}},
        {"name": "ours", "loaded_by": "1 thread", "cache": "ram", "images_per_s": {"median": 100.0}},
        {"name": "original", "loaded_by": "1 process", "cache": "none", "images_per_s": {"median": 20.0}},
    ]
}


def compiled(name: str, device: str, devices: int) -> dict[str, object]:
    return {
        "config": name,
        "device": device,
        "devices": devices,
        "precision": "bfloat16",
        "batch_size": 8 * devices,
        "total": {"least_ms": 10.0},
        "most_images_per_s": 800.0 * devices,
    }


def test_costs_follow_the_arithmetic_that_is_described():
    one = cost(compiled("yolox_nano", "h100", 1), Machine("8 H100", 8, "h100"), 450_000_000, {"none": 50.0})
    assert one.images_per_s == 8 * 8 / 0.010
    assert one.hours == pytest.approx(300 * 118_287 / 6400 / 3600)
    assert one.seen_hours == pytest.approx(one.hours * 44.0 / 25.5)
    assert one.cores["none"] == pytest.approx(6400 / 50 * 25.5 / 44.0)
    assert one.link_ms == pytest.approx(1e3 * 2 * 7 / 8 * 0.450 / 450)


def test_a_pod_is_computed_from_the_chips_that_were_compiled_for():
    one = cost(compiled("yolox_nano", "v5e:2x2", 4), MACHINES[2], 0, {})
    assert one.images_per_s == 256 * 800.0
    assert one.hours == pytest.approx(EPOCHS * TRAIN_IMAGES / one.images_per_s / 3600)
    assert one.seen_hours == pytest.approx(one.hours / SEEN_SHARE)


def test_parameters_and_batch_statistics_are_exchanged_once():
    model = create_model("yolox_nano")
    values = jax.tree.leaves(nnx.state(model, nnx.Param)) + jax.tree.leaves(nnx.state(model, nnx.BatchStat))
    assert exchanged_bytes("yolox_nano") == sum(value.nbytes for value in values)


def test_every_network_gets_a_row_for_each_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("training_costs.VARIANTS", VARIANTS)
    sizes = {"v100": 1, "h100": 1, "v5e:2x2": 4}
    cells = [compiled(name, device, devices) for name in VARIANTS for device, devices in sizes.items()]
    (tmp_path / "compiled.json").write_text(json.dumps({"cells": cells}))
    (tmp_path / "loading.json").write_text(json.dumps(LOADING))
    arguments = ["--compiled", str(tmp_path / "compiled.json"), "--loading", str(tmp_path / "loading.json")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert all(printed.count(f"| {name} |") == 3 for name in VARIANTS)
    assert "8 images a device, 2048 a step" in printed

    (tmp_path / "compiled.json").write_text(json.dumps({"cells": cells[:-1]}))
    assert main(arguments) == 2
    printed, message = capsys.readouterr()
    assert "has no v5e:2x2 for yolox_tiny" in message
    assert printed.count("| yolox_nano |") == 3 and printed.count("| yolox_tiny |") == 2
