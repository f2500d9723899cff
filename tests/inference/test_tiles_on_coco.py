"""Tiles on real images: four images of COCO glued to one, in which all objects have the size that they have alone."""

from pathlib import Path

import pytest

from glued_images import single_and_glued
from published_nano import AP, IOU_THRESHOLD, MAX_DETECTIONS, SCORE_THRESHOLD, SIZE
from yolox_jax.config import EvaluationConfig
from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.runner import evaluate_detector
from yolox_jax.inference.detector import Detector


@pytest.mark.slow
def test_tiles_find_in_glued_images_what_is_found_in_each_alone(shared: Path, tmp_path: Path):
    single, glued = single_and_glued(shared / "data/coco_val2017_100", tmp_path, SIZE[0], columns=2)
    config = EvaluationConfig(
        batch_size=25,
        score_threshold=SCORE_THRESHOLD,
        iou_threshold=IOU_THRESHOLD,
        max_detections=MAX_DETECTIONS,
    )

    def ap(dataset: Dataset, **tiles) -> float:
        detector = Detector(weights=shared / "weights/yolox_nano.pth", input_size=SIZE, **tiles)
        return float(evaluate_detector(detector, dataset, config).metrics.figures["AP"] or 0.0)

    alone = ap(single)
    figures = {overlap: ap(glued, tile=SIZE[0], overlap=overlap) for overlap in (0.0, 0.2)}
    whole = ap(glued)
    print(f"alone {alone:.4f}, glued: without tiles {whole:.4f}, by overlap of tiles {figures}")
    assert alone == pytest.approx(AP, abs=0.001)
    assert whole < alone - 0.1
    for overlap, figure in figures.items():
        assert figure == pytest.approx(alone, abs=0.01), f"overlap {overlap}"
