"""Makes a training sample: plans it, then draws it from the images that are visible in it."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.config import DataConfig
from yolox_jax.data.augment.colour import shift_hsv
from yolox_jax.data.augment.mixup import blend, fill_background
from yolox_jax.data.augment.paint import Placement, paint
from yolox_jax.data.image import BrokenImage, Pixels
from yolox_jax.data.image_order import Pass
from yolox_jax.data.letterbox import PADDING, letterbox
from yolox_jax.data.loader import ImageLoader
from yolox_jax.data.sample_plan import SamplePlan, SampleTargets, plan_sample


class Canvases(NamedTuple):
    """Buffers to draw on, reused for all samples of a batch."""

    mosaic: UInt8[np.ndarray, "H W 4"]
    partner: UInt8[np.ndarray, "H W 4"]


def new_canvases(size: tuple[int, int]) -> Canvases:
    """Allocate canvases for samples of `size` (height, width)."""
    return Canvases(np.empty((*size, 4), np.uint8), np.empty((*size, 4), np.uint8))


def make_sample(
    index: int,
    loader: ImageLoader,
    shown: Pass,
    *,
    mosaic: bool,
    config: DataConfig,
    seed: tuple[int, ...],
    canvases: Canvases,
    out: UInt8[np.ndarray, "H W 3"],
) -> SampleTargets:
    """Make the training sample around one image, and draw it into `out`.

    Args:
        index: of the image.
        loader: loads the image and its partners.
        shown: the images to draw partners from.
        mosaic: False in the last epochs: no mosaic, and therefore no MixUp.
        config: sizes and augmentation.
        seed: determines every random choice.
        canvases: buffers of the input size; their content is overwritten.
        out: receives the BGR image of the input size.

    Returns:
        The objects of the sample.

    Raises:
        DataError: none of the images can be read, or none of the first `MAX_BROKEN`.
    """
    while True:
        plan = plan_sample(
            index,
            loader.find,
            shown,
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
            continue  # the loader now replaces the broken image by another
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
    """Letterbox one image as in evaluation, with colour shifts and mirroring."""
    size = (out.shape[0], out.shape[1])
    image = loader.fitted(plan.record_index, size)
    if plan.shifts is not None:
        image = shift_hsv(image, plan.shifts)
    if plan.mirrored:
        image = cv2.flip(image, 1)
    out[:] = letterbox(image, size)[0]
