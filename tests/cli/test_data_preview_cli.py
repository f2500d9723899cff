import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolox_jax.cli.main import main
from yolox_jax.config import Config, DataConfig, DatasetConfig, ScheduleConfig, TrainConfig
from yolox_jax.data.letterbox import letterbox
from yolox_jax.data.pipeline import training_batches
from yolox_jax.data.sources import open_datasets
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.data.training_images import TrainingImage, augmented_images
from yolox_jax.report.training_sheet import draw_section

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


def preview(folder: Path, *words: str | Path) -> int:
    flags = f"--data.train.format coco --data.train.images {folder}/images --data.input-size {SIZE[0]} {SIZE[1]}"
    flags += f" --data.train.annotations {folder}/instances_train.json --train.batch-size 2"
    flags += " --schedule.epochs 3 --schedule.no-aug-epochs 1"
    return main(["data", "preview", "--config", "quickstart", *flags.split(), *map(str, words)])


@pytest.mark.parametrize(("epoch", "count"), [(1, 1), (2, 5), (3, 6)])
def test_images_are_the_first_of_the_epoch_in_the_stream_of_training(config: Config, epoch: int, count: int) -> None:
    dataset = open_datasets(config.data, "train")
    with training_batches(dataset, config) as batches:
        stream = list(batches)[3 * (epoch - 1) : 3 * epoch]
    joined = {key: np.concatenate([batch[key] for batch in stream]) for key in stream[0]}
    images = augmented_images(dataset, config, epoch, count)
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
            for one in augmented_images(dataset, config, epoch, 5)
        ]

    assert shown(3) == [True] * 5
    assert shown(1) == [False] * 5


def test_sheet_shows_the_pixels_with_boxes_and_scales_by_whole_numbers_upwards() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    box = TrainingImage("box", image, np.array([[24, 16, 72, 48]], np.float32), np.array([1], np.int32), SIZE)
    plain = TrainingImage("plain", image, np.zeros((0, 4), np.float32), np.zeros(0, np.int32), SIZE)
    sheet = draw_section("caption", [plain, box], ["a", "b"])
    tiles = sheet[-(6 * 64 + 4) :]
    first, second = tiles[2:-2, 2 : 2 + 576], tiles[2:-2, 6 + 576 : -2]
    large = image.repeat(6, axis=0).repeat(6, axis=1)
    np.testing.assert_array_equal(first, large)
    changed = (second != large).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert abs(rows[-1] - 6 * 48) <= 2 and abs(columns[0] - 6 * 24) <= 2 and abs(columns[-1] - 6 * 72) <= 2
    assert not changed[6 * 20 : 6 * 44, 6 * 40 : 6 * 70].any()


def test_sheet_of_large_images_is_not_gigantic() -> None:
    image = np.zeros((640, 640, 3), np.uint8)
    one = TrainingImage("", image, np.zeros((0, 4), np.float32), np.zeros(0, np.int32), (640, 640))
    for count in (1, 2, 7, 24):
        height, width, _ = draw_section("epoch 1", [one] * count, ["a"]).shape
        assert width <= 1700 and height <= 1400


def test_by_default_one_sheet_shows_the_first_epoch_and_the_last(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    heights = []
    for words in ((), ("--epoch", 2)):
        path = tmp_path / "new" / "sheet.png"
        assert preview(folder, *words, "--count", 3, "--output", path) == 0
        out = capfd.readouterr().out
        assert f"wrote {path}" in out
        assert ("epoch 1: 3 images" in out, "epoch 2" in out, "epoch 3" in out) == (not words, bool(words), not words)
        heights.append(cv2.imread(str(path)).shape[0])
    assert heights[0] == 2 * heights[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--epoch", "4"), "--epoch must be between 1 and 3 (--schedule.epochs), got 4"),
        (("--epoch", "0"), "--epoch must be between 1 and 3 (--schedule.epochs), got 0"),
        (("--count", "0"), "--count must be at least 1, got 0"),
        (("--count", "7"), "--count must be at most 6, the number of images per epoch; got 7"),
        (("--output", "sheet.gif"), "ends in .png or .jpg"),
        (("--data.train.annotations", "nowhere.json"), "nowhere.json"),
    ],
)
def test_mistakes_are_refused_with_the_way_out(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert preview(folder, "--output", tmp_path / "sheet.png", *words) == 2
    assert message in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_as_output_is_refused(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").mkdir()
    assert preview(folder, "--output", tmp_path / "a.png") == 2
    assert "is a folder" in capfd.readouterr().err


def test_data_without_objects_is_refused(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = json.loads((folder / "instances_train.json").read_text())
    (tmp_path / "empty.json").write_text(json.dumps({**content, "annotations": []}))
    assert preview(folder, "--data.train.annotations", tmp_path / "empty.json", "--output", tmp_path / "a.png") == 2
    assert "there is nothing to learn from" in capfd.readouterr().err
