"""The Python interface for inference: a network with its weights, thresholds and class names."""

import contextlib
import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar, overload

import jax
import numpy as np
import PIL.Image
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, UInt8

from yolox_jax.config import ConfigError
from yolox_jax.config.inference_checks import check_counts, check_precision, check_scales, check_thresholds
from yolox_jax.data.image import BrokenImage
from yolox_jax.data.letterbox import letterbox
from yolox_jax.inference.detect import Thresholds, compiled, prepared, views_of
from yolox_jax.inference.image_detections import ImageDetections, no_detections, unpack_detections
from yolox_jax.inference.input.frames import Frame, Frames, holds_several, is_endless, open_frames
from yolox_jax.inference.input.images import Image, to_bgr_array
from yolox_jax.inference.options import class_indices, resolve_class_names, resolve_input_size, resolve_network
from yolox_jax.models.yolox import YOLOX
from yolox_jax.structures import Detections

logger = logging.getLogger(__name__)

Arrays = TypeVar("Arrays")
"""Any pytree of arrays."""


class Detector:
    """Finds objects in images of any size.

    >>> detector = Detector("yolox_nano")  # doctest: +SKIP
    >>> print(detector("street.jpg"))  # doctest: +SKIP

    The network with its decoding and non-maximum suppression is one jitted call, compiled once for each batch shape.
    With several devices each detects in its share of the batch. May be called from several threads.
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
        """Take the network from a file of weights or from a live model.

        Args:
            variant: one of the seven variants; by default the one that the weights show.
            weights: .pth, .safetensors, .npz, a run directory or the name of published weights; by default those of
                `variant`. Published weights are fetched at their first use (see `yolox_jax.weights.published`).
            model: in place of `weights`; the detector keeps a copy with batch norm folded (see `update`).
            class_names: one a class; by default those stored with the weights, else COCO's for 80 classes.
            input_size: height and width of the network input in px, multiples of 32; by default the one stored with
                the weights, else the published one of the variant.
            score_threshold: detections below this are dropped.
            iou_threshold: of two boxes that overlap more than this, the better is kept.
            class_agnostic: let boxes of different classes suppress each other.
            keep_classes: names or indices of the classes to look for; by default all.
            max_detections: most detections an image.
            precision: what the network computes in: float32, bfloat16 or float16. Boxes and scores are float32.
            flip: test-time augmentation: see each image mirrored as well. Costs twice the time.
            scales: test-time augmentation: see each image at these factors of the input size.
            batch_size: images a call of the network when given several.
            devices: split each batch over these devices, which belong to this process; by default the first one.

        Raises:
            ConfigError: if the variant contradicts the weights, the names do not fit their number of classes, or a
                size, class or threshold cannot work.
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
        views = views_of(self.input_size, scales, flip=flip)
        self.image_size = views[0].size
        """Height and width in px that images are letterboxed to: those of the largest scale."""
        self._mesh = Mesh(np.asarray(jax.local_devices()[:1] if devices is None else devices), ("data",))
        keep = np.zeros(model.num_classes, bool)
        keep[class_indices(keep_classes, self.class_names)] = True
        self._keep_classes = jax.device_put(keep, self._whole)
        self._graphdef, self._state = self._placed(model)
        self._detect = compiled(self._graphdef, self._mesh, tuple(views) if len(views) > 1 else ())

    def update(self, model: YOLOX) -> None:
        """Take over the present weights of a model of the same kind, such as one in training; compiles nothing.

        The weights may lie on any devices, also replicated over those of several processes.
        """
        graphdef, state = self._placed(model)
        if graphdef != self._graphdef:
            raise ValueError(
                f"the detector holds a {self.variant} with {len(self.class_names)} classes; it cannot take the weights "
                f"of a {model.variant} with {model.num_classes}"
            )
        self._state = state

    def fitting_batch_size(self, batch_size: int) -> int:
        """The next batch size, from `batch_size` up, that can be split evenly over the devices."""
        return -(-batch_size // self._mesh.size) * self._mesh.size

    @property
    def network(self) -> tuple[nnx.GraphDef, nnx.State]:
        """The network as it is used: batch norm folded, in its precision, whole on each device."""
        return self._graphdef, self._state

    def placed(self, batch: Arrays) -> Arrays:
        """Arrays with one row an image, split over the devices where there are several."""
        if self._mesh.size == 1:
            return batch
        split = NamedSharding(self._mesh, PartitionSpec(*self._mesh.axis_names))
        return jax.device_put(batch, split)

    def warm_up(self, *batch_sizes: int) -> float:
        """Compile for some batch sizes, by default those of one image and of a list, and run each once.

        Returns:
            The seconds that it took. Without it, the first call of each shape compiles.
        """
        start = time.perf_counter()
        for batch_size in {self.fitting_batch_size(size) for size in batch_sizes or (1, self.batch_size)}:
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
        """Detect objects in letterboxed images; returns before the device is done.

        Args:
            images: BGR, letterboxed to one size, multiples of 32; as many as a `fitting_batch_size`.
            ratios: the factor by which letterboxing scaled each image.
            score_threshold: in place of the detector's, as are the next two.
            iou_threshold: as above.
            max_detections: as above.

        Returns:
            Detections with boxes in px of the original images, not clipped to them (SPEC A5), split over the devices.

        Raises:
            ValueError: if the devices do not divide the batch.
        """
        if len(images) % self._mesh.size:
            raise ValueError(
                f"{len(images)} images cannot be split evenly over {self._mesh.size} devices: fill the batch up to "
                f"{self.fitting_batch_size(len(images))}"
            )
        images, ratios = self.placed((images, ratios))
        thresholds = Thresholds(
            self.score_threshold if score_threshold is None else score_threshold,
            self.iou_threshold if iou_threshold is None else iou_threshold,
            self.class_agnostic,
            self._keep_classes,
        )
        return self._detect(
            self._state,
            images,
            ratios,
            thresholds,
            max_detections=self.max_detections if max_detections is None else max_detections,
        )

    @overload
    def __call__(self, images: Image) -> ImageDetections: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, images: Sequence[Image]) -> list[ImageDetections]: ...
    def __call__(self, images: Image | int | Sequence[Image]) -> ImageDetections | list[ImageDetections]:
        """Detect objects in one image or in several.

        Args:
            images: a uint8 [H, W, 3] array in BGR order, a PIL image, the path of an image file, or a list of these; or
                a folder, a pattern such as `photos/*.jpg`, or a video, which `stream` reads without keeping it all.

        Returns:
            The detections of the image; or a list with those of each image or frame. An image of several that cannot be
            read has none, and its `error` says why.

        Raises:
            ValueError: if an array is no such image.
            yolox_jax.data.image.BrokenImage: if a single file cannot be read.
            ConfigError: if a folder holds no images, a pattern matches none, a video cannot be opened, or what was
                given has no end, as a camera.
        """
        if isinstance(images, int) or (isinstance(images, str | Path) and is_endless(images)):
            raise ConfigError(f"{images} has no end: go through detector.stream({images!r}) instead")
        if isinstance(images, str | Path) and holds_several(images):
            return [detections for _, detections in self.stream(images)]
        if isinstance(images, np.ndarray | PIL.Image.Image | str | Path):
            return self._detect_padded([to_bgr_array(images)], 1)[0]
        found: list[ImageDetections] = []
        for start in range(0, len(images), self.batch_size):
            found += self._detect_readable(images[start : start + self.batch_size])
        return found

    def stream(self, source: str | Path | int | Frames) -> Iterator[tuple[Frame, ImageDetections]]:
        """Detect objects in images as they come, while the next ones are read.

        Args:
            source: whatever `yolox_jax.inference.input.frames.open_frames` opens, also opened already: a folder, a
                pattern, a video, the number of a camera, the address of a stream. Of the last two only the newest frame
                is looked at each time.

        Yields:
            Each frame with its detections, in order. Those of an image that cannot be read have an `error`.

        Raises:
            ConfigError: the source cannot be opened.
        """
        opened = source if isinstance(source, Frames) else open_frames(source)
        batch_size = 1 if opened.is_live else self.batch_size
        with contextlib.closing(opened):
            waiting: tuple[list[Frame], Detections | None] | None = None
            while batch := list(itertools.islice(opened.frames, batch_size)):
                images = [frame.image for frame in batch if frame.image is not None]
                started = batch, self._dispatch(images, batch_size) if images else None
                if opened.is_live:
                    yield from self._of_frames(*started)
                    continue
                # One batch late, so that the device works while this one is read and that one is used.
                if waiting is not None:
                    yield from self._of_frames(*waiting)
                waiting = started
            if waiting is not None:
                yield from self._of_frames(*waiting)

    def _of_frames(self, frames: list[Frame], found: Detections | None) -> Iterator[tuple[Frame, ImageDetections]]:
        images = [frame.image for frame in frames if frame.image is not None]
        detections = iter(unpack_detections(images, found, self.class_names) if found is not None else [])
        for frame in frames:
            if frame.image is None:
                logger.warning("left out: %s %s", frame.path, frame.error)
                yield frame, no_detections(f"{frame.path} {frame.error}")
            else:
                yield frame, next(detections)

    def _detect_readable(self, images: Sequence[Image]) -> list[ImageDetections]:
        """As `_detect_padded`; images that cannot be read are logged, and have no detections."""
        read: list[np.ndarray | BrokenImage] = []
        for image in images:
            try:
                read.append(to_bgr_array(image))
            except BrokenImage as error:
                logger.warning("%s %s", error.path, error.why)
                read.append(error)
        found = iter(self._detect_padded([image for image in read if isinstance(image, np.ndarray)], self.batch_size))
        return [no_detections(f"{x.path} {x.why}") if isinstance(x, BrokenImage) else next(found) for x in read]

    def _detect_padded(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], batch_size: int) -> list[ImageDetections]:
        """Run a batch filled up with empty images, so that its shape is always the same."""
        return unpack_detections(images, self._dispatch(images, batch_size), self.class_names)

    def _dispatch(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], batch_size: int) -> Detections:
        """Start detecting in a batch filled up with empty images."""
        batch_size = self.fitting_batch_size(batch_size)
        batch = np.zeros((batch_size, *self.image_size, 3), np.uint8)
        ratios = np.ones(batch_size, np.float32)
        for place, image in enumerate(images):
            batch[place], ratios[place] = letterbox(image, self.image_size)
        return self.detect_batch(batch, ratios)

    @property
    def _whole(self) -> NamedSharding:
        """On each device, all of it."""
        return NamedSharding(self._mesh, PartitionSpec())

    def _placed(self, model: YOLOX) -> tuple[nnx.GraphDef, nnx.State]:
        """The network for inference, its weights whole on each device."""
        graphdef, state = nnx.split(model)
        model = nnx.merge(graphdef, jax.tree.map(_on_this_process, state))
        graphdef, state = prepared(model, self.precision)
        return graphdef, jax.device_put(state, self._whole)


def _on_this_process(array: Array) -> Array:
    """The copy that this process holds of a weight which is replicated over the devices of all processes."""
    return array if array.is_fully_addressable else array.addressable_data(0)
