"""Weights: files, the original's parameter names, loading and exporting."""

from yolox_jax.weights.description import describe
from yolox_jax.weights.errors import WeightsError
from yolox_jax.weights.files import WeightsFile, find_weights, read_weights, save_weights
from yolox_jax.weights.model import read_model
from yolox_jax.weights.published import published_weights, resolve
from yolox_jax.weights.transfer import LoadReport, export_state_dict, load_state_dict, load_weights

__all__ = [
    "LoadReport",
    "WeightsError",
    "WeightsFile",
    "describe",
    "export_state_dict",
    "find_weights",
    "load_state_dict",
    "load_weights",
    "published_weights",
    "read_model",
    "read_weights",
    "resolve",
    "save_weights",
]
