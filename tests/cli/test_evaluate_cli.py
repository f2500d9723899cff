import contextlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolox_jax.cli.main import main
from yolox_jax.evaluation import analysis, console
from yolox_jax.models import create_model
from yolox_jax.weights import export_state_dict, save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    metadata = {"class_names": '["red", "blue"]', "input_size": "[96, 96]"}
    save_weights(path, export_state_dict(create_model("yolox_nano", 2)), metadata)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three images of noise with one object each, two classes."""
    rng = np.random.default_rng(0)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 255, (40, 60, 3), np.uint8))
    annotations = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 40, "width": 60} for n in range(3)],
        "annotations": [
            {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [5, 5, 20, 30], "area": 600, "iscrowd": 0}
            for n in range(3)
        ],
        "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(annotations))
    return tmp_path


def evaluate(data: Path, weights: Path | None, *words: str | Path) -> int:
    settings = [
        "--data.val.format",
        "coco",
        "--data.val.images",
        data,
        "--data.val.annotations",
        data / "instances.json",
    ]
    settings += ["--data.input-size", "64", "64", "--evaluation.batch-size", "2", "--evaluation.score-threshold", "0.0"]
    settings += ["--evaluation.max-detections", "5"]
    if weights is not None:
        settings += ["--weights", weights]
    return main(["evaluate", "--config", "yolox_nano", *map(str, settings), *map(str, words)])


def test_figures_and_detections_are_printed_and_written(data, weights, tmp_path, capfd):
    output, detections = tmp_path / "new" / "metrics.json", tmp_path / "detections.json"
    assert evaluate(data, weights, "--output", output, "--detections", detections) == 0
    printed = capfd.readouterr().out
    for word in ("AP50", "AR_100", "red", "blue", "15 detections in 3 images"):
        assert word in printed
    metrics = json.loads(output.read_text())
    assert 0 <= metrics["AP"] <= 1
    assert metrics["per_class"] == {"red": pytest.approx(metrics["AP"]), "blue": None}
    results = json.loads(detections.read_text())
    assert len(results) == 15
    assert set(results[0]) == {"image_id", "category_id", "bbox", "score"}


def test_saved_detections_score_as_they_did_when_they_were_made(data, weights, tmp_path, capfd):
    first, again, detections = tmp_path / "first.json", tmp_path / "again.json", tmp_path / "detections.json"
    assert evaluate(data, weights, "--output", first, "--detections", detections, "--voc", "07") == 0
    printed = capfd.readouterr().out
    assert "losses: loss " in printed and "AP as in VOC2007" in printed
    assert evaluate(data, None, "--output", again, "--results", detections, "--evaluation.best-by", "recall@0.5") == 0
    assert "recall@0.5: 0." in capfd.readouterr().out
    first, again = (json.loads(path.read_text()) for path in (first, again))
    varying = {"losses", "weights", "date", "settings", "voc07"}
    assert {key for key in first if first[key] != again.get(key)} <= varying
    assert first["losses"]["loss"] > 0 and again["losses"] is None


def test_objects_that_tiles_cut_are_named_and_a_tile_is_at_least_32_px(data, weights, tmp_path, caplog, capfd):
    detections = tmp_path / "detections.json"
    words = ("--tile", "32", "--overlap", "0.25", "--evaluation.losses", "False")
    assert evaluate(data, weights, *words, "--detections", detections) == 0
    assert "red (median 30 px; needs a larger --tile)" in caplog.text
    assert len(json.loads(detections.read_text())) == 15
    assert evaluate(data, None, "--results", detections, "--tile", "32") == 2
    assert "--tile says how to detect, but --results are detections already" in capfd.readouterr().err
    assert evaluate(data, Path("none.pth"), "--tile", "16") == 2
    assert "--tile must be the side of a tile, at least 32 px" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "is not valid JSON"),
        ("{}", "must contain a list of detections"),
        (
            '[{"image_id": 0, "category_id": 1, "bbox": [1, 2, 3], "score": 0.5}]',
            "detection 0: bbox must be [x, y, width, height] in px; got [1, 2, 3]",
        ),
        ('[{"image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4]}]', "detection 0: score must be a number; got None"),
        ('[{"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]', "has no image with this id"),
        ('[{"image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4], "score": NaN}]', "must be finite"),
        ('[{"image_id": 0, "category_id": 1, "bbox": [9, 2, -3, 4], "score": 0.5}]', "negative side"),
        ('[{"image_id": 0, "category_id": 1, "bbox": [9, 2, 1e9, 1%s], "score": 0.5}]' % ("0" * 400), "must be [x, y,"),
        ('[{"image_id": 0, "category_id": 1, "bbox": [9, 2, 3, 4], "score": 1%s}]' % ("0" * 5000), "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('["x"]', "detection 0 must be an object with image_id"),
    ],
)
def test_detections_that_cannot_be_scored_are_refused_by_name(data, tmp_path, capfd, content, message):
    path = tmp_path / "detections.json"
    path.write_text(content)
    assert evaluate(data, None, "--results", path) == 2
    error = capfd.readouterr().err
    assert message in error and str(path) in error


def test_no_file_is_written_over_one_that_is_read_or_written(data, weights, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(data)
    saved, annotations = tmp_path / "detections.json", data / "instances.json"
    saved.write_text("[]")
    before = annotations.read_text()
    for source, first, second in (
        (["--results", saved], ("--output", saved), ("--results", saved)),
        (["--results", saved], ("--detections", "./instances.json"), ("--data.val.annotations", annotations)),
        (["--weights", weights], ("--output", weights), ("--weights", weights)),
        (["--weights", weights, "--detections", "m.json"], ("--output", data / "m.json"), ("--detections", "m.json")),
    ):
        assert evaluate(data, None, *source, *first) == 2
        error = capfd.readouterr().err
        assert f"{first[0]} {Path(first[1])} would overwrite {second[0]} {second[1]}" in error
    assert (saved.read_text(), annotations.read_text()) == ("[]", before)


def test_files_are_there_even_if_nothing_can_be_printed(data, weights, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(console, "print_metrics", fail)
    output, detections = tmp_path / "metrics.json", tmp_path / "detections.json"
    with contextlib.suppress(BrokenPipeError, SystemExit):
        evaluate(data, weights, "--output", output, "--detections", detections)
    assert json.loads(output.read_text())["num_detections"] == len(json.loads(detections.read_text())) == 15


def test_names_with_brackets_are_printed_as_they_are(data, tmp_path, capfd):
    content = json.loads((data / "instances.json").read_text())
    for entry, name in zip(content["categories"], ("[/red]", "[bold]"), strict=True):
        entry["name"] = name
    odd = data / "[val].json"
    odd.write_text(json.dumps(content))
    (tmp_path / "detections.json").write_text("[]")
    words = ["--results", tmp_path / "detections.json", "--data.val.annotations", odd]
    assert evaluate(data, None, *words) == 0
    printed = capfd.readouterr().out
    assert "[/red]" in printed and "[bold]" in printed and "3 images of [val]" in printed


def test_detections_are_kept_whatever_fails_after(data, weights, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("as a fault of the analysis would")

    monkeypatch.setattr(analysis, "analyse", fail)
    detections = tmp_path / "detections.json"
    with pytest.raises(RuntimeError, match="as a fault"):
        evaluate(data, weights, "--output", tmp_path / "metrics.json", "--detections", detections)
    assert len(json.loads(detections.read_text())) == 15


def test_some_of_the_classes_of_saved_detections_are_scored(data, tmp_path, capfd):
    path = tmp_path / "detections.json"
    boxes = [{"image_id": n, "category_id": 1 + n % 2, "bbox": [5, 5, 20, 30], "score": 0.5} for n in range(3)]
    path.write_text(json.dumps(boxes))
    assert evaluate(data, None, "--results", path, "--data.classes", "red") == 0
    printed = capfd.readouterr().out
    assert "ignored 1 detection of classes not in --data.classes" in printed and "2 detections in 3 images" in printed


def test_no_detections_at_all_score_zero(data, tmp_path):
    path, output = tmp_path / "detections.json", tmp_path / "metrics.json"
    path.write_text("[]")
    assert evaluate(data, None, "--results", path, "--output", output) == 0
    assert json.loads(output.read_text())["AP"] == 0


def test_either_weights_or_detections_are_needed(data, weights, tmp_path, capfd):
    for words in ([], ["--weights", weights, "--results", tmp_path]):
        assert evaluate(data, None, *words) == 2
        assert "either --weights" in capfd.readouterr().err


def test_images_without_annotations_give_detections_alone(data, weights, tmp_path, capfd):
    """COCO test-dev, for example, has no list of annotations."""
    content = json.loads((data / "instances.json").read_text())
    del content["annotations"]
    (data / "instances.json").write_text(json.dumps(content))
    assert evaluate(data, weights) == 2
    assert "no annotations to evaluate against. Pass --detections" in capfd.readouterr().err
    detections, output = tmp_path / "detections.json", tmp_path / "metrics.json"
    assert evaluate(data, weights, "--detections", detections, "--output", output) == 0
    assert len(json.loads(detections.read_text())) == 15
    assert not output.exists() and "no annotations" in capfd.readouterr().err


def test_nothing_is_written_unless_asked_for(data, weights, monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert evaluate(data, weights) == 0
    assert not list(elsewhere.iterdir())


def test_weights_of_another_class_count_are_refused_with_both_lists(data, weights, capfd):
    content = json.loads((data / "instances.json").read_text())
    content["categories"].append({"id": 3, "name": "green"})
    (data / "instances.json").write_text(json.dumps(content))
    assert evaluate(data, weights) == 2
    error = capfd.readouterr().err
    assert "2 classes (red, blue)" in error
    assert "3 (red, blue, green)" in error


def rename(data: Path, *names: str) -> None:
    content = json.loads((data / "instances.json").read_text())
    for category, name in zip(content["categories"], names, strict=True):
        category["name"] = name
    (data / "instances.json").write_text(json.dumps(content))


def test_classes_of_other_names_are_refused(data, weights, capfd):
    rename(data, "red", "green")
    assert evaluate(data, weights) == 2
    error = capfd.readouterr().err
    assert "The weights do not have green" in error and "--data.classes red" in error


def test_classes_in_another_order_score_as_in_the_order_of_the_weights(data, weights, tmp_path, caplog):
    """All objects are red: of category 1, then of category 2."""
    documents, rows = [], []
    for names, category in (("red", "blue"), 1), (("Blue", "Red"), 2):
        rename(data, *names)
        content = json.loads((data / "instances.json").read_text())
        for entry in content["annotations"]:
            entry["category_id"] = category
        (data / "instances.json").write_text(json.dumps(content))
        assert evaluate(data, weights, "--output", tmp_path / "m.json", "--detections", tmp_path / "d.json") == 0
        documents.append(json.loads((tmp_path / "m.json").read_text()))
        rows.append(json.loads((tmp_path / "d.json").read_text()))
    assert caplog.text.count("matched by name: their order differs") == 1
    first, second = documents
    assert second["AP"] == first["AP"] and second["losses"] == first["losses"]
    assert second["per_class"] == {"Blue": None, "Red": first["per_class"]["red"]}
    assert [row["category_id"] for row in rows[1]] == [3 - row["category_id"] for row in rows[0]]


def test_other_classes_of_the_weights_are_not_detected(data, weights, tmp_path, caplog):
    assert evaluate(data, weights, "--data.classes", "red", "--detections", tmp_path / "d.json") == 0
    assert "not in the dataset, so not detected: blue" in caplog.text
    assert {row["category_id"] for row in json.loads((tmp_path / "d.json").read_text())} == {1}


def test_weights_of_another_variant_are_refused(data, weights, capfd):
    assert evaluate(data, weights, "--model.variant", "yolox_tiny") == 2
    error = capfd.readouterr().err
    assert "yolox_nano" in error
    assert "yolox_tiny" in error


def test_an_output_that_cannot_be_written_is_refused_before_the_work(data, weights, tmp_path, capfd):
    assert evaluate(data, weights, "--output", tmp_path) == 2
    assert "is a folder" in capfd.readouterr().err
    assert evaluate(data, weights, "--output", data / "instances.json" / "metrics.json") == 2
    assert "cannot be written" in capfd.readouterr().err


def test_missing_weights_are_named(data, capfd):
    assert evaluate(data, data / "none.pth") == 2
    assert "none.pth" in capfd.readouterr().err


def test_weights_are_looked_for_before_the_images(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (data / "instances.json").write_text("{")
    assert evaluate(data, tmp_path / "missing.pth") == 2
    assert "there is no weights file" in capfd.readouterr().err
