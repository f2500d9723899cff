"""Runs a YOLOX network that yolox_jax exported to StableHLO. Needs only jax, numpy, opencv-python and flatbuffers.

Copy this file to where the network is used. It therefore imports nothing from its package, and can be run as a program:

    python stablehlo_runner.py yolox_s.stablehlo street.jpg

    from stablehlo_runner import StablehloDetector
    detector = StablehloDetector("yolox_s.stablehlo")
    boxes, scores, classes = detector(cv2.imread("street.jpg"))
"""

import json
import sys
import zipfile
from pathlib import Path

import cv2
import jax
import jax.export
import numpy as np


class ModelFileError(ValueError):
    """The file cannot be run. The message says why and what to do."""


class StablehloDetector:
    """Finds objects in images of any size.

    Attributes:
        metadata: what the file says about itself: precision, thresholds, and more.
        class_names: one per class.
        input_size: height and width of the network input in px.
        channels: number of channels of the images.
        dtype: type of their values, uint8 or uint16.
    """

    def __init__(self, path: str | Path) -> None:
        """Load a file.

        Raises:
            FileNotFoundError: the file does not exist.
            ModelFileError: yolox_jax did not export the file, this version of jax cannot run it, or it was exported
                without non-maximum suppression.
        """
        try:
            with zipfile.ZipFile(path) as file:
                self.metadata: dict[str, str] = json.loads(file.read("metadata.json"))
                program = jax.export.deserialize(bytearray(file.read("detect.bin")))
        except (zipfile.BadZipFile, KeyError) as error:  # of the archive, which misses a part
            raise ModelFileError(f"{path} was not exported by yolox_jax, or is damaged: {error.args[0]}") from error
        except ValueError as error:
            raise ModelFileError(f"{path} cannot be run by jax {jax.__version__}: {error}") from error
        if self.metadata["output"] != "detections":
            raise ModelFileError(f"{path} holds the predictions of all anchors. Export it without --no-nms")
        self.class_names: list[str] = json.loads(self.metadata["class_names"])
        self.input_size: tuple[int, int] = tuple(json.loads(self.metadata["input_size"]))
        self._padding: int = json.loads(self.metadata["padding"])
        batch, _, _, self.channels = program.in_avals[0].shape
        self.dtype = np.dtype(program.in_avals[0].dtype)
        self._batch_size = batch if isinstance(batch, int) else 1
        self._detect = jax.jit(program.call)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Detect objects in an image.

        Args:
            image: uint8 [H, W, 3] in BGR order, as cv2.imread returns it, or of the `channels` and `dtype` of the
                network.

        Returns:
            Boxes [N, 4] (x1, y1, x2, y2 in pixels of the image; they can reach beyond it), scores [N] and class indices
            [N], best first.

        Raises:
            ValueError: the image has another type or shape.
        """
        if image.dtype != self.dtype or image.ndim != 3 or image.shape[2] != self.channels or image.size == 0:
            raise ValueError(
                f"an image must be a {self.dtype} array [height, width, {self.channels}], colours in BGR order; "
                f"got {image.dtype} {list(image.shape)}"
            )
        height, width = image.shape[:2]
        ratio = min(self.input_size[0] / height, self.input_size[1] / width)
        height, width = max(int(height * ratio), 1), max(int(width * ratio), 1)
        canvas = np.full((*self.input_size, self.channels), self._padding, self.dtype)
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        canvas[:height, :width] = resized.reshape(height, width, -1)  # OpenCV drops a single channel
        images = np.repeat(canvas[None], self._batch_size, axis=0)
        found = jax.device_get(self._detect(images, np.full(self._batch_size, ratio, np.float32)))
        boxes, scores, classes = (found[name][0, : found["count"][0]] for name in ("boxes", "scores", "classes"))
        bounded = np.isfinite(boxes).all(axis=1)  # weights of a run that diverged can give infinite boxes
        return boxes[bounded], scores[bounded], classes[bounded]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python stablehlo_runner.py MODEL.stablehlo IMAGE")
    detector, pixels = StablehloDetector(sys.argv[1]), cv2.imread(sys.argv[2])
    if pixels is None:
        raise SystemExit(f"{sys.argv[2]} is missing, or not an image that OpenCV can read")
    if (detector.channels, detector.dtype) != (3, np.uint8):
        raise SystemExit(f"{sys.argv[1]} takes images of another format: use StablehloDetector from Python")
    for box, score, index in zip(*detector(pixels), strict=True):
        print(f"{detector.class_names[index]} {score:.3f} " + " ".join(f"{edge:.1f}" for edge in box))
