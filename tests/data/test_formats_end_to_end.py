"""Whole runs from YOLO and VOC files, through the command line."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from yolox_jax.cli.main import main
from yolox_jax.data.sources.shapes import CLASS_NAMES, draw_scene

SIZE = 96
NUM_IMAGES = {"train": 16, "val": 8}


def _write_yolo(root: Path) -> None:
    for split, count in NUM_IMAGES.items():
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            picture, objects = draw_scene(np.random.default_rng((count, number)), SIZE)
            cv2.imwrite(str(root / "images" / split / f"{number}.png"), picture)
            lines = [
                f"{label} {(x1 + x2) / 2 / SIZE} {(y1 + y2) / 2 / SIZE} {(x2 - x1) / SIZE} {(y2 - y1) / SIZE}"
                for label, (x1, y1, x2, y2) in objects
            ]
            (root / "labels" / split / f"{number}.txt").write_text("\n".join(lines))
    content = {"train": "images/train", "val": "images/val", "names": list(CLASS_NAMES), "nc": len(CLASS_NAMES)}
    (root / "data.yaml").write_text(yaml.safe_dump(content))


def _write_voc(root: Path) -> None:
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for split, count in NUM_IMAGES.items():
        for number in range(count):
            picture, objects = draw_scene(np.random.default_rng((count, number)), SIZE)
            cv2.imwrite(str(root / f"JPEGImages/{split}_{number}.jpg"), picture)
            entries = "".join(
                f"<object><name>{CLASS_NAMES[label]}</name><difficult>{place == 0:d}</difficult><bndbox>"
                f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
                for place, (label, (x1, y1, x2, y2)) in enumerate(objects)
            )
            (root / f"Annotations/{split}_{number}.xml").write_text(
                f"<annotation><size><width>{SIZE}</width><height>{SIZE}</height></size>{entries}</annotation>"
            )
        stems = [f"{split}_{number}" for number in range(count)]
        (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(stems))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["yolo", "voc"])
def test_a_detector_is_trained_and_evaluated_from_files_of_the_layout(layout: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    if layout == "yolo":
        _write_yolo(data)
        places = {"annotations": data / "data.yaml"}
    else:
        _write_voc(data)
        places = {"images": data, "difficult": "ignore"}
    settings = {f"--data.{which}.{name}": place for which in NUM_IMAGES for name, place in places.items()}
    settings |= {"--data.train.format": layout, "--data.val.format": layout}
    settings |= {"--evaluation.batch-size": 4, "--evaluation.score-threshold": 0.0, "--evaluation.max-detections": 50}
    words = ["--config", "yolox_nano", "--data.input-size", "64", "64"]
    words += [str(word) for pair in settings.items() for word in pair]
    schedule = {"epochs": 2, "warmup-epochs": 0, "no-aug-epochs": 1}
    training = [str(word) for name, value in schedule.items() for word in (f"--schedule.{name}", value)]
    training += ["--train.batch-size", "4", "--train.multiscale-px", "None"]

    assert main(["train", *words, *training, "--workdir", str(tmp_path / "run")]) == 0
    logged = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in logged if record["kind"] == "evaluation"] == [8]

    output, found = tmp_path / "metrics.json", tmp_path / "detections.json"
    files = ["--output", str(output), "--detections", str(found)]
    assert main(["evaluate", *words, "--weights", str(tmp_path / "run"), *files]) == 0
    metrics = json.loads(output.read_text())
    assert 0 <= metrics["AP"] <= 1 and set(metrics["per_class"]) == set(CLASS_NAMES)
    categories = {result["category_id"] for result in json.loads(found.read_text())}
    assert categories <= set(range(4) if layout == "yolo" else range(1, 5)) and categories
