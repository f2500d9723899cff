"""The Python interface for inference: a network with its weights, thresholds and class names."""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, UInt8

from yolox_jax.coco_names import COCO_NAMES
from yolox_jax.config import STRIDE, ConfigError
from yolox_jax.data.image import read_image
from yolox_jax.data.letterbox import letterbox
from yolox_jax.models.fold import fold_batch_norm
from yolox_jax.models.yolox import VARIANTS, YOLOX, create_model
from yolox_jax.postprocess import decode, postprocess
from yolox_jax.structures import Detections
from yolox_jax.weights import describe, load_state_dict, published_weights, read_weights, resolve

Image = np.ndarray | str | Path
"""A uint8 [H, W, 3] array in BGR order as OpenCV reads it, or the path of an image file."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDetections:
    """Objects found in one image, best first."""

    boxes: Float[np.ndarray, "N 4"]
    """x1, y1, x2, y2 in px of the image; a box can reach beyond its borders."""
    scores: Float[np.ndarray, " N"]
    """Objectness times class probability."""
    classes: Int[np.ndarray, " N"]
    """Class index."""
    class_names: tuple[str, ...]
    """Name of the class of each detection."""

    def __len__(self) -> int:
        return len(self.scores)


class Detector:
    """Finds objects in images of any size.

    >>> detector = Detector("yolox_nano")  # doctest: +SKIP
    >>> detector("street.jpg").class_names  # doctest: +SKIP

    The network with its decoding and non-maximum suppression is one jitted call, compiled once for each batch shape.
    With several devices each detects in its share of the batch.
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
        max_detections: int = 1000,
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
            max_detections: most detections an image.
            batch_size: images a call of the network when given a list.
            devices: split each batch over these devices, which belong to this process; by default the first one.

        Raises:
            ConfigError: if the variant contradicts the weights, the names do not fit their number of classes, or a
                size or threshold cannot work.
        """
        metadata: dict[str, str] = {}
        if weights is None and model is None and variant is not None:
            weights = published_weights(variant)
        if weights is not None and model is None:
            model, metadata = _read_model(weights, variant)
        elif weights is not None or model is None:
            raise ValueError("a Detector needs one of these: the name of a variant, weights=PATH, or model=MODEL")
        elif variant not in (None, model.variant):
            raise ConfigError(f"the model is a {model.variant}, not a {variant}")
        if not 0 <= score_threshold <= 1:
            raise ConfigError(f"score threshold {score_threshold}: it lies between 0 and 1")
        if not 0 < iou_threshold <= 1:
            raise ConfigError(f"IoU threshold {iou_threshold}: it lies above 0 and up to 1")
        if batch_size < 1 or max_detections < 1:
            raise ConfigError(f"batch size {batch_size}, most detections {max_detections}: both must be at least 1")
        self.variant = model.variant
        self.class_names = _choose_names(class_names, metadata, model.num_classes)
        self.input_size = _choose_size(input_size, metadata, model.variant)
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.class_agnostic = class_agnostic
        self.max_detections = max_detections
        self.batch_size = batch_size
        self._mesh = Mesh(np.asarray(jax.local_devices()[:1] if devices is None else devices), ("data",))
        self._graphdef, self._state = _split_folded(model, self._mesh)
        self._detect = _jitted(self._graphdef, self._mesh)

    def update(self, model: YOLOX) -> None:
        """Take over the present weights of a model of the same kind, such as one in training; compiles nothing.

        The weights may lie on any devices, also replicated over those of several processes.
        """
        graphdef, state = _split_folded(model, self._mesh)
        if graphdef != self._graphdef:
            raise ValueError(
                f"the detector holds a {self.variant} with {len(self.class_names)} classes; it cannot take the weights "
                f"of a {model.variant} with {model.num_classes}"
            )
        self._state = state

    def fitting_batch_size(self, batch_size: int) -> int:
        """The next batch size, from `batch_size` up, that can be split evenly over the devices."""
        return -(-batch_size // self._mesh.size) * self._mesh.size

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
        if self._mesh.size > 1:
            split = NamedSharding(self._mesh, PartitionSpec(*self._mesh.axis_names))
            images, ratios = jax.device_put((images, ratios), split)
        return self._detect(
            self._state,
            images,
            ratios,
            self.score_threshold if score_threshold is None else score_threshold,
            self.iou_threshold if iou_threshold is None else iou_threshold,
            self.class_agnostic,
            max_detections=self.max_detections if max_detections is None else max_detections,
        )

    @overload
    def __call__(self, images: Image) -> ImageDetections: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, images: Sequence[Image]) -> list[ImageDetections]: ...
    def __call__(self, images: Image | Sequence[Image]) -> ImageDetections | list[ImageDetections]:
        """Detect objects in one image or in a list of them.

        Args:
            images: a uint8 [H, W, 3] array in BGR order, the path of an image file, or a list of these.

        Returns:
            The detections of the image, or a list with those of each.

        Raises:
            ValueError: if an array is no such image.
            yolox_jax.data.image.BrokenImage: if a file cannot be read.
        """
        if isinstance(images, np.ndarray | str | Path):
            return self._detect_padded([images], 1)[0]
        found: list[ImageDetections] = []
        for start in range(0, len(images), self.batch_size):
            found += self._detect_padded(images[start : start + self.batch_size], self.batch_size)
        return found

    def _detect_padded(self, images: Sequence[Image], batch_size: int) -> list[ImageDetections]:
        """Run a batch filled up with empty images, so that its shape is always the same."""
        batch_size = self.fitting_batch_size(batch_size)
        batch = np.zeros((batch_size, *self.input_size, 3), np.uint8)
        ratios = np.ones(batch_size, np.float32)
        for place, image in enumerate(images):
            batch[place], ratios[place] = letterbox(_as_array(image), self.input_size)
        boxes, scores, classes, valid = (np.asarray(array) for array in self.detect_batch(batch, ratios))
        # Weights of a training that diverged can give boxes without bounds.
        keep = valid & np.isfinite(boxes).all(axis=-1)
        return [
            ImageDetections(
                boxes=boxes[place][keep[place]],
                scores=scores[place][keep[place]],
                classes=classes[place][keep[place]],
                class_names=tuple(self.class_names[index] for index in classes[place][keep[place]]),
            )
            for place in range(len(images))
        ]


def _split_folded(model: YOLOX, mesh: Mesh) -> tuple[nnx.GraphDef, nnx.State]:
    """The network with batch norm folded, its weights whole on each device."""
    graphdef, state = nnx.split(model)
    model = nnx.merge(graphdef, jax.tree.map(_on_this_process, state))
    graphdef, state = nnx.split(fold_batch_norm(model))
    return graphdef, jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def _on_this_process(array: Array) -> Array:
    """The copy that this process holds of a weight which is replicated over the devices of all processes."""
    return array if array.is_fully_addressable else array.addressable_data(0)


@functools.cache
def _jitted(graphdef: nnx.GraphDef, mesh: Mesh) -> Callable[..., Detections]:
    """The same function for all detectors of one network on the same devices, which share what it has compiled.

    A static argument would do that too, but jax would hash the network at each call, which takes milliseconds.
    """
    detect = functools.partial(_detect, graphdef)
    if mesh.size == 1:  # the split would cost half a millisecond a call
        return jax.jit(detect, static_argnames="max_detections")

    def detect_in_shares(*arrays: Any, max_detections: int) -> Detections:
        whole, split = PartitionSpec(), PartitionSpec(*mesh.axis_names)
        return jax.shard_map(
            functools.partial(detect, max_detections=max_detections),
            mesh=mesh,
            in_specs=(whole, split, split, whole, whole, whole),
            out_specs=split,
            check_vma=False,  # it refuses loops that start from constants, as those of the suppression do
        )(*arrays)

    return jax.jit(detect_in_shares, static_argnames="max_detections")


def _detect(
    graphdef: nnx.GraphDef,
    state: Any,
    images: UInt8[Array, "B H W 3"],
    ratios: Float[Array, " B"],
    score_threshold: Float[Array, ""],
    iou_threshold: Float[Array, ""],
    class_agnostic: Bool[Array, ""],
    *,
    max_detections: int,
) -> Detections:
    """All that the device does. Weights and thresholds are arguments, so that new ones compile nothing."""
    model = nnx.merge(graphdef, state)
    height, width = images.shape[1:3]
    decoded = decode(model(images.astype(jnp.float32)), image_size=(height, width))
    detections = postprocess(
        decoded,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        class_agnostic=class_agnostic,
        max_detections=max_detections,
    )
    return detections._replace(boxes=detections.boxes / ratios[:, None, None])


def _read_model(path: str | Path, variant: str | None) -> tuple[YOLOX, dict[str, str]]:
    """Model and metadata of a file of weights."""
    file = read_weights(resolve(path))
    found, num_classes = describe(file.state_dict)
    if variant not in (None, found):
        raise ConfigError(f"{path} holds the weights of {found}, but the variant asked for is {variant}")
    model = create_model(found, num_classes)
    load_state_dict(model, file.state_dict)
    return model, file.metadata


def numbered_classes(num_classes: int) -> tuple[str, ...]:
    """The names of classes that nobody has named."""
    return tuple(f"class {index}" for index in range(num_classes))


def _choose_names(given: Sequence[str] | None, metadata: dict[str, str], num_classes: int) -> tuple[str, ...]:
    if given is None and "class_names" in metadata:
        given = json.loads(metadata["class_names"])
    if given is None:
        given = COCO_NAMES if num_classes == len(COCO_NAMES) else numbered_classes(num_classes)
    if len(given) != num_classes:
        raise ConfigError(f"{len(given)} class names for a network with {num_classes} classes")
    return tuple(given)


def _choose_size(given: tuple[int, int] | None, metadata: dict[str, str], variant: str) -> tuple[int, int]:
    if given is None:
        given = json.loads(metadata["input_size"]) if "input_size" in metadata else VARIANTS[variant].input_size
    height, width = given
    if height < STRIDE or width < STRIDE or height % STRIDE or width % STRIDE:
        raise ConfigError(f"input size {height} x {width}: height and width must be multiples of {STRIDE} px")
    return height, width


def _as_array(image: Image) -> UInt8[np.ndarray, "H W 3"]:
    if not isinstance(image, np.ndarray):
        return read_image(Path(image))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            f"an image is a uint8 array [height, width, 3] in BGR order, as cv2.imread gives it; this one is "
            f"{image.dtype} {list(image.shape)}. Give several images as a list"
        )
    return image
