"""What the runners of all formats share: from images to detections, around the network that a runtime runs.

Copy this file beside the runner, as `yolox-jax export --runner` does. It therefore imports nothing from its package,
and needs only numpy and opencv-python.
"""

import argparse
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np


class ModelFileError(ValueError):
    """The file cannot be run. The message says why and what to do."""


class ExportedDetector(ABC):
    """Finds objects in images of any size with a network from an exported file.

    Attributes:
        metadata: what the file says about itself: the values below, precision, and more.
        class_names: one per class.
        input_size: height and width of the network input in px.
        score_threshold: lowest score of a detection.
        iou_threshold: largest IoU of two detections of one class.
        class_agnostic: whether boxes of different classes suppress each other too.
        max_detections: most detections per image.
        channels: number of channels of the images.
        dtype: type of their values, uint8 or uint16.
    """

    def __init__(self, path: str | Path, metadata: Mapping[str, str]) -> None:
        """Read the settings from the metadata of a file.

        Raises:
            ModelFileError: yolox_jax did not export the file.
        """
        self.metadata = dict(metadata)
        try:
            self.class_names: list[str] = json.loads(metadata["class_names"])
            self.input_size: tuple[int, int] = tuple(json.loads(metadata["input_size"]))
            self.score_threshold: float = json.loads(metadata["score_threshold"])
            self.iou_threshold: float = json.loads(metadata["iou_threshold"])
            self.class_agnostic: bool = json.loads(metadata["class_agnostic"])
            self.max_detections: int = json.loads(metadata["max_detections"])
            self.channels: int = json.loads(metadata["channels"])
            self.dtype = np.dtype(f"uint{metadata['bits']}")
            self._padding: int = json.loads(metadata["padding"])
        except KeyError as error:
            raise ModelFileError(
                f"{path} was not exported by yolox_jax: its metadata has no {error.args[0]!r}. Export the weights with "
                "yolox_jax.export"
            ) from error

    @abstractmethod
    def detect(self, letterboxed: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Detect objects in an image of the size of the network input.

        Args:
            letterboxed: [height, width, channels].
            ratio: what its sides were scaled by.

        Returns:
            As a call does, in pixels of the image before it was scaled.
        """

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
            order = " in BGR order, as cv2.imread returns it" if self.channels == 3 else ""
            raise ValueError(
                f"an image must be a {self.dtype} array [height, width, {self.channels}]{order}; got "
                f"{image.dtype} {list(image.shape)}"
            )
        letterboxed, ratio = letterbox(image, self.input_size, self._padding)
        boxes, scores, classes = self.detect(letterboxed, ratio)
        bounded = np.isfinite(boxes).all(axis=1)  # weights of a run that diverged can give infinite boxes
        return boxes[bounded], scores[bounded], classes[bounded]

    def suppress(self, predictions: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Greedy non-maximum suppression, for files that return the predictions of all anchors.

        Args:
            predictions: [A, 5 + C]: centre x, centre y, width and height in pixels of the network input, then
                objectness and class probabilities.
            ratio: what the sides of the image were scaled by.

        Returns:
            As `detect` does.
        """
        scores = predictions[:, 4] * predictions[:, 5:].max(axis=1)
        good = scores >= np.float32(self.score_threshold)
        predictions, scores = predictions[good], scores[good]
        classes = predictions[:, 5:].argmax(axis=1).astype(np.int32)
        centres, halves = predictions[:, :2], predictions[:, 2:4] / 2
        boxes = np.concatenate([centres - halves, centres + halves], axis=1)
        left = np.argsort(-scores, kind="stable")
        kept: list[int] = []
        while len(left) and len(kept) < self.max_detections:
            best, left = left[0], left[1:]
            kept.append(best)
            beaten = overlap(boxes[best], boxes[left]) > np.float32(self.iou_threshold)
            if not self.class_agnostic:
                beaten &= classes[left] == classes[best]
            left = left[~beaten]
        return boxes[kept] / np.float32(ratio), scores[kept], classes[kept]


def letterbox(image: np.ndarray, size: tuple[int, int], padding: int) -> tuple[np.ndarray, float]:
    """Scale an image to fit `size` (height, width), and pad it at the right or the bottom.

    Returns:
        The result, and the ratio of new to old sides, which boxes detected in the result are divided by.
    """
    height, width = image.shape[:2]
    ratio = min(size[0] / height, size[1] / width)
    # A very long image would otherwise get a side of 0 px.
    height, width = max(int(height * ratio), 1), max(int(width * ratio), 1)
    if (height, width) != image.shape[:2]:
        # OpenCV drops a single channel.
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, -1)
    canvas = np.full((*size, image.shape[2]), padding, image.dtype)
    canvas[:height, :width] = image
    return canvas, ratio


