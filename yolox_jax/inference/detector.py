"""The Python interface for inference: a network with its weights, thresholds and class names."""

import contextlib
import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import jax
import numpy as np
import PIL.Image
from jaxtyping import Array, Float, UInt8

from yolox_jax.config import ConfigError
from yolox_jax.config.inference_checks import check_counts, check_precision, check_scales, check_thresholds
from yolox_jax.data.image import BrokenImage
from yolox_jax.data.letterbox import letterbox
from yolox_jax.inference.detect import Thresholds, test_time_views
from yolox_jax.inference.image_detections import ImageDetections, no_detections, unpack_detections
from yolox_jax.inference.input.frames import Frame, Frames, holds_several, is_endless, open_frames
from yolox_jax.inference.input.images import Image, to_bgr_array
from yolox_jax.inference.network import InferenceNetwork
from yolox_jax.inference.options import class_indices, resolve_class_names, resolve_input_size, resolve_network
from yolox_jax.models.yolox import YOLOX
from yolox_jax.structures import Detections

logger = logging.getLogger(__name__)


class Detector:
    """Detects objects in images of any size.

    >>> detector = Detector("yolox_nano")  # doctest: +SKIP
    >>> print(detector("street.jpg"))  # doctest: +SKIP

    The network, decoding and non-maximum suppression are one jitted call, compiled once per batch shape. With several
    devices, each processes its share of the batch. A detector may be called from several threads.
    """

    def __init__(
        self,
        variant: str | None = None,
        *,
        weights: str | Path | None = None,
        model: YOLOX | None = None,
        class_names: Sequence[str] | None = None,
        input_size: tuple[int, int] | None = None,
        score_threshold: float = 0.25,
        iou_threshold: float = 0.45,
        class_agnostic: bool = False,
        keep_classes: Sequence[str | int] | None = None,
        max_detections: int = 1000,
        precision: str = "float32",
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        batch_size: int = 8,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        """Load the network from a weights file or take it from a live model.

        Args:
            variant: one of the seven variants; by default inferred from the weights.
            weights: a .pth, .safetensors or .npz file, a run directory, or the name of published weights; by default
                those of `variant`. Published weights are downloaded on first use (see `yolox_jax.weights.published`).
            model: a live model in place of `weights`. The detector keeps a copy with batch norm folded (see `update`).
            class_names: one per class; by default those stored with the weights, else COCO's for 80 classes.
            input_size: height and width of the network input in px, multiples of 32; by default the one stored with
                the weights, else the variant's published one.
            score_threshold: detections with a lower score are dropped.
            iou_threshold: of two boxes that overlap more than this, non-maximum suppression keeps the better.
            class_agnostic: let boxes of different classes suppress each other.
            keep_classes: names or indices of the classes to detect; by default all.
            max_detections: maximum number of detections per image.
            precision: type the network computes in: float32, bfloat16 or float16. Boxes and scores are float32.
            flip: test-time augmentation: also run on each image mirrored. Takes twice the time.
            scales: test-time augmentation: run on each image at these factors of the input size.
            batch_size: images per call of the network when a list is given.
            devices: split each batch over these devices of this process; by default the first one.

        Raises:
            ConfigError: the variant contradicts the weights, the number of class names differs from the number of
                classes, or a size, class or threshold is out of range.
        """
        check_thresholds(score_threshold, iou_threshold)
        check_counts(batch_size, max_detections)
        check_precision(precision)
        check_scales(scales)
        model, metadata = resolve_network(variant, weights, model)
        self.variant = model.variant
        self.class_names = resolve_class_names(class_names, metadata, model.num_classes)
        self.input_size = resolve_input_size(input_size, metadata, model.variant)
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.class_agnostic = class_agnostic
        self.max_detections = max_detections
        self.precision = precision
        self.batch_size = batch_size
        views = test_time_views(self.input_size, scales, flip=flip)
        self.image_size = views[0].size
        """Height and width in px that images are letterboxed to: those of the largest scale."""
        keep = np.zeros(model.num_classes, bool)
        keep[class_indices(keep_classes, self.class_names)] = True
        self.network = InferenceNetwork(
            model,
            views if len(views) > 1 else (),
            precision,
            jax.local_devices()[:1] if devices is None else devices,
        )
        """The prepared network on its devices."""
        self._keep_classes = self.network.replicate(keep)

    def update(self, model: YOLOX) -> None:
        """Copy the current weights of a model of the same architecture, for example one in training.

        Nothing is recompiled. The weights may be on any device, or replicated over the devices of several processes.

        Raises:
            ValueError: the variant or the number of classes differs.
        """
        self.network.update(model)

    def warm_up(self, *batch_sizes: int) -> float:
        """Compile for the given batch sizes and run each once; without it, the first call of each shape compiles.

        Args:
            batch_sizes: by default 1, for single images, and `batch_size`, for lists.

        Returns:
            The seconds it took.
        """
        start = time.perf_counter()
        for batch_size in {self.network.fitting_batch_size(size) for size in batch_sizes or (1, self.batch_size)}:
            images = np.zeros((batch_size, *self.image_size, 3), np.uint8)
            jax.block_until_ready(self.detect_batch(images, np.ones(batch_size, np.float32)))
        return time.perf_counter() - start

    def detect_batch(
        self,
        images: UInt8[np.ndarray | Array, "B H W 3"],
        ratios: Float[np.ndarray | Array, " B"],
        *,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
    ) -> Detections:
        """Detect objects in a batch of letterboxed images, without waiting for the device.

        Args:
            images: BGR, letterboxed to one size, sides multiples of 32 px; the devices must divide their number.
            ratios: the factor by which letterboxing scaled each image.
            score_threshold: overrides the detector's setting.
            iou_threshold: overrides the detector's setting.
            max_detections: overrides the detector's setting.

        Returns:
            Detections with boxes in pixels of the original images, not clipped to them (docs/yolox.md, 9.2), sharded
            over the devices.

        Raises:
            ValueError: the devices do not divide the batch.
        """
        detections, _ = self.network.detect(
            images,
            ratios,
            self.thresholds(score_threshold, iou_threshold),
            max_detections=self.max_detections if max_detections is None else max_detections,
        )
        return detections

    def thresholds(self, score_threshold: float | None = None, iou_threshold: float | None = None) -> Thresholds:
        """The detector's settings of non-maximum suppression, with other thresholds where given."""
        return Thresholds(
            self.score_threshold if score_threshold is None else score_threshold,
            self.iou_threshold if iou_threshold is None else iou_threshold,
            self.class_agnostic,
            self._keep_classes,
        )

    @overload
    def __call__(self, images: Image) -> ImageDetections: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, images: Sequence[Image]) -> list[ImageDetections]: ...
    def __call__(self, images: Image | int | Sequence[Image]) -> ImageDetections | list[ImageDetections]:
        """Detect objects in one image or in several.

        Args:
            images: a uint8 [H, W, 3] array in BGR order, a PIL image, the path of an image file, or a list of these; or
                a folder, a pattern such as `photos/*.jpg`, or a video. `stream` reads the latter without keeping all
                detections in memory.

        Returns:
            The detections of the image, or a list with those of each image or frame. In a list, an image that cannot
            be read has no detections, and its `error` says why.

        Raises:
            ValueError: an array is not a uint8 BGR image.
            yolox_jax.data.image.BrokenImage: a single file cannot be read.
            ConfigError: a folder holds no images, a pattern matches none, a video cannot be opened, or the source is
                endless, such as a camera.
        """
        if isinstance(images, int) or (isinstance(images, str | Path) and is_endless(images)):
            raise ConfigError(f"{images} is an endless source; iterate over detector.stream({images!r}) instead.")
        if isinstance(images, str | Path) and holds_several(images):
            return [detections for _, detections in self.stream(images)]
        if isinstance(images, np.ndarray | PIL.Image.Image | str | Path):
            return self._detect_padded([to_bgr_array(images)], 1)[0]
        detections: list[ImageDetections] = []
        for start in range(0, len(images), self.batch_size):
            detections += self._detect_readable(images[start : start + self.batch_size])
        return detections

    def stream(self, source: str | Path | int | Frames) -> Iterator[tuple[Frame, ImageDetections]]:
        """Detect objects frame by frame, while the next frames are read.

        Args:
            source: a folder, a pattern, a video, the number of a camera, the address of a stream, or `Frames` that
                `yolox_jax.inference.input.frames.open_frames` returned. From cameras and streams, only the newest frame
                is processed each time.

        Yields:
            Each frame with its detections, in order. Those of an image that cannot be read have an `error`.

        Raises:
            ConfigError: the source cannot be opened, or reading it fails; the frames before are yielded first.
        """
        opened = source if isinstance(source, Frames) else open_frames(source)
        batch_size = 1 if opened.is_live else self.batch_size
        with contextlib.closing(opened):
            pending: tuple[list[Frame], Detections | None] | None = None
            failure: ConfigError | None = None
            while failure is None:
                batch, failure = _read_batch(opened.frames, batch_size)
                if not batch:
                    break
                images = [frame.image for frame in batch if frame.image is not None]
                dispatched = batch, self._dispatch(images, batch_size) if images else None
                if opened.is_live:
                    yield from self._frame_detections(*dispatched)
                    continue
                # Yield one batch late, so that the device works while the caller uses the previous batch.
                if pending is not None:
                    yield from self._frame_detections(*pending)
                pending = dispatched
            if pending is not None:
                yield from self._frame_detections(*pending)
            if failure is not None:
                raise failure

    def _frame_detections(
        self, frames: list[Frame], detections: Detections | None
    ) -> Iterator[tuple[Frame, ImageDetections]]:
        """Pair frames with their detections; `detections` is None if no frame could be read."""
        images = [frame.image for frame in frames if frame.image is not None]
        of_readable = iter(unpack_detections(images, detections, self.class_names) if detections is not None else [])
        for frame in frames:
            if frame.image is None:
                logger.warning("skipped: %s %s", frame.path, frame.error)
                yield frame, no_detections(f"{frame.path} {frame.error}")
            else:
                yield frame, next(of_readable)

    def _detect_readable(self, images: Sequence[Image]) -> list[ImageDetections]:
        """As `_detect_padded`, but images that cannot be read are logged and get no detections."""
        read: list[np.ndarray | BrokenImage] = []
        for image in images:
            try:
                read.append(to_bgr_array(image))
            except BrokenImage as error:
                logger.warning("%s %s", error.path, error.why)
                read.append(error)
        readable = [image for image in read if isinstance(image, np.ndarray)]
        detections = iter(self._detect_padded(readable, self.batch_size))
        return [no_detections(f"{x.path} {x.why}") if isinstance(x, BrokenImage) else next(detections) for x in read]

    def _detect_padded(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], batch_size: int) -> list[ImageDetections]:
        """Detect in a batch padded with empty images, so that its shape is always the same."""
        return unpack_detections(images, self._dispatch(images, batch_size), self.class_names)

    def _dispatch(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], batch_size: int) -> Detections:
        """Start detecting in a batch padded with empty images."""
        batch_size = self.network.fitting_batch_size(batch_size)
        batch = np.zeros((batch_size, *self.image_size, 3), np.uint8)
        ratios = np.ones(batch_size, np.float32)
        for index, image in enumerate(images):
            batch[index], ratios[index] = letterbox(image, self.image_size)
        return self.detect_batch(batch, ratios)


def _read_batch(frames: Iterator[Frame], count: int) -> tuple[list[Frame], ConfigError | None]:
    """Up to `count` frames, and the error that ended the source, so that frames read before it are not lost."""
    batch: list[Frame] = []
    try:
        for frame in itertools.islice(frames, count):
            batch.append(frame)
    except ConfigError as error:
        return batch, error
    return batch, None
