"""Opening datasets from Python: what is exported, and settings that are missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from yolox_jax.config import ConfigError, DataConfig, DatasetConfig
from yolox_jax.data import Dataset, Record, open_dataset, open_datasets


def test_import_loads_neither_jax_nor_opencv() -> None:
    code = "import sys, yolox_jax.data; print({'jax', 'flax', 'cv2', 'grain'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_one_dataset_opens_from_its_settings(tmp_path: Path) -> None:
    dataset = open_dataset(DatasetConfig(format="shapes", images=str(tmp_path)), "val")
    assert isinstance(dataset, Dataset) and isinstance(dataset.records[0], Record)
    assert dataset.class_names == ("bar", "circle", "star", "triangle")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            DatasetConfig(format="coco", images="", annotations=""),
            r"images is empty\. Pass the folder .*--data\.train\.annotations is empty\. Pass the JSON",
        ),
        (
            DatasetConfig(format="coco", images="x", annotations=""),
            r"^--data\.train\.annotations is empty\. Pass",
        ),
        (
            DatasetConfig(format="voc"),
            r"train\.images is empty\. For VOC, pass the folder that holds Annotations",
        ),
        (DatasetConfig(format="yolo"), r"--data\.train\.annotations is empty\. For YOLO, pass the data\.yaml"),
        (
            DatasetConfig(format="tfds"),
            r"train\.annotations is empty\. .* the name of the dataset, such as coco/2017",
        ),
    ],
)
def test_empty_path_is_named_with_what_to_pass(config: DatasetConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_dataset(config, "train")


def test_empty_path_of_a_further_dataset_is_named_before_any_is_read(tmp_path: Path) -> None:
    shapes = DatasetConfig(format="shapes", images=str(tmp_path / "shapes"))
    with pytest.raises(ConfigError, match=r"^data\.more_val\[1\]\.annotations is empty"):
        open_datasets(DataConfig(val=shapes, more_val=(shapes, DatasetConfig(format="yolo"))), "val")
    assert not (tmp_path / "shapes").exists()
