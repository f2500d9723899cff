"""The notebooks run from the first cell to the last."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolox_jax.config import DatasetConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.files import user_cache

NOTEBOOKS = Path(__file__).parents[2] / "examples"


def run_cells(name: str) -> dict[str, Any]:
    """Runs the code cells of a notebook, and shows the value at the end of each as a notebook does."""
    variables: dict[str, Any] = {}
    for cell in json.loads((NOTEBOOKS / name).read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == [], "notebooks are committed without outputs"
        *_, last = source = "".join(cell["source"]).splitlines()
        exec("\n".join(source), variables)
        if last.isidentifier():
            variables.setdefault("shown", []).append(variables[last])
    return variables


def write_yolo_dataset(folder: Path) -> None:
    """Generated shapes as YOLO text files with a data.yaml."""
    generate_shapes(folder / "shapes", num_train=32, num_val=8, image_size=96, seed=0)
    for split in ("train", "val"):
        dataset = open_dataset(DatasetConfig(format="shapes", images=str(folder / "shapes"), split=split))
        for part in ("images", "labels"):
            (folder / split / part).mkdir(parents=True)
        for record in dataset.records:
            shutil.copy(record.path, folder / split / "images")
            centres, sides = (record.boxes[:, :2] + record.boxes[:, 2:]) / 2, record.boxes[:, 2:] - record.boxes[:, :2]
            rows = np.concatenate([centres, sides], axis=1) / ([record.width, record.height] * 2)
            lines = [f"{label} {' '.join(map(str, row))}" for label, row in zip(record.classes, rows, strict=True)]
            (folder / split / "labels" / f"{record.path.stem}.txt").write_text("\n".join(lines))
    names = ", ".join(dataset.class_names)
    (folder / "data.yaml").write_text(f"train: train/images\nval: val/images\nnames: [{names}]\n")


@pytest.fixture
def published_nano(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published weights are in the user's cache, as after a download, and the current folder is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights = user_cache() / "weights" / "yolox_nano.pth"
    weights.parent.mkdir(parents=True)
    shutil.copy(shared / "weights" / "yolox_nano.pth", weights)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.mark.slow
def test_the_notebook_on_detection_runs(published_nano: None, shared: Path) -> None:
    images = sorted((shared / "data/coco_val2017_100/images").glob("*.jpg"))[:3]
    Path("photos").mkdir()
    for image in images:
        shutil.copy(image, "photos")
    variables = run_cells("detect.ipynb")
    assert "yolox_nano" in repr(variables["detector"])
    picture = cv2.imdecode(np.frombuffer(variables["found"]._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == cv2.imread(str(images[0])).shape
    assert 0 < len(variables["confident"]) <= len(variables["found"])
    assert sum(variables["found"].counts().values()) == len(variables["found"])
    assert all(cv2.imread(str(Path("out") / image.name)) is not None for image in images)


@pytest.mark.slow
def test_the_notebook_on_fine_tuning_runs(published_nano: None) -> None:
    write_yolo_dataset(Path("mine"))
    variables = run_cells("finetune.ipynb")
    assert variables["result"].best_ap is not None
    assert variables["evaluation"].metrics.figures["AP"] == pytest.approx(variables["result"].best_ap, abs=1e-6)
    assert variables["found"]._repr_png_()


@pytest.mark.slow
def test_the_notebook_on_own_data_runs(published_nano: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parent))  # of the commands that it runs
    variables = run_cells("your_own_data.ipynb")
    assert variables["result"].best_ap > 0.1
    assert variables["preview"].size > (160, 160)
    assert variables["found"]._repr_png_()
    assert Path("mine.onnx").stat().st_size > 1e6
    assert list(Path("runs/mine").rglob("*.html"))