def read_image(path: str | Path, channels: int, dtype: np.dtype) -> np.ndarray | None:
    """Read an image file as a network takes it: .npy, a stack of TIFF pages, or what cv2.imread reads; None if broken.

    Of colours, a network for one channel gets the grey levels. Values of 8 bits are scaled to 16.
    """
    if Path(path).suffix == ".npy":
        try:
            image = np.load(path, allow_pickle=False)
        except (ValueError, EOFError):
            return None
    elif channels in (1, 3):
        flags = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
        image = cv2.imread(str(path), flags if dtype == np.uint8 else flags | cv2.IMREAD_ANYDEPTH)
    else:
        pages = cv2.imreadmulti(str(path), flags=cv2.IMREAD_UNCHANGED)[1]
        image = np.dstack(pages) if pages else None
    if image is None:
        return None
    image = image if image.ndim == 3 else image[..., None]
    return image.astype(dtype) * dtype.type(257) if (image.dtype, dtype) == (np.uint8, np.uint16) else image


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box [4] with others [N, 4]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.where((sides > 0).all(axis=1), sides[:, 0] * sides[:, 1], np.float32(0))
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union = (box[2] - box[0]) * (box[3] - box[1]) + areas - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def draw(
    image: np.ndarray, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Draw boxes, class names and scores on a copy of an image, of more than three channels on the first three."""
    canvas = (image if image.dtype == np.uint8 else image // 257).astype(np.uint8)
    canvas = np.ascontiguousarray(canvas[..., :3] if image.shape[2] >= 3 else canvas[..., [0, 0, 0]])
    thickness = max(1, round(min(image.shape[:2]) / 270))
    scale = max(0.4, min(image.shape[:2]) / 1000)
    limits = [image.shape[1], image.shape[0]] * 2
    for index in reversed(range(len(boxes))):  # the best one on top
        x1, y1, x2, y2 = np.clip(boxes[index], 0, limits).round().astype(int).tolist()
        hue = int(classes[index]) * 111 % 180  # a golden angle keeps the hues of classes apart
        colour = cv2.cvtColor(np.array([[[hue, 220, 255]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0].tolist()
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness)
        text = f"{class_names[classes[index]]} {scores[index]:.2f}"
        (width, height), descent = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        left, top = max(min(x1, image.shape[1] - width), 0), max(y1 - height - descent, 0)
        cv2.rectangle(canvas, (left, top), (left + width, top + height + descent), colour, cv2.FILLED)
        bright = np.dot(colour, (0.114, 0.587, 0.299)) > 110  # luma
        paint = (0, 0, 0) if bright else (255, 255, 255)
        cv2.putText(canvas, text, (left, top + height), cv2.FONT_HERSHEY_SIMPLEX, scale, paint, 1, cv2.LINE_AA)
    return canvas


def metadata_beside(path: str | Path) -> dict[str, str]:
    """The metadata of a file of a format that has no place for them: NAME.json beside it.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFileError: there is none beside it, or none that can be read.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    beside = Path(path).with_suffix(".json")
    try:
        return json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFileError(f"{path} needs {beside.name} beside it, which yolox-jax export wrote with it") from error
    except ValueError as error:
        raise ModelFileError(f"{beside} is damaged: {error}") from error


def command_line(suffix: str | None) -> argparse.ArgumentParser:
    """The arguments that the programs of all formats have: `model`, `image` and `output`.

    Args:
        suffix: of the files; None for a program that asks a server.
    """
    parser = argparse.ArgumentParser(description="Detects objects in an image with an exported YOLOX network.")
    address = "address of the model, such as http://localhost:8000/v2/models/yolox_s"
    parser.add_argument("model", help=f"the {suffix} file" if suffix else address)
    parser.add_argument("image", help="an image file")
    parser.add_argument("--output", help="where to save the image with the detections drawn")
    return parser


def run(options: argparse.Namespace, open_model: Callable[[], ExportedDetector]) -> int:
    """Print the detections in an image, and optionally draw them. Returns the exit code.

    Args:
        options: from `command_line`.
        open_model: opens the file.
    """
    if options.output is not None and not cv2.haveImageWriter(options.output):
        print(f"--output {options.output} must be the name of an image file, such as drawn.jpg", file=sys.stderr)
        return 2
    if not Path(options.image).is_file():
        print(f"{options.image} is missing", file=sys.stderr)
        return 2
    try:
        detector = open_model()
    except ModuleNotFoundError as error:
        print(f"{error}. Install it with: pip install {error.name}", file=sys.stderr)
        return 2
    except (FileNotFoundError, ModelFileError) as error:
        print(error, file=sys.stderr)
        return 2
    image = read_image(options.image, detector.channels, detector.dtype)
    if image is None:
        print(f"{options.image} is not an image that can be read", file=sys.stderr)
        return 2
    try:
        boxes, scores, classes = detector(image)
    except ValueError as error:
        print(f"{options.image}: {error}", file=sys.stderr)
        return 2
    for box, score, index in zip(boxes, scores, classes, strict=True):
        print(f"{detector.class_names[index]} {score:.3f} " + " ".join(f"{edge:.1f}" for edge in box))
    if options.output is not None:
        drawn = draw(image, boxes, scores, classes, detector.class_names)
        if not cv2.imwrite(options.output, drawn):
            print(f"{options.output} cannot be written", file=sys.stderr)
            return 2
    return 0
