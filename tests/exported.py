"""ONNX files for tests."""

from pathlib import Path
from typing import Any

from yolox_jax.export import onnx
from yolox_jax.export.settings import ExportSettings
from yolox_jax.models import YOLOX


def export_onnx(
    model: YOLOX, path: Path, *, class_names: list[str] | tuple[str, ...], opset: int = onnx.OPSET, **settings: Any
) -> Path:
    """Write a file with settings that are given one by one."""
    return onnx.export_onnx(model, path, ExportSettings(class_names=tuple(class_names), **settings), opset=opset)
