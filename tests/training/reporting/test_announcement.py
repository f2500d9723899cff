import dataclasses
import logging
from pathlib import Path

import pytest

from yolox_jax.config import AssignmentConfig, Config, DataConfig, DatasetConfig, LossConfig, ModelConfig
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


def test_the_number_of_images_an_epoch_and_the_weights_of_classes_are_told_where_there_are_such(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generate_shapes(tmp_path, num_train=12, num_val=2, image_size=64, seed=0)
    shapes = DatasetConfig(format="shapes", images=str(tmp_path))
    train_set = open_datasets(DataConfig(train=shapes), "train")
    rare = [dataclasses.replace(record, classes=record.classes * 0) for record in train_set.records[1:]]
    train_set = dataclasses.replace(train_set, records=(train_set.records[0], *rare))
    for threshold, level, told in (
        (
            0.75,
            logging.INFO,
            "train: 14 images an epoch: --data.repeat-threshold 0.75 repeats 1 image, up to 3.0 times",
        ),
        (0.001, logging.WARNING, "--data.repeat-threshold 0.001 repeats no image"),
    ):
        caplog.clear()
        config = Config(data=DataConfig(train=shapes, val=shapes, repeat_threshold=threshold))
        config = dataclasses.replace(config, loss=LossConfig(class_weights=("circle=3",)))
        with caplog.at_level(logging.INFO, "yolox_jax.training"):
            announce(config, Summary(1, 1.0, 1), train_set, train_set)
        assert "train: weights of classes in the classification loss: circle " in caplog.text
        assert [record.levelno for record in caplog.records if told in record.getMessage()] == [level]
