"""Quantises a float32 ONNX file with `onnxruntime.quantization`, which `int8.py` measures beside this code."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, quantize_static

from yolox_jax.data.pixel_format import BGR8
from yolox_jax.export.calibration_images import CalibrationImages
from yolox_jax.export.quantization import Quantization


class _Reader(CalibrationDataReader):
    """The calibration images as the library reads them."""

    def __init__(self, quantization: Quantization, size: tuple[int, int]) -> None:
        self._images = CalibrationImages(quantization).reader(BGR8, size)()

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"images": image[None], "ratios": np.ones(1, np.float32)}


def quantize_with_library(path: Path, quantization: Quantization, *, all_layers: bool) -> None:
    """Replace a file by its quantised form: convolutions in QDQ format, with percentile ranges and a scale per filter.

    Args:
        path: of a file from `yolox_jax.export`.
        quantization: the images, the percentile and, unless `all_layers`, the layers that stay in float.
        all_layers: quantise all convolutions but the last ones, as most users of the library do.
    """
    nodes = onnx.load(path).graph.node
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    last = [node.name for node in nodes if "preds" in node.name or not node.name.startswith(("backbone.", "head."))]
    excluded = last if all_layers else [*last, *(node.name for node in nodes if quantization.keeps(node.name))]
    quantize_static(
        path,
        path,
        _Reader(quantization, tuple(json.loads(metadata["input_size"]))),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        calibrate_method=CalibrationMethod.Percentile,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=excluded,
        extra_options={"CalibPercentile": quantization.percentile},
    )
