"""Settings of an export, the same for every format."""

import dataclasses
import json
from typing import NamedTuple

from yolox_jax.config import ConfigError
from yolox_jax.config.inference_checks import (
    check_class_names,
    check_input_size,
    check_precision,
    check_suppression,
    check_thresholds,
)
from yolox_jax.data.letterbox import padding_of
from yolox_jax.data.pixel_format import PixelFormat
from yolox_jax.files import package_version
from yolox_jax.models.yolox import YOLOX


class Suppression(NamedTuple):
    """Settings of `yolox_jax.postprocess.postprocess`, constant in the file."""

    score_threshold: float
    iou_threshold: float
    class_agnostic: bool
    max_detections: int


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """Shapes, precision and thresholds, which are constant in the file.

    Raises:
        ConfigError: a setting is invalid.
    """

    class_names: tuple[str, ...]
    """One name per class."""
    input_size: tuple[int, int]
    """Height and width in px, multiples of the largest stride of the network."""
    bits: int = 8
    """Bits of the values of images, 8 or 16."""
    precision: str = "float32"
    """Compute precision of the network, or int8 (ONNX only) if it is quantised. Boxes and scores are float32."""
    batch: int | None = None
    """Images per call; None for any number."""
    nms: bool | None = None
    """None: the file returns detections, with non-maximum suppression unless the network is end-to-end. True: the same,
    and the network must not be end-to-end. False: the file returns the decoded predictions of all anchors."""
    score_threshold: float = 0.25
    """Detections below this are dropped."""
    iou_threshold: float = 0.45
    """Of two boxes that overlap more than this, the better one is kept."""
    class_agnostic: bool = False
    """Let boxes of different classes suppress each other."""
    max_detections: int = 1000
    """Most detections per image, K. The outputs are padded to this number."""

    def __post_init__(self) -> None:
        check_input_size(self.input_size)
        check_precision(self.float_precision)
        check_thresholds(self.score_threshold, self.iou_threshold)
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch must be at least 1, or None for any number of images; got {self.batch}")
        if self.max_detections < 1:
            raise ConfigError(f"max_detections must be at least 1; got {self.max_detections}")

    @property
    def float_precision(self) -> str:
        """What is computed in that is not quantised."""
        return "float32" if self.precision == "int8" else self.precision

    @property
    def detections(self) -> bool:
        """Whether the file returns detections, not the predictions of all anchors."""
        return self.nms is not False

    @property
    def suppression(self) -> Suppression:
        """Settings of the non-maximum suppression."""
        return Suppression(self.score_threshold, self.iou_threshold, self.class_agnostic, self.max_detections)

    def pixels(self, model: YOLOX) -> PixelFormat:
        """The format of the images that the file takes."""
        return PixelFormat(model.channels, self.bits)

    def check(self, model: YOLOX) -> None:
        """Raise ConfigError if the class names or the size do not suit the model, or it needs no suppression."""
        check_input_size(self.input_size, model.strides[-1])
        check_class_names(self.class_names, model.num_classes)
        check_suppression(self.nms or None, end_to_end=model.end_to_end)

    def metadata(self, model: YOLOX) -> dict[str, str]:
        """Metadata to store in the file for the programs that run it, as plain text or JSON.

        If the file returns the predictions of all anchors, the thresholds are those that the program should apply.
        """
        suppression = self.suppression
        if model.end_to_end:  # no IoU is above 1: a program that suppresses keeps all predictions
            suppression = suppression._replace(iou_threshold=1.0)
        return {
            "output": "detections" if self.detections else "predictions",
            "variant": model.variant,
            "class_names": json.dumps(list(self.class_names), ensure_ascii=False),
            "input_size": json.dumps(list(self.input_size)),
            "layout": "NHWC",
            "channels": json.dumps(model.channels),
            "bits": json.dumps(self.bits),
            "colour_order": {1: "grey", 3: "BGR"}.get(model.channels, "as in the training images"),
            "padding": json.dumps(padding_of(self.pixels(model).dtype)),
            **{name: json.dumps(value) for name, value in suppression._asdict().items()},
            "precision": self.precision,
            "producer": f"yolox_jax {package_version()}",
        }
