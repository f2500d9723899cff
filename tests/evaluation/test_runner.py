import dataclasses
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compilations import count_compilations
from yolox_jax.config import AssignmentConfig, ConfigError, EvaluationConfig, LossConfig, ModelConfig
from yolox_jax.data import pipeline
from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.data.image import BrokenImage, load_image
from yolox_jax.data.letterbox import letterbox
from yolox_jax.data.sources.coco import read_coco
from yolox_jax.evaluation import gather, runner
from yolox_jax.evaluation.coco import FIGURES
from yolox_jax.evaluation.runner import Evaluation, evaluate_detector
from yolox_jax.evaluation.validation_loss import ValidationLoss
from yolox_jax.inference.detector import Detector
from yolox_jax.losses import detection_loss
from yolox_jax.models import create_model
from yolox_jax.structures import Targets

CONFIG = EvaluationConfig(batch_size=2, score_threshold=1e-9, max_detections=5)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(model=create_model("yolox_nano", 2), class_names=["a", "b"], input_size=(64, 64))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Five images of noise, one object each."""
    rng = np.random.default_rng(0)
    records, annotations = [], []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (40, 60, 3), np.uint8))
        box = np.array([[5, 5, 25, 35]], np.float32)
        records.append(Record(path, 100 + number, 40, 60, box, np.zeros(1, np.int32)))
        annotations.append(
            {
                "id": number + 1,
                "image_id": 100 + number,
                "category_id": 1,
                "bbox": [5, 5, 20, 30],
                "area": 600,
                "iscrowd": 0,
            }
        )
    return Dataset(
        name="noise",
        class_names=("a", "b"),
        category_ids=(1, 2),
        records=tuple(records),
        ground_truth={
            "images": [{"id": record.image_id, "height": 40, "width": 60} for record in records],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        },
        warnings=(),
    )


def test_every_image_is_evaluated_once_and_batches_of_any_filling_share_a_compilation(detector, dataset):
    evaluate_detector(detector, dataclasses.replace(dataset, records=dataset.records[:1]), CONFIG)
    progress: list[tuple[int, int]] = []
    with count_compilations() as compilations:
        evaluation = evaluate_detector(
            detector, dataset, CONFIG, on_progress=lambda done, total: progress.append((done, total))
        )
    assert compilations.count == 0
    assert progress == [(2, 5), (4, 5), (5, 5)]
    assert [result["image_id"] for result in evaluation.results] == np.repeat(np.arange(100, 105), 5).tolist()
    assert (evaluation.metrics.num_images, evaluation.metrics.num_detections) == (5, 25)


def test_losses_are_those_of_all_images_as_one_batch(dataset):
    """Whatever the batches, and without the padding of the last one."""
    model = create_model("yolox_nano", 2)
    model.eval()
    detector = Detector(model=model, class_names=["a", "b"], input_size=(64, 64))
    loss = ValidationLoss(dataset, LossConfig(), AssignmentConfig(), ModelConfig())
    losses = evaluate_detector(detector, dataset, CONFIG, loss=loss).losses

    images, ratios = zip(*(letterbox(load_image(record), (64, 64)) for record in dataset.records), strict=True)
    centre_and_size = np.array([15, 20, 20, 30]) * ratios[0]
    targets = Targets(
        jnp.tile(jnp.asarray(centre_and_size, jnp.float32), (5, 1, 1)), jnp.zeros((5, 1), int), jnp.ones((5, 1), bool)
    )
    whole = jax.jit(lambda images: detection_loss(model(images), targets, image_size=(64, 64), l1_weight=1.0))
    _, expected = whole(np.stack(images).astype(np.float32))
    assert losses is not None
    for name in ("iou", "objectness", "classification", "l1"):
        assert losses[name] == pytest.approx(float(expected[name]), rel=1e-4), name
    assert losses["loss"] == pytest.approx(losses["iou"] + losses["objectness"] + losses["classification"])


def test_images_are_loaded_by_as_many_threads_as_asked_for(detector, dataset, monkeypatch):
    pools: list[int] = []

    def pool(num_threads: int) -> ThreadPoolExecutor:
        pools.append(num_threads)
        return ThreadPoolExecutor(num_threads)

    monkeypatch.setattr(pipeline, "ThreadPoolExecutor", pool)
    evaluate_detector(detector, dataset, CONFIG, num_threads=3)
    assert pools == [3]


def test_a_broken_image_is_named_and_left_out_or_stops_the_evaluation(detector, dataset, caplog):
    dataset.records[3].path.write_bytes(b"no image")
    with caplog.at_level(logging.WARNING, logger="yolox_jax"):
        evaluation = evaluate_detector(detector, dataset, CONFIG, broken_images="skip")
    assert "3.png" in caplog.text
    assert evaluation.metrics.num_images == 4
    assert 103 not in {result["image_id"] for result in evaluation.results}
    with pytest.raises(BrokenImage, match=r"3\.png"):
        evaluate_detector(detector, dataset, CONFIG, broken_images="stop")


@pytest.mark.parametrize("num_processes", [2, 3, 7])
def test_processes_share_the_images_and_all_return_what_one_would(detector, dataset, monkeypatch, num_processes):
    dataset.records[1].path.write_bytes(b"no image")
    loss = ValidationLoss(dataset, LossConfig(), AssignmentConfig(), ModelConfig())
    alone = evaluate_detector(detector, dataset, CONFIG, loss=loss)
    given: list[list] = [[] for _ in range(num_processes)]
    progress: list[tuple[int, int]] = []

    def as_process(number: int, gather_rows: Callable) -> Evaluation:
        monkeypatch.setattr(jax, "process_index", lambda: number)
        monkeypatch.setattr(jax, "process_count", lambda: num_processes)
        monkeypatch.setattr(runner, "gather_rows", gather_rows)
        return evaluate_detector(
            detector, dataset, CONFIG, loss=loss, on_progress=lambda done, total: progress.append((done, total))
        )

    # Each process once to see what it gives to the others, then the first and the last with what all have given.
    for number in range(num_processes):

        def remember(rows, by=given[number]):
            by.append(rows)
            return rows

        as_process(number, remember)
    assert sum(total for done, total in progress if done == total) == 5
    together = [jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts) for parts in zip(*given, strict=True)]
    for number in (0, num_processes - 1):
        answers = iter(together)
        evaluation = as_process(number, lambda _, answers=answers: next(answers))
        assert evaluation.results == alone.results
        assert evaluation.metrics.num_images == alone.metrics.num_images == 4
        assert evaluation.losses == pytest.approx(alone.losses, rel=1e-6)


def test_rows_are_gathered_exactly_whatever_number_each_process_has(monkeypatch):
    """Three threads in place of processes, with an exchange of equal shapes in place of that of jax."""
    lengths = (2, 0, 3)
    rng = np.random.default_rng(0)
    parts = [(rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 2**31, n, np.int32)) for n in lengths]
    barrier, places, given = threading.Barrier(3), threading.local(), [None] * 3

    def exchange(tree):
        given[places.number] = tree
        barrier.wait(timeout=30)
        stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *given)
        barrier.wait(timeout=30)
        return stacked

    def as_process(number: int):
        places.number = number
        return gather.gather_rows(parts[number])

    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(gather, "process_allgather", exchange)
    with ThreadPoolExecutor(3) as pool:
        for floats, integers in pool.map(as_process, range(3)):
            np.testing.assert_array_equal(floats, np.concatenate([part[0] for part in parts]))
            np.testing.assert_array_equal(integers, np.concatenate([part[1] for part in parts]))
            assert (floats.dtype, integers.dtype) == (np.float32, np.int32)


def test_another_number_of_classes_is_refused_with_the_names_of_both(detector, dataset):
    other = dataclasses.replace(dataset, class_names=("x", "y", "z"), category_ids=(1, 2, 3))
    with pytest.raises(ConfigError, match=r"2 classes \(a, b\).*3 \(x, y, z\).*fine-tune"):
        evaluate_detector(detector, other, CONFIG)


def test_published_weights_give_the_published_detections(shared: Path):
    """AP and boxes of the original on 100 real images (`coco_val2017_100_nano_detections.npz`)."""
    reference = np.load(Path(__file__).parents[1] / "reference/coco_val2017_100_nano_detections.npz")
    folder = shared / "data/coco_val2017_100"
    dataset = read_coco(folder / "images", folder / "instances.json", setting="--data.val")
    detector = Detector("yolox_nano", weights=shared / "weights/yolox_nano.pth")
    config = EvaluationConfig(batch_size=20, score_threshold=0.01, iou_threshold=0.65)
    evaluation = evaluate_detector(detector, dataset, config)

    figures = evaluation.metrics.figures
    np.testing.assert_allclose([figures[name] for name in FIGURES], reference["stats"], atol=2e-3)
    assert figures["AP"] == pytest.approx(0.3096, abs=0.0005)
    assert len(evaluation.results) == pytest.approx(len(reference["detections"]), rel=0.002)
    assert _share_found(reference["detections"], _as_rows(evaluation.results, dataset)) > 0.998


def _as_rows(results: list[dict], dataset: Dataset) -> np.ndarray:
    """Columns of the reference: image_id, x1, y1, x2, y2, score, class_index."""
    rows = []
    for result in results:
        x, y, width, height = result["bbox"]
        class_index = dataset.category_ids.index(result["category_id"])
        rows.append([result["image_id"], x, y, x + width, y + height, result["score"], class_index])
    return np.array(rows)


def _share_found(expected: np.ndarray, found: np.ndarray) -> float:
    """Share of the expected rows with a found one of their image and class, within 0.5 px and a score of 0.005."""
    count = 0
    for row in expected:
        near = found[(found[:, 0] == row[0]) & (found[:, 6] == row[6])]
        same_box = (np.abs(near[:, 1:5] - row[1:5]) < 0.5).all(axis=1)
        count += bool((same_box & (np.abs(near[:, 5] - row[5]) < 0.005)).any())
    return count / len(expected)
