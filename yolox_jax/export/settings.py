"""What an exported network is set to, the same for every format."""

import dataclasses
import importlib.metadata
import json

from yolox_jax.config import STRIDE, ConfigError
from yolox_jax.data.letterbox import PADDING
from yolox_jax.detector_settings import check_precision, check_thresholds
from yolox_jax.models.yolox import YOLOX


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """Fixed in the file: its shapes, and what becomes a detection.

    Raises:
        ConfigError: one of them cannot work.
    """

    class_names: tuple[str, ...]
    """One a class."""
    input_size: tuple[int, int]
    """Height and width in px, multiples of 32."""
    precision: str = "float32"
    """What the network computes in; boxes and scores are float32."""
    batch: int | None = None
    """Images a call; None for any number."""
    nms: bool = True
    """Non-maximum suppression inside; without it the file gives the decoded prediction of every anchor."""
    score_threshold: float = 0.25
    """Detections below this are dropped."""
    iou_threshold: float = 0.45
    """Of two boxes that overlap more than this, the better is kept."""
    class_agnostic: bool = False
    """Let boxes of different classes suppress each other."""
    max_detections: int = 300
    """Most detections an image, K: what the outputs are padded to."""

    def __post_init__(self) -> None:
        height, width = self.input_size
        if height < STRIDE or width < STRIDE or height % STRIDE or width % STRIDE:
            raise ConfigError(f"input size {height} x {width}: height and width must be multiples of {STRIDE} px")
        check_precision(self.precision)
        check_thresholds(self.score_threshold, self.iou_threshold)
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch {self.batch}: it is at least 1, or left out for any number of images")
        if self.max_detections < 1:
            raise ConfigError(f"most detections {self.max_detections}: at least 1")

    def metadata(self, model: YOLOX) -> dict[str, str]:
        """What a program that runs the file has to know, as it is stored there: plain text or JSON."""
        suppression = {
            "score_threshold": json.dumps(self.score_threshold),
            "iou_threshold": json.dumps(self.iou_threshold),
            "class_agnostic": json.dumps(self.class_agnostic),
            "max_detections": json.dumps(self.max_detections),
        }
        return {
            "variant": model.variant,
            "class_names": json.dumps(list(self.class_names), ensure_ascii=False),
            "input_size": json.dumps(list(self.input_size)),
            "channel_order": "BGR",
            "padding": json.dumps(PADDING),
            "precision": self.precision,
            "nms": json.dumps(self.nms),
            **(suppression if self.nms else {}),
            "producer": f"yolox-jax {_version()}",
        }


def _version() -> str:
    try:
        return importlib.metadata.version("yolox-jax")
    except importlib.metadata.PackageNotFoundError:  # a checkout on the path
        return "(not installed)"
