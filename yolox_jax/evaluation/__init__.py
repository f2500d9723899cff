"""Scores detections on a dataset, and analyses their errors."""

from yolox_jax.evaluation.api import evaluate, open_validation_data
from yolox_jax.evaluation.runner import Evaluation, evaluate_detector, evaluate_results

__all__ = ["Evaluation", "evaluate", "evaluate_detector", "evaluate_results", "open_validation_data"]
