"""`yolox-jax visualize-assignment`, from its flags to its files."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolox_jax.cli.main import main
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.models import create_model
from yolox_jax.weights import export_state_dict, save_weights


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    generate_shapes(folder, num_train=6, num_val=2, image_size=64, seed=0)
    for name, seed in (("a", 0), ("b", 1)):
        save_weights(folder / f"{name}.safetensors", export_state_dict(create_model("yolox_nano", 4, seed=seed)), {})
    return folder


def visualize(shapes: Path, output: Path, *words: str | Path) -> int:
    data = ["--data.train.format", "coco", "--data.train.images", shapes / "images"]
    data += ["--data.train.annotations", shapes / "instances_train.json", "--data.input-size", 64, 64]
    settings = ["--config", "quickstart", *data, "--output", output, *words]
    return main(["visualize-assignment", *map(str, settings)])


def matches(document: dict, weights: str) -> set[tuple[str, int, int]]:
    """Image, object and anchor."""
    return {
        (image["name"], number, anchor["place"])
        for image in document["images"]
        for number, thing in enumerate(image["objects"])
        for anchor in thing["assigned"][weights]["anchors"]
    }


def test_pictures_and_numbers_of_two_networks_are_written(
    shapes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = (str(shapes / f"{name}.safetensors") for name in "ab")
    assert visualize(shapes, tmp_path, "--weights", first, "--compare", second, "--count", "2") == 0
    document = json.loads((tmp_path / "assignment.json").read_text())
    assert list(document["summary"]) == [first, second]
    assert len(document["images"]) == 2
    for image in document["images"]:
        assert cv2.imread(str(tmp_path / f"{image['name']}.png")).shape[1] == 2 * 960
    before, after = matches(document, first), matches(document, second)
    assert len(before) == document["summary"][first]["anchors"] > 0
    assert document["change"]["kept"] == len(before & after)
    assert document["change"]["gained"] == len(after - before) > 0
    assert document["change"]["lost"] == len(before - after) > 0
    for thing in (thing for image in document["images"] for thing in image["objects"]):
        for anchor in thing["assigned"][first]["anchors"]:
            assert anchor["x"] == (anchor["column"] + 0.5) * anchor["stride"]
            assert anchor["y"] == (anchor["row"] + 0.5) * anchor["stride"]
    printed = capfd.readouterr().out
    assert "without anchors" in printed
    assert f"{len(before & after)} kept, {len(after - before)} gained, {len(before - after)} lost" in printed


def test_an_image_gets_the_same_anchors_whichever_others_are_drawn(shapes: Path, tmp_path: Path) -> None:
    weights = shapes / "a.safetensors"
    for count in ("1", "6"):
        assert visualize(shapes, tmp_path / count, "--weights", weights, "--count", count) == 0
    alone, together = (json.loads((tmp_path / count / "assignment.json").read_text()) for count in ("1", "6"))
    assert len(together["images"]) == 6
    assert alone["images"][0] == together["images"][0]
    assert "change" not in alone


def test_augmented_images_are_those_of_the_training_stream(shapes: Path, tmp_path: Path) -> None:
    weights = shapes / "a.safetensors"
    assert visualize(shapes, tmp_path, "--weights", weights, "--count", "3", "--augmented") == 0
    document = json.loads((tmp_path / "assignment.json").read_text())
    assert [image["name"] for image in document["images"]] == ["training_000", "training_001", "training_002"]
    assert all((tmp_path / f"training_{number:03d}.png").is_file() for number in range(3))
    assert document["summary"][str(weights)]["objects"] > 0


@pytest.mark.parametrize("words", [[], ["--augmented"]])
def test_an_image_that_cannot_be_read_is_named(
    shapes: Path,
    tmp_path: Path,
    words: list[str],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    records = json.loads((data / "instances_train.json").read_text())["images"]
    broken = data / "images" / records[0]["file_name"]
    broken.write_bytes(b"no image")
    assert visualize(data, tmp_path / "out", "--weights", data / "a.safetensors", "--count", "6", *words) == 0
    assert str(broken) in capfd.readouterr().err + caplog.text
    document = json.loads((tmp_path / "out" / "assignment.json").read_text())
    # Another image stands in where training would have one stand in.
    assert len(document["images"]) == (6 if words else 5)


def test_costs_that_are_not_finite_are_null(shapes: Path, tmp_path: Path) -> None:
    weights = export_state_dict(create_model("yolox_nano", 4))
    diverged = {name: np.full_like(value, np.nan) if "obj_preds" in name else value for name, value in weights.items()}
    save_weights(tmp_path / "diverged.safetensors", diverged, {})
    assert visualize(shapes, tmp_path / "out", "--weights", tmp_path / "diverged.safetensors", "--count", "1") == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    document = json.loads((tmp_path / "out" / "assignment.json").read_text(), parse_constant=refuse)
    (summary,) = document["summary"].values()
    assert summary["anchors"] == 0 and summary["mean_cost"] is summary["mean_iou"] is None


def test_what_cannot_work_is_refused(shapes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights = shapes / "a.safetensors"
    assert visualize(shapes, tmp_path, "--weights", weights, "--count", "0") == 2
    assert "--count must be at least 1, got 0" in capfd.readouterr().err
    assert visualize(shapes, tmp_path, "--weights", weights, "--assignment.rule", "ota") == 2
    assert "only the assignment of SimOTA can be drawn" in capfd.readouterr().err
    assert visualize(shapes, tmp_path, "--weights", weights, "--compare", weights) == 2
    assert "the same weights" in capfd.readouterr().err
    other = tmp_path / "other.safetensors"
    save_weights(other, export_state_dict(create_model("yolox_nano", 7)), {})
    assert visualize(shapes, tmp_path, "--weights", other) == 2
    assert "weights have 7 classes" in capfd.readouterr().err
    assert visualize(shapes, other, "--weights", weights) == 2
    assert "--output" in capfd.readouterr().err
