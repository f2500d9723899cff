"""Datasets made of Python objects: equal to those of files, read again when needed, and checked item by item."""

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest

import yolox_jax
from yolox_jax.config import Config, ConfigError, DataConfig, ScheduleConfig, TrainConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import DataError, Dataset
from yolox_jax.data.doctor.annotations import cheap_findings
from yolox_jax.data.hooks import check_archives
from yolox_jax.data.image import load_image
from yolox_jax.data.pipeline import HostBatch, evaluation_batches, training_batches
from yolox_jax.data.sources import use_dataset
from yolox_jax.data.sources.python_items import make_dataset

NAMES = ("apple", "kite")
CONFIG = Config(
    data=DataConfig(input_size=(64, 64), max_boxes=6, num_threads=2),
    schedule=ScheduleConfig(epochs=2, no_aug_epochs=1),
    train=TrainConfig(batch_size=2),
)


@pytest.fixture
def files(coco_content: dict[str, Any], write_coco: Any) -> Dataset:
    return open_dataset(write_coco(coco_content), "train")


class Arrays:
    """Decodes its images whenever it is asked for them."""

    def __init__(self, files: Dataset) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files.records)

    def __getitem__(self, index: int) -> Any:
        record = self.files.records[index]
        return cv2.imread(str(record.path)), record.boxes, record.classes


def _run(dataset: Dataset, num_workers: int = 0, cached: bool = False) -> list[HostBatch]:
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, num_workers=num_workers))
    with (
        open_cache(dataset.records, dataclasses.replace(config.data, cache="ram" if cached else "none")) as cache,
        training_batches(dataset, config, cache=cache) as batches,
    ):
        return [{key: np.array(value) for key, value in batch.items()} for batch in batches]


def _assert_equal(left: list[HostBatch], right: list[HostBatch]) -> None:
    for a, b in zip(left, right, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_paths_give_the_training_stream_and_ground_truth_of_the_files(files: Dataset) -> None:
    items = [(str(record.path), record.boxes.tolist(), record.classes.tolist()) for record in files.records]
    dataset = make_dataset(items, list(NAMES), name="mine")
    assert (dataset.name, dataset.class_names, dataset.category_ids) == ("mine", NAMES, (0, 1))
    _assert_equal(_run(dataset), _run(files))
    truth = dataset.ground_truth
    assert [row["id"] for row in truth["images"]] == [0, 1, 2, 3, 4]
    for made, read in zip(truth["annotations"], files.ground_truth["annotations"], strict=True):
        assert made["bbox"] == pytest.approx(read["bbox"]) and made["image_id"] == read["image_id"] - 10
        assert NAMES[made["category_id"]] == {3: "apple", 7: "kite"}[read["category_id"]]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_arrays_give_the_pixels_of_the_files(files: Dataset, num_workers: int) -> None:
    dataset = make_dataset(Arrays(files), NAMES)
    # With a cache: without, JPEG files that a mosaic shrinks are decoded small, which arrays cannot be.
    _assert_equal(_run(dataset, num_workers, cached=True), _run(files, cached=True))
    if not num_workers:
        for made, read in zip(
            evaluation_batches(dataset, (64, 64), 2), evaluation_batches(files, (64, 64), 2), strict=True
        ):
            _assert_equal([made], [read])
        assert cheap_findings(dataset, dataset, CONFIG.data)[-1].count == 5  # the same images in train and val


def test_arrays_are_not_taken_for_those_of_another_dataset(files: Dataset) -> None:
    first, again = (make_dataset(Arrays(files), NAMES).records[0].archive for _ in range(2))
    other = make_dataset([(np.zeros((9, 9, 3), np.uint8), [], [])], NAMES).records[0].archive
    assert repr(first) == repr(again) != repr(other)


def test_items_of_the_same_name_in_training_and_validation_are_no_leakage() -> None:
    first, second = (make_dataset([(np.full((48, 64, 3), grey, np.uint8), BOX, [0])] * 2, NAMES) for grey in (0, 9))
    assert "leakage" not in " ".join(finding.kind for finding in cheap_findings(first, second, CONFIG.data))


def test_an_image_that_has_become_another_is_an_error() -> None:
    items = [(np.zeros((9, 9, 3), np.uint8), [], [])]
    dataset = make_dataset(items, NAMES)
    items[0] = (np.zeros((9, 9), np.uint8), [], [])
    with pytest.raises(DataError, match=r"items\[0\]: the image must be uint8 \[H, W, 3\] in BGR order"):
        load_image(dataset.records[0])


IMAGE, BOX = np.zeros((48, 64, 3), np.uint8), [[1.0, 2.0, 30.0, 40.0]]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((IMAGE, BOX), r"must be \(image or path, boxes, classes\), got 2 values"),
        (IMAGE, r"must be \(image or path, boxes, classes\), got ndarray"),
        ((IMAGE.astype(float), BOX, [0]), r": the image must be uint8 \[H, W, 3\] in BGR order, got float64 .*uint8\)"),
        ((IMAGE.tolist(), BOX, [0]), r": the image must be a NumPy array, got list.*numpy\.array\(image\)"),
        (("no/such.jpg", BOX, [0]), ": the file no/such.jpg does not exist"),
        ((__file__, BOX, [0]), r": .*test_python_items\.py is no image that can be read"),
        ((IMAGE, [[1, 2, np.nan, 4]], [0]), r": boxes\[0\] \(1, 2, nan, 4\) has NaN or infinity"),
        ((IMAGE, [[1, 2, 65, 4]], [0]), r": boxes\[0\] \(1, 2, 65, 4\) reaches outside the image of 64x48 px"),
        ((IMAGE, [[9, 9, 4, 4]], [0]), r": boxes\[0\] \(9, 9, 4, 4\) has no area. Boxes are x1, y1, x2, y2"),
        ((IMAGE, BOX, [2]), r": classes\[0\] is 2; it must be an integer from 0 to 1"),
        ((IMAGE, BOX, ["kite"]), r": classes must be numbers \(indices into the class names\): .*'kite'"),
    ],
)
def test_an_item_that_cannot_be_used_is_named_by_its_index(item: Any, message: str) -> None:
    with pytest.raises(
        DataError, match=rf"^mine\[1\]{message}" if message.startswith(":") else rf"^mine\[1\] {message}"
    ):
        make_dataset([(IMAGE, BOX, [0]), item], NAMES, name="mine")


