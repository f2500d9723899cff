import csv
import dataclasses
import json
import os
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest

from scored_sets import make_dataset, random_set
from yolox_jax.cli.main import main
from yolox_jax.config import Config
from yolox_jax.config.serialization import config_to_dict
from yolox_jax.evaluation.analysis import analyse
from yolox_jax.evaluation.errors import ErrorKind
from yolox_jax.evaluation.runner import evaluate_results
from yolox_jax.files import write_json
from yolox_jax.report import pictures, read_report_data, write_report
from yolox_jax.report.pictures import CORRECT, OBJECT, OTHER_WRONG, WRONG, picture_of
from yolox_jax.training.run_directory import RunDirectory


class Page(HTMLParser):
    """What a page shows, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.words: list[str] = []
        self.sources: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture
def metrics_file(tmp_path: Path) -> Path:
    """Of a small dataset, with the images that it names."""
    dataset, results = next(
        (dataset, results) for dataset, results in map(random_set, range(100)) if len(results) > 100
    )
    records = [dataclasses.replace(record, path=tmp_path / f"{record.image_id}.png") for record in dataset.records]
    for record in records:
        cv2.imwrite(str(record.path), np.full((record.height, record.width, 3), 90, np.uint8))
    dataset = dataclasses.replace(dataset, name="<b>cats</b>", records=tuple(records))
    document = analyse(evaluate_results(dataset, results), dataset, config=Config(), weights="w.pth")
    write_json(tmp_path / "metrics.json", document)
    return tmp_path / "metrics.json"


def report(source: Path, *words: str) -> Page:
    assert main(["report", str(source), *words]) == 0
    folder = Path(words[-1]) if words else source.with_name(f"{source.stem}_report")
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_holds_everything_and_loads_nothing(metrics_file):
    page = report(metrics_file)
    for heading in ("Figures", "Precision-recall curves", "Cost of each error type", "Confusion matrix", "Classes"):
        assert heading in page.headings
    assert "Training" not in page.headings, "there is no run"
    assert any(heading.startswith("Worst images") for heading in page.headings)
    # Data that the page carries, and parts of the same drawing.
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert any(source.startswith("data:image/jpeg") for source in page.sources)
    document = json.loads(metrics_file.read_text())
    assert f"{document['AP']:.4f}" in page.words
    named = [words for words in page.words if "cats" in words]
    assert len(named) == 2 and all("<b>cats</b>" in words for words in named), "names are text, not tags"


def test_the_page_says_how_images_were_cut_into_tiles(metrics_file):
    assert "overlap of tiles" not in report(metrics_file).words
    document = json.loads(metrics_file.read_text())
    metrics_file.write_text(json.dumps({**document, "tiling": {"height": 320, "width": 640, "overlap": 0.25}}))
    words = report(metrics_file).words
    assert words[words.index("tiles (height x width px)") + 1] == "320 x 640"
    assert words[words.index("overlap of tiles") + 1] == "0.2500"


def test_plots_write_in_the_text_colour_of_the_page(metrics_file):
    report(metrics_file)
    text = (metrics_file.with_name("metrics_report") / "report.html").read_text()
    assert "currentColor" in text and "#0a0b0c" not in text
    ids = re.findall(r' id="([^"]+)"', text)
    referred_to = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    assert referred_to and all(ids.count(name) == 1 for name in referred_to), "no plot uses a part of another"


def test_numbers_are_written_as_tables_and_plots_as_pictures(metrics_file, tmp_path):
    report(metrics_file, "--output", str(tmp_path / "page"))
    document = json.loads(metrics_file.read_text())
    with (tmp_path / "page" / "per_class.csv").open() as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    for name, ap in document["per_class"].items():
        assert rows[name]["AP"] == ("" if ap is None else str(ap))
    with (tmp_path / "page" / "confusion.csv").open() as file:
        matrix = [[int(count) for count in row[1:]] for row in list(csv.reader(file))[1:]]
    assert matrix == document["confusion"]["matrix"]
    for name in ("precision_recall", "confusion", "errors", "per_class"):
        assert (tmp_path / "page" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_missing_images_are_named_and_the_report_still_appears(metrics_file, capfd):
    for path in metrics_file.parent.glob("*.png"):
        path.unlink()
    page = report(metrics_file)
    assert "Missing images" in page.headings
    assert any(str(metrics_file.parent) in words for words in page.words)
    assert "could not be read, for example" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (cv2.imencode(".png", np.zeros((30, 20, 3), np.uint8))[1].tobytes(), "is 20x30 px"),
        (cv2.imencode(".png", np.zeros((480, 640, 3), np.uint8))[1].tobytes()[:-20], "is truncated"),
        (b"text", "is not an image"),
    ],
)
def test_images_that_are_not_those_evaluated_are_not_drawn(metrics_file, content, why):
    for path in metrics_file.parent.glob("*.png"):
        path.write_bytes(content)
    page = report(metrics_file)
    assert "Missing images" in page.headings
    assert any(f".png {why}" in words for words in page.words)
    assert not any(source.startswith("data:image/jpeg") for source in page.sources)


def test_images_in_archives_are_named_but_not_missing(metrics_file):
    document = json.loads(metrics_file.read_text())
    for entries in document["galleries"].values():
        for entry in entries:
            entry["path"] = None
    metrics_file.write_text(json.dumps(document))
    page = report(metrics_file)
    assert "Missing images" not in page.headings
    assert "stored in an archive" in page.words


def test_a_picture_of_one_column_is_drawn(tmp_path):
    path = tmp_path / "narrow.png"
    cv2.imwrite(str(path), np.zeros((2000, 1, 3), np.uint8))
    entry = {"path": str(path), "height": 2000, "width": 1, "objects": [], "detections": []}
    assert cv2.imdecode(np.frombuffer(picture_of(entry, ErrorKind.MISSED), np.uint8), cv2.IMREAD_COLOR) is not None


def test_nothing_found_in_images_without_objects_can_be_reported(tmp_path):
    dataset = make_dataset({1: []})
    document = analyse(evaluate_results(dataset, []), dataset, config=Config(), weights="w")
    write_json(tmp_path / "metrics.json", document)
    page = report(tmp_path / "metrics.json")
    assert "Figures" in page.headings
    assert "undefined" in page.words


def test_a_run_is_shown_with_its_curves(metrics_file, tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.best_metrics.parent.mkdir(parents=True)
    metrics_file.rename(run.best_metrics)
    run.config.write_text(json.dumps(config_to_dict(Config())))
    losses = {"loss": 3.0, "iou": 1.0, "objectness": 1.0, "classification": 1.0}
    lines = [
        {"kind": "train", "step": 1, "epoch": 0.5, "lr": 0.1, **losses},
        {"kind": "evaluation", "step": 2, "epoch": 1, "AP": 0.1, "AP50": None, "AP75": 0.0, **losses},
        {"kind": "evaluation", "step": 4, "epoch": 2, "AP": 0.2, "AP50": 0.3, "AP75": 0.1},
    ]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["report", str(run.root)]) == 0
    page = Page((run.root / "report" / "report.html").read_text())
    assert "Training" in page.headings
    with (run.root / "report" / "evaluations.csv").open() as file:
        assert [row["AP"] for row in csv.DictReader(file)] == ["0.1", "0.2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not a metrics file"),
        ('{"AP": 0.5}', "has format version None, but this program reads version 2"),
        ('{"AP": 0.5, "version": 99}', "has format version 99"),
        ('{"AP": 0.5, "version": 2, "AP50": 0.5}', "lacks AP75, AP_small"),
    ],
)
def test_other_files_are_refused(tmp_path, capfd, content, message):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    assert main(["report", str(path)]) == 2
    error = capfd.readouterr().err
    assert message in error and str(path) in error


def test_folders_without_an_evaluation_are_refused_with_the_way_out(tmp_path, capfd):
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "no such run directory or metrics file" in capfd.readouterr().err
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run directory" in capfd.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    assert main(["report", str(tmp_path)]) == 2
    assert f"resume it with `yolox-jax train --config {tmp_path} --resume`" in capfd.readouterr().err
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "weights.safetensors").touch()
    assert main(["report", str(tmp_path)]) == 2
    assert "evaluate.py --config" in capfd.readouterr().err


def test_errors_of_the_kind_shown_are_red_and_named_and_above_all_others(tmp_path, monkeypatch):
    drawn: list[tuple[list, list, list]] = []

    def remember(image, boxes, labels, colours, **_):
        drawn.append((boxes.tolist(), labels, colours))
        return image

    monkeypatch.setattr(pictures, "draw_boxes", remember)
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.zeros((pictures.SIDE_PX, pictures.SIDE_PX, 3), np.uint8))  # drawn at its own scale

    def found(name: str, kind: ErrorKind | None, thing: str | None, score: float) -> dict:
        return {"box": [0, 0, score, 1], "class": name, "score": score, "kind": kind, "object": thing}

    entry = {
        "path": str(path),
        "height": pictures.SIDE_PX,
        "width": pictures.SIDE_PX,
        "objects": [
            {"box": [1, 1, 2, 2], "class": "cat", "missed": True},
            {"box": [3, 3, 4, 4], "class": "dog", "missed": False},
        ],
        "detections": [
            found("dog", None, "dog", 0.9),
            found("owl", ErrorKind.CLASSIFICATION, "dog", 0.8),
            found("cat", ErrorKind.BACKGROUND, None, 0.7),
        ],
    }
    picture_of(entry, ErrorKind.CLASSIFICATION)
    _, labels, colours = drawn.pop()
    assert list(zip(labels, colours, strict=True)) == [
        ("owl 0.80, is dog", WRONG),
        ("", OTHER_WRONG),
        ("", CORRECT),
        ("", OBJECT),
        ("", OBJECT),
    ]
    picture_of(entry, ErrorKind.MISSED)
    boxes, labels, colours = drawn.pop()
    assert (boxes[0], labels[0], colours[0]) == ([1, 1, 2, 2], "missed cat", WRONG)


def test_a_report_from_python_leaves_the_settings_of_matplotlib_as_they_were(metrics_file, tmp_path):
    before = dict(matplotlib.rcParams)
    assert write_report(read_report_data(metrics_file), tmp_path / "page") == []
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    assert (tmp_path / "page" / "report.html").is_file()


def test_an_image_whose_name_is_no_text_is_shown(metrics_file):
    document = json.loads(metrics_file.read_text())
    entry = next(entry for entries in document["galleries"].values() for entry in entries)
    odd = os.fsdecode(os.fsencode(metrics_file.parent) + b"/caf\xe9.png")
    shutil.copy(entry["path"], odd)
    entry["path"], entry["name"] = odd, Path(odd).name
    write_json(metrics_file, document)
    page = report(metrics_file)
    assert "Missing images" not in page.headings
    assert "caf\\udce9.png" in page.words
