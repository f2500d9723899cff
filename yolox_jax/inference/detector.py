"""The Python interface for inference: a network with its weights, thresholds and class names."""

import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import jax
import numpy as np
from jaxtyping import Array, Float, UInt

from yolox_jax.config import ConfigError, inference_checks
from yolox_jax.data.channels import to_format
from yolox_jax.data.image import BrokenImage
from yolox_jax.data.letterbox import letterbox
from yolox_jax.data.pixel_format import BGR8
from yolox_jax.inference.detect import Thresholds, test_time_views
from yolox_jax.inference.image_detections import ImageDetections
from yolox_jax.inference.input.frames import Frame, Frames
from yolox_jax.inference.input.images import Image, as_list, is_path, kept_to_draw, read_all, to_network_array
from yolox_jax.inference.input.sources import as_network_takes, holds_several, is_endless, open_frames
from yolox_jax.inference.input.urls import fetch_image, is_url
from yolox_jax.inference.network import InferenceNetwork
from yolox_jax.inference.options import (
    class_indices,
    resolve_class_names,
    resolve_input_size,
    resolve_network,
    resolve_pixels,
)
from yolox_jax.inference.pipelining import detect_frames
from yolox_jax.inference.tiled_detection import MergeSettings, detect_in_tiles, padded_detections
from yolox_jax.inference.tiles import tiling_of
from yolox_jax.inference.unpacking import no_detections, unpack_detections
from yolox_jax.models.yolox import YOLOX
from yolox_jax.structures import Detections
from yolox_jax.text import counted