def test_boxes_of_which_clipping_or_float32_leaves_nothing_are_left_out() -> None:
    boxes = [[64, 1, 64.04, 4], *BOX, [40, 1, 40 + 1e-7, 4]]
    (record,) = make_dataset([(IMAGE, boxes, [0, 1, 0])], NAMES).records
    assert (record.boxes.tolist(), record.classes.tolist()) == (BOX, [1])


def test_an_item_that_raises_is_named_by_its_index() -> None:
    class Failing(list):
        def __getitem__(self, index: Any) -> Any:
            raise OSError("disk on fire")

    with pytest.raises(DataError, match=r"^items\[0\] raised OSError: disk on fire"):
        make_dataset(Failing([1]), NAMES)


def test_an_object_without_a_length_is_refused() -> None:
    with pytest.raises(DataError, match="a generator has no __len__. Pass a list"):
        make_dataset((one for one in [(IMAGE, BOX, [0])]), NAMES)


@pytest.mark.parametrize("names", ["kite", [], ["kite", "kite"]])
def test_class_names_must_be_a_list_of_different_names(names: Any) -> None:
    with pytest.raises(DataError, match="class_names must be a list of different names"):
        make_dataset([(IMAGE, BOX, [0])], names)


def test_objects_that_cannot_be_sent_to_loading_processes_are_refused() -> None:
    class Local(list):
        pass

    dataset = make_dataset(Local([(IMAGE, BOX, [0])]), NAMES, name="mine")
    check_archives(dataset, 0)
    with pytest.raises(ConfigError, match=r"the dataset mine cannot be sent to .*--data.num-workers 2.*top level"):
        check_archives(dataset, 2)


def test_classes_are_selected_and_there_must_be_something_to_train_on() -> None:
    dataset = yolox_jax.make_dataset([(IMAGE, [*BOX, *BOX], [0, 1])], NAMES)
    apples = use_dataset(dataset, DataConfig(classes=("apple",)), "train", argument="train_set")
    assert apples.class_names == ("apple",) and apples.records[0].classes.tolist() == [0]
    with pytest.raises(DataError, match=r"the only training image has no box \(train_set\)"):
        use_dataset(make_dataset([(IMAGE, [], [])], NAMES), DataConfig(), "train", argument="train_set")
    with pytest.raises(DataError, match=r"no training images: items lists none \(train_set\)"):
        use_dataset(make_dataset([], NAMES), DataConfig(), "train", argument="train_set")
    assert (
        "AP is undefined"
        in use_dataset(make_dataset([(IMAGE, [], [])], NAMES), DataConfig(), "val", argument="val_set").warnings[0]
    )
