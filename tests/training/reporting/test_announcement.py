from pathlib import Path

import pytest

from yolox_jax.config import AssignmentConfig, Config, DataConfig, DatasetConfig, ModelConfig
from yolox_jax.config.assignment import YOLOV3_ANCHORS
from yolox_jax.data.anchor_sizes import cluster_sizes
from yolox_jax.data.doctor.annotations import sizes_to_train_on
from yolox_jax.data.sources import open_datasets
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.models.summary import Summary
from yolox_jax.training.reporting.announcement import announce


@pytest.mark.parametrize("anchors", ["of COCO", "of the data", "none"])
def test_anchor_boxes_of_other_sizes_than_the_objects_are_warned_of(
    anchors: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generate_shapes(tmp_path, num_train=12, num_val=2, image_size=64, seed=0)
    shapes = DatasetConfig(format="shapes", images=str(tmp_path))
    data = DataConfig(train=shapes, val=shapes, input_size=(32, 32))
    train_set = open_datasets(data, "train")
    own = cluster_sizes(sizes_to_train_on(train_set, data), 9, seed=0)
    config = Config(
        model=ModelConfig(anchors={"of COCO": YOLOV3_ANCHORS, "of the data": own, "none": ()}[anchors]),
        assignment=AssignmentConfig(rule="simota" if anchors == "none" else "yolov3"),
        data=data,
    )
    announce(config, Summary(1, 1.0, 1), train_set, open_datasets(data, "val"))
    assert ("fit no anchor box at --data.input-size 32 32" in caplog.text) == (anchors == "of COCO")
