"""Detection in tiles: the regions of any number of images share batches of one shape, so there is one compiled call."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt

from yolox_jax.data.letterbox import letterbox
from yolox_jax.inference.tile_merge import merge_regions
from yolox_jax.inference.tiles import Tiling, regions_of
from yolox_jax.structures import Detections

DetectRegions = Callable[
    [UInt[np.ndarray, "B H W C"], Float[np.ndarray, " B"], Int[np.ndarray, " B"]], tuple[Detections, Any]
]
"""Starts detecting in letterboxed images with these ratios. For a row that shows a whole image, the third argument has
the number of the image, and -1 for tiles and padding. Returns arrays with one row per region."""

FitToInput = Callable[[UInt[np.ndarray, "_ _ _"], tuple[int, int]], tuple[UInt[np.ndarray, "_ _ _"], float]]
"""Such as `letterbox`."""


class MergeSettings(NamedTuple):
    """See `merge_regions`."""

    iou_threshold: float
    class_agnostic: bool
    max_detections: int
    """Maximum number of detections per image."""


class FoundInImage(NamedTuple):
    """The merged detections of an image, best first."""

    number: int
    """That of the image."""
    boxes: Float[np.ndarray, "N 4"]
    """x1, y1, x2, y2 in px of the image."""
    scores: Float[np.ndarray, " N"]
    classes: Int[np.ndarray, " N"]
    of_whole: Any
    """The row of the whole image in the further output of `DetectRegions`."""


class _Image:
    """An image whose regions are being detected in."""

    def __init__(self, number: int, pixels: UInt[np.ndarray, "_ _ _"], tiling: Tiling) -> None:
        self.number = number
        self.pixels = pixels
        self.regions = regions_of((pixels.shape[0], pixels.shape[1]), tiling)
        self.of_whole: Any = None
        self._found: list[tuple[Any, Any, Any, int]] = []

    def add(self, region: int, detections: Detections, of_whole: Any) -> bool:
        """Add the detections of one region; return whether it was the last."""
        boxes, scores, classes, valid = detections
        # Weights of a run that diverged can give infinite boxes.
        keep = valid & np.isfinite(boxes).all(axis=-1)
        left, top = self.regions[region, :2].tolist()
        shifted = boxes[keep] + np.array([left, top, left, top], np.float32)
        self._found.append((shifted, scores[keep], classes[keep], region))
        if region == 0:
            self.of_whole = of_whole
        return region == len(self.regions) - 1

    def merged(self, settings: MergeSettings) -> FoundInImage:
        boxes, scores, classes = (np.concatenate([part[place] for part in self._found]) for place in range(3))
        regions = np.repeat([part[3] for part in self._found], [len(part[1]) for part in self._found])
        kept = merge_regions(
            boxes,
            scores,
            classes,
            regions,
            self.regions,
            iou_threshold=settings.iou_threshold,
            class_agnostic=settings.class_agnostic,
        )[: settings.max_detections]
        return FoundInImage(self.number, boxes[kept], scores[kept], classes[kept], self.of_whole)


def detect_in_tiles(
    images: Iterable[tuple[int, UInt[np.ndarray, "_ _ _"]]],
    tiling: Tiling,
    detect: DetectRegions,
    *,
    input_size: tuple[int, int],
    batch_size: int,
    merge: MergeSettings,
    fit: FitToInput = letterbox,
) -> Iterator[FoundInImage]:
    """Detect in each image as a whole and in its tiles, and merge the detections.

    Args:
        images: numbered, all of the format that the network takes. They are read one by one, while the device works on
            those before.
        tiling: size and overlap of the tiles.
        detect: detects in a batch of regions.
        input_size: height and width in px that regions are resized to.
        batch_size: regions per batch. Batches span images; only the last one is padded.
        merge: how to merge.
        fit: resizes a region to `input_size` and pads it.

    Yields:
        The detections of each image, in order.
    """
    rows = (
        (image, region)
        for image in (_Image(number, pixels, tiling) for number, pixels in images)
        for region in range(len(image.regions))
    )
    pending: tuple[list[tuple[_Image, int]], tuple[Detections, Any]] | None = None
    while batch := list(itertools.islice(rows, batch_size)):
        like = batch[0][0].pixels
        pixels = np.zeros((batch_size, *input_size, like.shape[2]), like.dtype)
        ratios, numbers = np.ones(batch_size, np.float32), np.full(batch_size, -1, np.int32)
        for row, (image, region) in enumerate(batch):
            x1, y1, x2, y2 = image.regions[region].tolist()
            pixels[row], ratios[row] = fit(image.pixels[y1:y2, x1:x2], input_size)
            numbers[row] = image.number if region == 0 else -1
        dispatched = batch, detect(pixels, ratios, numbers)
        # One batch late, so that the next regions are cut while the device works.
        if pending is not None:
            yield from _completed(*pending, merge)
        pending = dispatched
    if pending is not None:
        yield from _completed(*pending, merge)


def _completed(
    batch: list[tuple[_Image, int]], outputs: tuple[Detections, Any], merge: MergeSettings
) -> Iterator[FoundInImage]:
    """Hand the rows of a batch to their images, and yield those whose last region it was."""
    detections, further = Detections._make(np.asarray(array) for array in outputs[0]), outputs[1]
    further = None if further is None else np.asarray(further)
    for row, (image, region) in enumerate(batch):
        of_row = Detections._make(array[row] for array in detections)
        if image.add(region, of_row, None if further is None else further[row]):
            yield image.merged(merge)


def padded_detections(found: list[FoundInImage]) -> Detections:
    """Pad the detections of several images to one shape, as those of a batch; NumPy arrays."""
    count = max((len(one.scores) for one in found), default=0)
    boxes, scores = np.zeros((len(found), count, 4), np.float32), np.zeros((len(found), count), np.float32)
    classes, valid = np.full((len(found), count), -1, np.int32), np.zeros((len(found), count), bool)
    for row, one in enumerate(found):
        own = slice(len(one.scores))
        boxes[row, own], scores[row, own], classes[row, own], valid[row, own] = one.boxes, one.scores, one.classes, True
    return Detections._make((boxes, scores, classes, valid))
