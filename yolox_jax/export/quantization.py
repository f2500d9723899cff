"""Settings of the quantisation to 8 bits: what stays in float, how activations get their ranges, and for which runtime.

Post-training quantisation as Jacob et al. describe it (https://arxiv.org/abs/1712.05877): weights in int8 with one
scale for each filter, activations in uint8 with one scale and zero point for each tensor.
"""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Literal

from yolox_jax.config import ConfigError

RangeMethod = Literal["percentile", "entropy", "minmax"]
QuantizedRuntime = Literal["onnxruntime", "openvino"]

FLOAT_LAYERS = (
    "backbone.backbone.stem",
    "backbone.backbone.dark2",
    "head.reg_obj_preds",
    "head.cls_preds",
    "head.reg_obj_cls_preds",
    "head.one_to_one",
    "decode",
)
"""What the names of layers in float begin with. The stem and the first stage, because the channels of their activations
differ most in range; the last convolutions and the decoding, because their outputs are the results."""
FEW_IMAGES = 16
"""With fewer images, a warning says that ranges may not hold for others."""


@dataclasses.dataclass(frozen=True)
class Quantization:
    """How a network is quantised.

    Raises:
        ConfigError: a setting is invalid.
    """

    calibrate: str | Path
    """Images such as the network will see, from which the ranges of activations are measured: a dataset, whose training
    split is used, or an image, a folder of images or a pattern."""
    num_images: int = 100
    """How many of them to use, spread evenly."""
    method: RangeMethod = "percentile"
    """What the range of an activation is. percentile: what holds `percentile` per cent of its values. entropy: the
    range whose quantised distribution diverges least from that of the values. minmax: all values."""
    percentile: float = 99.99
    """The values above the range and those below it are at most `100 - percentile` per cent each."""
    float_layers: tuple[str, ...] = FLOAT_LAYERS
    """Names of layers that stay in float, or what their names begin with: as in the weights, and `decode` for the
    decoding of boxes."""
    runtime: QuantizedRuntime = "onnxruntime"
    """The runtime that the file is fast in; both can run it. onnxruntime: all layers pass 8 bits to each other.
    openvino: only convolutions compute in 8 bits, on inputs quantised before them; OpenVINO fuses the rest."""

    def __post_init__(self) -> None:
        if self.num_images < 1:
            raise ConfigError(f"--calibration-images must be at least 1; got {self.num_images}")
        if not 50 < self.percentile <= 100:
            raise ConfigError(f"--calibration-percentile must be above 50 and at most 100; got {self.percentile:g}")

    def keeps(self, name: str) -> bool:
        """Whether the node of this name stays in float."""
        return any(name == layer or name.startswith(f"{layer}.") for layer in self.float_layers)

    def quantizes_decoding(self) -> bool:
        """Whether boxes are decoded in 8 bits too."""
        return self.runtime == "onnxruntime" and "decode" not in self.float_layers


def check_quantization(precision: str, format: str, quantization: Quantization | None) -> None:
    """Raise ConfigError unless a network is quantised if and only if the precision is int8, and it can be."""
    if precision != "int8":
        if quantization is not None:
            raise ConfigError("--calibrate applies only to --precision int8; add that, or leave --calibrate out")
        return
    if format != "onnx":
        raise ConfigError(
            f"--precision int8 needs --format onnx, for ONNX Runtime and OpenVINO; --format {format} has float32 and "
            "float16"
        )
    if quantization is None:
        raise ConfigError(
            "--precision int8 needs --calibrate with images such as the network will see, from which the ranges of "
            "activations are measured: a dataset, or a folder of images"
        )
    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigError("--precision int8 needs the package onnxruntime: pip install 'yolox-jax[onnx]'")
