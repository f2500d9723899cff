"""`yolox-jax data suspects`: what is printed and written, and errors before any work."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_jax.cli.main import main
from yolox_jax.evaluation import evaluate_results, suspects_search
from yolox_jax.models import create_model
from yolox_jax.report.suspect_pictures import ANNOTATED, DETECTED
from yolox_jax.weights import export_state_dict, save_weights

SIDE = 96
ANNOTATIONS = [
    # id, image, category, box; what is detected there is in DETECTIONS
    ("a", 0, 1, [4, 4, 30, 30]),
    ("b", 0, 1, [60, 60, 30, 30]),
    ("c", 1, 1, [4, 4, 30, 30]),
    ("d", 1, 2, [60, 60, 30, 30]),
    ("e", 1, 1, [4, 60, 30, 30]),
]
DETECTIONS = [
    (0, 1, [4, 4, 30, 30], 0.9),  # agrees with a
    (0, 2, [60, 60, 30, 30], 0.8),  # contradicts the class of b
    (1, 1, [14, 4, 30, 30], 0.9),  # contradicts the box of c
    (1, 2, [60, 60, 30, 30], 0.9),  # agrees with d; nothing at e
    (1, 2, [60, 4, 30, 30], 0.7),  # not annotated
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_weights(path, export_state_dict(create_model("yolox_nano", 2)), {"class_names": '["red", "blue"]'})
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two grey images in COCO layout."""
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((SIDE, SIDE, 3), 128, np.uint8))
    write_annotations(tmp_path, ["red", "blue"], ANNOTATIONS)
    return tmp_path


def write_annotations(folder: Path, names: list[str], annotations: list[Any]) -> None:
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": SIDE, "width": SIDE} for n in range(2)],
        "annotations": [
            {"id": name, "image_id": image, "category_id": category, "bbox": box, "area": 900, "iscrowd": 0}
            for name, image, category, box in annotations
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
    }
    (folder / "instances.json").write_text(json.dumps(content))


def suspects(data: Path, weights: Path, *words: str, split: str = "train") -> int:
    settings = [f"--data.{split}.images", data, f"--data.{split}.annotations", data / "instances.json"]
    settings += [f"--data.{split}.format", "coco", "--split", split, "--weights", weights]
    settings += ["--data.input-size", "64", "64", "--evaluation.batch-size", "2", "--output", data / "out"]
    return main(["data", "suspects", "--config", "yolox_nano", *map(str, settings), *words])


