"""Searches a dataset for suspect annotations with the weights of a detector."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from yolox_jax.config import Config
from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.api import evaluate
from yolox_jax.evaluation.results import ScoredBoxes
from yolox_jax.evaluation.suspects import LOWEST_DETECTION_SCORE, Suspect, find_suspects, usual_threshold


class Search(NamedTuple):
    """What was found in a dataset."""

    suspects: list[Suspect]
    """The most suspicious first."""
    found: ScoredBoxes
    """All detections."""
    image_ids: list[int]
    """The images that could be read."""
    score_threshold: float
    """Lowest score of a confident detection."""


def search_suspects(
    config: Config,
    weights: str | Path,
    dataset: Dataset,
    *,
    score_threshold: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Search:
    """Detect objects in all images of a dataset, and find the annotations that the detections contradict.

    Args:
        config: settings of the network, the data and the evaluation.
        weights: as for `evaluate`.
        dataset: the images and annotations.
        score_threshold: lowest score of a detection that may contradict an annotation; by default `usual_threshold`.
        on_progress: as for `evaluate`.

    Raises:
        ConfigError, DataError, FileNotFoundError, WeightsError, BrokenImage: as `evaluate`.
    """
    settings = dataclasses.replace(config.evaluation, score_threshold=LOWEST_DETECTION_SCORE, losses=False)
    config = dataclasses.replace(config, evaluation=settings)
    evaluation = evaluate(config, weights=weights, dataset=dataset, on_progress=on_progress)
    found, image_ids = evaluation.found, evaluation.image_ids
    if score_threshold is None:
        score_threshold = usual_threshold(dataset, found, image_ids=image_ids)
    suspects = find_suspects(dataset, found, image_ids=image_ids, score_threshold=score_threshold)
    return Search(suspects, found, image_ids, score_threshold)
