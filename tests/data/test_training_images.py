"""Single training images, with augmentation and without."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolox_jax.config import Config, ConfigError, DataConfig, DatasetConfig, ScheduleConfig, TrainConfig
from yolox_jax.data.letterbox import letterbox
from yolox_jax.data.pipeline import training_batches
from yolox_jax.data.sources import open_datasets
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.data.training_images import augmented_images, letterboxed_images
from yolox_jax.training.step.drawing import images_of

SIZE = (64, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five training images of 128x128 px: three steps an epoch at batch 2."""
    folder = tmp_path_factory.mktemp("preview") / "shapes"
    generate_shapes(folder, num_train=5, num_val=1, image_size=128)
    return folder


@pytest.fixture
def config(folder: Path) -> Config:
    train = DatasetConfig(images=str(folder / "images"), annotations=str(folder / "instances_train.json"))
    return Config(
        data=DataConfig(train=train, input_size=SIZE, max_boxes=40),
        schedule=ScheduleConfig(epochs=3, no_aug_epochs=1),
        train=TrainConfig(batch_size=2),
    )


@pytest.mark.parametrize(("epoch", "count"), [(1, 1), (2, 5), (3, 6)])
def test_images_are_the_first_of_the_epoch_in_the_stream_of_training(config: Config, epoch: int, count: int) -> None:
    dataset = open_datasets(config.data, "train")
    with training_batches(dataset, config) as batches:
        stream = list(batches)[3 * (epoch - 1) : 3 * epoch]
    joined = {key: np.concatenate([batch[key] for batch in stream]) for key in stream[0]}
    images = augmented_images(dataset, config, epoch, count, images_of)
    assert len(images) == count
    for row, one in enumerate(images):
        np.testing.assert_array_equal(one.image, joined["images"][row])
        valid = joined["valid"][row]
        np.testing.assert_array_equal(one.classes, joined["classes"][row, valid])
        x, y, width, height = joined["boxes"][row, valid].T
        corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
        np.testing.assert_allclose(one.boxes, corners, atol=1e-4)


def test_last_epoch_shows_letterboxed_images_and_the_first_mosaics(config: Config) -> None:
    augment = replace(config.data.augment, hsv_probability=0.0, flip_probability=0.0)
    config = replace(config, data=replace(config.data, augment=augment))
    dataset = open_datasets(config.data, "train")
    whole = [letterbox(cv2.imread(str(record.path)), SIZE)[0] for record in dataset.records]

    def shown(epoch: int) -> list[bool]:
        return [
            any(np.array_equal(one.image, image) for image in whole)
            for one in augmented_images(dataset, config, epoch, 5, images_of)
        ]

    assert shown(3) == [True] * 5
    assert shown(1) == [False] * 5


def test_letterboxed_images_are_spread_over_the_dataset(config: Config) -> None:
    dataset = open_datasets(config.data, "train")
    images = letterboxed_images(dataset, SIZE, 3)
    assert [one.name[4:] for one in images] == [dataset.records[index].path.stem for index in (0, 2, 4)]
    for one, record in zip(images, dataset.records[::2], strict=True):
        expected, ratio = letterbox(cv2.imread(str(record.path)), SIZE)
        np.testing.assert_array_equal(one.image, expected)
        np.testing.assert_array_equal(one.boxes, record.boxes * np.float32(ratio))
        assert one.content_size == (64, 64)


def test_unreadable_images_are_skipped_with_a_warning(
    folder: Path, tmp_path: Path, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(folder / "images", tmp_path / "images")
    train = replace(config.data.train, images=str(tmp_path / "images"))
    dataset = open_datasets(replace(config.data, train=train), "train")
    dataset.records[0].path.write_bytes(b"no image")
    assert len(letterboxed_images(dataset, SIZE, 5)) == 4
    assert str(dataset.records[0].path) in caplog.text
    for record in dataset.records:
        record.path.write_bytes(b"no image")
    with pytest.raises(ConfigError, match="none of the 5 chosen images"):
        letterboxed_images(dataset, SIZE, 5)