@pytest.fixture
def detects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the weights detect DETECTIONS."""

    def evaluate(config: Any, *, dataset: Any, **_: Any) -> Any:
        results = [
            {"image_id": image, "category_id": category, "bbox": box, "score": score}
            for image, category, box, score in DETECTIONS
        ]
        return evaluate_results(dataset, results)

    monkeypatch.setattr(suspects_search, "evaluate", evaluate)


def read(data: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((data / "out" / "suspects.json").read_text())
    return content


@pytest.mark.usefixtures("detects")
def test_each_kind_is_counted_listed_and_drawn(data: Path, weights: Path, capfd: pytest.CaptureFixture) -> None:
    assert suspects(data, weights, "--score-threshold", "0.5") == 0
    printed = capfd.readouterr().out
    assert "4 suspects among 5 annotations of 2 images" in printed
    assert "1 missing, 1 wrong-class, 1 misplaced, 1 spurious" in printed
    assert f"wrote {data / 'out' / 'suspects.html'}" in printed

    document = read(data)
    assert [entry["rank"] for entry in document["suspects"]] == [1, 2, 3, 4]
    entries = {entry["kind"]: entry for entry in document["suspects"]}
    assert {kind: (one["annotation"] or {}).get("id") for kind, one in entries.items()} == {
        "missing": None,
        "wrong-class": "b",
        "misplaced": "c",
        "spurious": "e",
    }
    assert entries["wrong-class"]["image"] == str(data / "0.png")
    assert entries["wrong-class"]["annotation"] == {
        "id": "b",
        "index": 1,
        "class": "red",
        "box_xyxy": [60, 60, 90, 90],
    }
    assert entries["wrong-class"]["detection"] == {"class": "blue", "score": 0.8, "box_xyxy": [60, 60, 90, 90]}
    assert entries["missing"]["detection"]["box_xyxy"] == [60, 4, 90, 34]
    assert entries["spurious"]["detection"] is None and entries["spurious"]["iou"] is None

    page = (data / "out" / "suspects.html").read_text()
    assert page.count("data:image/jpeg") == 4
    assert set(document["sheets"]) == {path.name for path in (data / "out").glob("*.png")}
    for kind, colours in {"missing": [DETECTED], "spurious": [ANNOTATED], "misplaced": [DETECTED, ANNOTATED]}.items():
        sheet = cv2.imread(str(data / "out" / f"{kind}-1.png"))
        assert sheet is not None and all((sheet == colour).all(axis=-1).any() for colour in colours)
        others = {ANNOTATED, DETECTED} - set(colours)
        assert not any((sheet == colour).all(axis=-1).any() for colour in others)


@pytest.mark.usefixtures("detects")
def test_images_of_a_run_on_tiles_are_searched_whole(
    data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[Any] = []
    detect = suspects_search.evaluate
    monkeypatch.setattr(
        suspects_search,
        "evaluate",
        lambda config, *, dataset, **_: searched.extend(dataset.records) or detect(config, dataset=dataset),
    )
    assert suspects(data, weights, "--data.tile", "64") == 0
    assert [(record.tile, record.height) for record in searched] == [(None, SIDE)] * 2


@pytest.mark.usefixtures("detects")
def test_kinds_and_top_choose_what_is_shown_and_earlier_sheets_go(data: Path, weights: Path) -> None:
    suspects(data, weights)
    (data / "out" / "mine.png").write_bytes(b"")
    write_annotations(data, ["red", "blue"], ANNOTATIONS[:-2])
    assert suspects(data, weights, "--kinds", "missing", "misplaced", "--top", "1", split="val") == 0
    document = read(data)
    assert [entry["kind"] for entry in document["suspects"]] == ["missing", "missing", "misplaced"]
    assert document["counts"] == {"missing": 2, "wrong-class": 0, "misplaced": 1, "spurious": 0}
    assert {path.name for path in (data / "out").glob("*.png")} == {
        "mine.png",
        "missing-1.png",
        "misplaced-1.png",
    }
    page = (data / "out" / "suspects.html").read_text()
    assert page.count("data:image/jpeg") == 2 and "2 of 3 suspects are shown" in page


@pytest.mark.usefixtures("detects")
def test_an_image_that_is_gone_is_listed_without_a_picture(data: Path, weights: Path) -> None:
    (data / "1.png").write_bytes(b"")
    assert suspects(data, weights) == 0
    assert "cannot be read" in (data / "out" / "suspects.html").read_text()
    assert read(data)["sheets"] == ["wrong-class-1.png"]


def test_an_untrained_network_contradicts_nothing(data: Path, weights: Path, capfd: pytest.CaptureFixture) -> None:
    assert suspects(data, weights) == 0
    assert "no suspects among 5 annotations of 2 images" in capfd.readouterr().out
    assert read(data)["suspects"] == []
    assert "contradicts no annotation" in (data / "out" / "suspects.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--score-threshold", "1.5"), "--score-threshold must be between 0.01 and 1, got 1.5"),
        (("--top", "0"), "--top must be at least 1, got 0"),
        (("--output", "/dev/null/x"), "--output /dev/null/x cannot be written to"),
    ],
)
def test_flags_that_lead_nowhere_exit_with_2(
    data: Path, weights: Path, capfd: pytest.CaptureFixture, words: tuple[str, ...], message: str
) -> None:
    assert suspects(data, weights, *words) == 2
    assert message in capfd.readouterr().err


def test_other_classes_and_data_without_annotations_exit_with_2(
    data: Path, weights: Path, capfd: pytest.CaptureFixture
) -> None:
    write_annotations(data, ["cat", "dog"], ANNOTATIONS)
    assert suspects(data, weights) == 2
    assert "The weights do not have cat, dog" in capfd.readouterr().err
    write_annotations(data, ["red", "blue"], [])
    assert suspects(data, weights, split="val") == 2
    assert "has no annotations to search" in capfd.readouterr().err
    assert suspects(data, weights) == 2
    assert "none of the 2 training images has a box" in capfd.readouterr().err