class Detector:
    """Detects objects in images of any size.

    >>> detector = Detector("yolox_nano")  # doctest: +SKIP
    >>> print(detector("street.jpg"))  # doctest: +SKIP

    The network, decoding and non-maximum suppression, if needed, are one jitted call, compiled once per batch shape.
    With several devices, each processes its share of the batch. A detector may be called from several threads.
    """

    def __init__(
        self,
        variant: str | None = None,
        *,
        weights: str | Path | None = None,
        model: YOLOX | None = None,
        class_names: Sequence[str] | None = None,
        input_size: tuple[int, int] | None = None,
        bits: int | None = None,
        score_threshold: float = 0.25,
        iou_threshold: float = 0.45,
        class_agnostic: bool = False,
        nms: bool | None = None,
        keep_classes: Sequence[str | int] | None = None,
        max_detections: int = 1000,
        precision: str = "float32",
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        tile: int | Literal["auto"] | None = None,
        overlap: float = 0.2,
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
            bits: 8 or 16: bits of the values of images, where those of files and arrays are kept; by default as
                stored with the weights, else 8.
            score_threshold: detections with a lower score are dropped.
            iou_threshold: of two boxes that overlap more than this, non-maximum suppression keeps the better.
            class_agnostic: let boxes of different classes suppress each other.
            nms: insist on non-maximum suppression, or on a network that works without; by default, as it needs.
            keep_classes: names or indices of the classes to detect; by default all.
            max_detections: maximum number of detections per image.
            precision: type the network computes in: float32, bfloat16 or float16. Boxes and scores are float32.
            flip: test-time augmentation: also run on each image mirrored. Takes twice the time.
            scales: test-time augmentation: run on each image at these factors of the input size.
            tile: for small objects in large images: detect in overlapping tiles of an image as well as in the whole,
                and merge the detections. The longer side of a tile in px of the image, or "auto" for that of the input
                size. Images no larger than a tile are not cut.
            overlap: smallest overlap of neighbouring tiles, as a fraction of their sides.
            batch_size: images per call of the network when a list is given; with `tile`, tiles per call, always.
            devices: split each batch over these devices of this process; by default the first one.

        Raises:
            ConfigError: the variant, `nms` or test-time augmentation contradicts the network, the number of class
                names differs from the number of classes, or a size, class or threshold is out of range.
        """
        inference_checks.check_thresholds(score_threshold, iou_threshold)
        inference_checks.check_counts(batch_size, max_detections)
        inference_checks.check_precision(precision)
        inference_checks.check_scales(scales)
        inference_checks.check_tiles(tile, overlap)
        self._origin = f"weights {weights or variant}" if model is None else "a live model"
        model, metadata = resolve_network(variant, weights, model)
        inference_checks.check_suppression(nms, end_to_end=model.end_to_end)
        inference_checks.check_views(scales, flip=flip, end_to_end=model.end_to_end)
        self.variant = model.variant
        self.class_names = resolve_class_names(class_names, metadata, model.num_classes)
        self.input_size = resolve_input_size(input_size, metadata, model)
        self.pixels = resolve_pixels(bits, metadata, model.channels)
        """The number of channels and bits of the images."""
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.class_agnostic = class_agnostic
        self.max_detections = max_detections
        self.precision = precision
        self.batch_size = batch_size
        views = test_time_views(self.input_size, scales, flip=flip, stride=model.strides[-1])
        self.image_size = views[0].size
        """Height and width in px that images are letterboxed to: those of the largest scale."""
        self.tiling = tiling_of(tile, overlap, self.input_size)
        """How large images are cut into tiles; None if they are not."""
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

    def __repr__(self) -> str:
        height, width = self.input_size
        return (
            f"Detector({self.variant}{', end-to-end' if self.network.end_to_end else ''}, "
            f"input {height}x{width} (height x width), "
            f"{counted(len(self.class_names), 'class')}, {self._origin}, {self.precision}"
            f"{f', images of {self.pixels}' if self.pixels != BGR8 else ''})"
        )

    def update(self, model: YOLOX) -> None:
        """Copy the current weights of a model of the same architecture, for example one in training.

        Nothing is recompiled. The weights may be on any device, or replicated over the devices of several processes.

        Raises:
            ValueError: the architecture differs, such as the variant, the number of classes or the head.
        """
        self.network.update(model)

    def warm_up(self, *batch_sizes: int) -> float:
        """Compile for the given batch sizes and run each once; without it, the first call of each shape compiles.

        Args:
            batch_sizes: by default 1, for single images, and `batch_size`, for lists; with tiles, `batch_size` alone.

        Returns:
            The seconds it took.
        """
        start = time.perf_counter()
        batch_sizes = batch_sizes or ((1, self.batch_size) if self.tiling is None else (self.batch_size,))
        for batch_size in {self.network.fitting_batch_size(size) for size in batch_sizes}:
            images = np.zeros((batch_size, *self.image_size, self.pixels.channels), self.pixels.dtype)
            jax.block_until_ready(self.detect_batch(images, np.ones(batch_size, np.float32)))
        return time.perf_counter() - start

    def detect_batch(
        self,
        images: UInt[np.ndarray | Array, "B H W C"],
        ratios: Float[np.ndarray | Array, " B"],
        *,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
    ) -> Detections:
        """Detect objects in a batch of letterboxed images, without waiting for the device.

        Args:
            images: BGR, or with the channels of the network, letterboxed to one size, sides multiples of 32 px; the
                devices must divide their number.
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
        """The detector's thresholds, with others where given."""
        return Thresholds(
            self.score_threshold if score_threshold is None else score_threshold,
            self.iou_threshold if iou_threshold is None else iou_threshold,
            self.class_agnostic,
            self._keep_classes,
        )

    @overload
    def __call__(self, images: Image) -> ImageDetections: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, images: Iterable[Image]) -> list[ImageDetections]: ...
    def __call__(self, images: Any) -> Any:
        """Detect objects in one image or in several.

        Args:
            images: a uint8 [H, W, 3] array in BGR order (of NumPy, jax or torch; for a network of other channels or
                bits, an array of those), a PIL image, the path or URL of an
                image, or a list of these; or a folder, a pattern such as `photos/*.jpg`, or a video. `stream` reads the
                latter without keeping all detections in memory.

        Returns:
            The detections of the image, or a list with those of each image or frame. In a list, an image that cannot
            be read has no detections, and its `error` says why. They keep a reference to the image as it was passed,
            to draw on it; those of a frame of a video, or of an array or URL from a generator, do not.

        Raises:
            ValueError: an array is not a uint8 BGR image or as the network takes them, or something else is given, such
                as None or bytes.
            yolox_jax.data.image.BrokenImage: a single file or URL cannot be read.
            ConfigError: a folder holds no images, a pattern matches none, a video cannot be opened, a URL has a scheme
                that is not supported, or the source is endless, such as a camera.
        """
        if is_path(images) or isinstance(images, int):
            return self._detect_source(images)
        several = as_list(images)
        if several is None:
            return self._detect_padded([to_network_array(images, self.pixels)], 1, [images])[0]
        numbered, detections = enumerate(several), list[ImageDetections]()
        while batch := list(itertools.islice(numbered, self.batch_size)):
            detections += self._detect_readable(batch, is_held=isinstance(several, Sequence))
        return detections

    def _detect_source(self, source: str | os.PathLike[str] | int) -> ImageDetections | list[ImageDetections]:
        if is_url(source) and (image := fetch_image(str(source))) is not None:
            return self._detect_padded([to_network_array(image, self.pixels)], 1, [image])[0]
        if isinstance(source, int) or is_endless(source):
            raise ConfigError(f"{source} is an endless source; iterate over detector.stream({source!r}) instead.")
        if holds_several(source):
            return [detections for _, detections in self.stream(source)]
        return self._detect_padded([to_network_array(source, self.pixels)], 1, [source])[0]

    def stream(self, source: str | os.PathLike[str] | int | Frames) -> Iterator[tuple[Frame, ImageDetections]]:
        """Detect objects frame by frame, while the next frames are read.

        Args:
            source: a folder, a pattern, a video, the number of a camera, the URL of a stream, or `Frames` that
                `yolox_jax.inference.input.sources.open_frames` returned. From cameras and streams, only the newest
                frame is processed each time.

        Yields:
            Each frame with its detections, in order. Those of an image that cannot be read have an `error`.

        Raises:
            ConfigError: the source cannot be opened, or reading it fails; the frames before are yielded first.
        """
        opened = as_network_takes(source if isinstance(source, Frames) else open_frames(source), self.pixels)
        batch_size = 1 if opened.is_live else self.batch_size
        with contextlib.closing(opened):
            yield from detect_frames(
                opened, lambda images: self._dispatch(images, batch_size), batch_size, self.class_names
            )

    def _detect_readable(self, images: Sequence[tuple[int, Any]], *, is_held: bool) -> list[ImageDetections]:
        """As `_detect_padded` for numbered images, but those that cannot be read are logged and get no detections."""
        read = read_all(images, self.pixels)
        readable = [image for image in read if isinstance(image, np.ndarray)]
        sources = [
            kept_to_draw(source, image, is_held=is_held)
            for (_, source), image in zip(images, read, strict=True)
            if isinstance(image, np.ndarray)
        ]
        detections = iter(self._detect_padded(readable, self.batch_size, sources))
        return [
            no_detections(f"{x.path} {x.why}", self.class_names) if isinstance(x, BrokenImage) else next(detections)
            for x in read
        ]

    def _detect_padded(
        self, images: Sequence[UInt[np.ndarray, "_ _ _"]], batch_size: int, sources: Sequence[Any]
    ) -> list[ImageDetections]:
        """Detect in a batch padded with empty images, so that its shape is always the same."""
        if not images:
            return []
        return unpack_detections(images, self._dispatch(images, batch_size), self.class_names, sources)

    def _dispatch(self, images: Sequence[UInt[np.ndarray, "_ _ _"]], batch_size: int) -> Detections:
        """Start detecting in a batch padded with empty images; with tiles, wait for the detections to merge."""
        if self.tiling is not None:
            return self._detect_tiled(images)
        batch_size = self.network.fitting_batch_size(batch_size)
        batch = np.zeros((batch_size, *self.image_size, self.pixels.channels), self.pixels.dtype)
        ratios = np.ones(batch_size, np.float32)
        for index, image in enumerate(images):
            batch[index], ratios[index] = letterbox(to_format(image, self.pixels), self.image_size)
        return self.detect_batch(batch, ratios)

    def _detect_tiled(self, images: Sequence[UInt[np.ndarray, "_ _ _"]]) -> Detections:
        """Detect in the tiles of each image and in the whole; NumPy arrays."""
        assert self.tiling is not None
        found = detect_in_tiles(
            enumerate(to_format(image, self.pixels) for image in images),
            self.tiling,
            lambda batch, ratios, _: (self.detect_batch(batch, ratios), None),
            input_size=self.image_size,
            batch_size=self.network.fitting_batch_size(self.batch_size),
            merge=MergeSettings(self.iou_threshold, self.class_agnostic, self.max_detections),
        )
        return padded_detections(list(found))
