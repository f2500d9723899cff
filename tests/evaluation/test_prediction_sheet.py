import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from scored_sets import make_dataset, result_of
from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation import evaluate_results
from yolox_jax.evaluation.prediction_sheet import COLUMNS, SCORE_THRESHOLD, SIDE_PX, draw_prediction_sheet

BOX = [10.0, 20.0, 100.0, 120.0]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Six grey images with one object each."""
    dataset = make_dataset({image_id: [(0, BOX)] for image_id in range(6)})
    records = [dataclasses.replace(record, path=tmp_path / f"{record.image_id}.png") for record in dataset.records]
    for record in records:
        cv2.imwrite(str(record.path), np.full((record.height, record.width, 3), 90, np.uint8))
    return dataclasses.replace(dataset, records=tuple(records))


def test_images_stand_in_rows_and_those_that_cannot_be_read_are_left_out(dataset):
    evaluation = evaluate_results(dataset, [])
    sheet = draw_prediction_sheet(dataset, evaluation, count=6)
    cell = draw_prediction_sheet(dataset, evaluation, count=1)
    assert cell.shape[0] > 2 * SIDE_PX
    assert sheet.shape == (2 * cell.shape[0], COLUMNS * cell.shape[1], 3)
    for record in dataset.records[:2]:
        record.path.write_bytes(b"no image")
    assert draw_prediction_sheet(dataset, evaluation, count=6).shape == (cell.shape[0], COLUMNS * cell.shape[1], 3)
    for record in dataset.records:
        record.path.write_bytes(b"no image")
    assert draw_prediction_sheet(dataset, evaluation, count=6) is None


def test_predictions_are_drawn_below_from_the_threshold_on_even_without_bounds(dataset):
    def lower_half(*results: dict) -> np.ndarray:
        sheet = draw_prediction_sheet(dataset, evaluate_results(dataset, results), count=1)
        return sheet[len(sheet) // 2 :]

    nothing = lower_half()
    sure, unsure = (result_of(0, 0, BOX, SCORE_THRESHOLD + shift) for shift in (0.01, -0.01))
    np.testing.assert_array_equal(lower_half(unsure), nothing)
    assert (lower_half(sure) != nothing).any()
    assert (lower_half({**sure, "bbox": [0.0, 0.0, 1e39, 1e39]}) != nothing).any()
