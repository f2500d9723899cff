"""One training sample: planned first, then drawn from the images that are seen in it."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from yolox_jax.config import DataConfig
from yolox_jax.data.augment.colour import shift_hsv
from yolox_jax.data.augment.mixup import blend, fill_background
from yolox_jax.data.augment.paint import Placement, paint
from yolox_jax.data.image import BrokenImage, Pixels
from yolox_jax.data.letterbox import PADDING, letterbox
from yolox_jax.data.loader import ImageLoader
from yolox_jax.data.sample_plan import SamplePlan, SampleTargets, plan_sample


class Canvases(NamedTuple):
    """Memory to draw on, used for one sample after the other."""

    mosaic: UInt8[np.ndarray, "H W 4"]
    partner: UInt8[np.ndarray, "H W 4"]


def new_canvases(size: tuple[int, int]) -> Canvases:
    """Canvases for samples of `size` (height, width)."""
    return Canvases(np.empty((*size, 4), np.uint8), np.empty((*size, 4), np.uint8))


def make_sample(
    index: int,
    loader: ImageLoader,
    with_objects: Int[np.ndarray, " M"],
    *,
    mosaic: bool,
    config: DataConfig,
    seed: tuple[int, ...],
    canvases: Canvases,
    out: UInt8[np.ndarray, "H W 3"],
) -> SampleTargets:
    """Make the training sample around one image, drawn into `out`.

    Args:
        index: the image.
        loader: reads the image and its partners, which are drawn from all that it has.
        with_objects: indices of the images that have objects, to draw the partner of MixUp from.
        mosaic: False in the last epochs: no mosaic, and so no MixUp.
        config: sizes and augmentation.
        seed: every random choice follows from it.
        canvases: of the input size; what they hold is lost.
        out: takes the image, BGR, of the input size.

    Raises:
        DataError: none of the images can be read, or of many tried none.
    """
    while True:
        plan = plan_sample(
            index,
            loader.find,
            len(loader.records),
            with_objects,
            mosaic=mosaic,
            config=config,
            rng=np.random.default_rng(seed),
        )
        try:
            if plan.tiles:
                _draw_mosaic(plan, loader, canvases, out)
            else:
                _draw_whole(plan, loader, out)
        except BrokenImage:
            continue  # another image now takes the place of the broken one
        return plan.targets


def _draw_mosaic(plan: SamplePlan, loader: ImageLoader, canvases: Canvases, out: UInt8[np.ndarray, "H W 3"]) -> None:
    def load(placement: Placement) -> Pixels:
        return loader.pixels(placement, (out.shape[0], out.shape[1]))

    canvas = canvases.mosaic
    canvas.fill(PADDING)
    for tile in plan.tiles:
        paint(canvas, tile, load)
    if plan.partner is not None:
        fill_background(canvases.partner, plan.partner.padded)
        paint(canvases.partner, plan.partner.placement, load)
        blend(canvas, canvases.partner)
    if plan.shifts is None:
        cv2.cvtColor(canvas, cv2.COLOR_BGRA2BGR, dst=out)
    else:
        shift_hsv(canvas, plan.shifts, out)


def _draw_whole(plan: SamplePlan, loader: ImageLoader, out: UInt8[np.ndarray, "H W 3"]) -> None:
    """As evaluation shows images, but for colour and mirroring."""
    size = (out.shape[0], out.shape[1])
    image = loader.fitted(plan.record_index, size)
    if plan.shifts is not None:
        image = shift_hsv(image, plan.shifts)
    if plan.mirrored:
        image = cv2.flip(image, 1)
    out[:] = letterbox(image, size)[0]
