"""Which of several evaluations counts as the best."""

from unittest.mock import Mock

import pytest
from flax import nnx

from scored_sets import make_dataset, result_of
from yolox_jax.config import Config, EvaluationConfig
from yolox_jax.evaluation.runner import evaluate_results
from yolox_jax.training import validation
from yolox_jax.training.checkpoints import Progress
from yolox_jax.training.reporting.console import TrainingConsole
from yolox_jax.training.run_directory import RunDirectory
from yolox_jax.training.step.state import TrainState
from yolox_jax.training.validation import Validator

BOX = [10.0, 10.0, 40.0, 40.0]
DATASET = make_dataset({1: [(0, BOX)], 2: [(1, BOX)]})
CAT, DOG, NO_DOG = (
    result_of(1, 0, BOX, 0.9),
    result_of(2, 1, [10.0, 10.0, 40.0, 25.0], 0.8),
    result_of(2, 1, [300, 300, 9, 9], 0.9),
)
EVALUATIONS = [[CAT, NO_DOG], [DOG], [CAT, NO_DOG]]
"""The cat found exactly and a false dog; the dog found roughly; the first again."""


@pytest.mark.parametrize(
    ("best_by", "best_epoch", "best_value", "since_best"),
    [("AP", 1, 0.5, 2), ("AP:dog", 2, 0.3, 1), ("recall@0.9", 2, 0.5, 1), ("AR_100", 1, 0.5, 2), ("F1", 2, 2 / 3, 1)],
)
def test_the_best_evaluation_is_that_with_the_largest_value_of_the_figure(
    best_by, best_epoch, best_value, since_best, tmp_path, monkeypatch
):
    evaluations = iter(EVALUATIONS)
    monkeypatch.setattr(validation, "averaged_model", Mock())
    monkeypatch.setattr(Validator, "_detector_of", Mock())
    monkeypatch.setattr(validation, "evaluate_detector", lambda *_, **__: evaluate_results(DATASET, next(evaluations)))
    config = Config(evaluation=EvaluationConfig(best_by=best_by, losses=False))
    validator = Validator(
        config, DATASET, Mock(spec=nnx.GraphDef), RunDirectory(tmp_path), None, Mock(spec=TrainingConsole)
    )
    progress = Progress()
    for epoch in (1, 2, 3):
        state = Mock(spec=TrainState, step=10 * epoch)
        progress, metrics = validator.validate(state, epoch, progress, on_progress=lambda: None)
        assert metrics.get("best_by", "AP") == best_by
        assert metrics[best_by] is not None
    assert (progress.best_epoch, progress.best_step) == (best_epoch, 10 * best_epoch)
    assert progress.best_value == pytest.approx(best_value)
    assert progress.evaluations_since_best == since_best
