"""Makes a training sample: plans it, then draws it from the images that are visible in it."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt

from yolox_jax.config import DataConfig
from yolox_jax.data.augment.colour import shift_hsv
from yolox_jax.data.augment.mixup import blend, fill_background
from yolox_jax.data.augment.objects import Objects
from yolox_jax.data.augment.paint import Placement, canvas_channels, paint
from yolox_jax.data.augment.sources import SampleSources, write_sources
from yolox_jax.data.hooks import Hook, HookedImages, Hooks, call_hook
from yolox_jax.data.image import BrokenImage, Pixels
from yolox_jax.data.letterbox import letterbox, padding_of
from yolox_jax.data.loader import ImageLoader
from yolox_jax.data.partners import Partners
from yolox_jax.data.pixel_format import BGR8, PixelFormat
from yolox_jax.data.sample_plan import SamplePlan, SampleTargets, large_enough, plan_sample, to_targets


class Canvases(NamedTuple):
    """Buffers to draw on, reused for all samples of a batch."""

    mosaic: UInt[np.ndarray, "H W D"]
    partner: UInt[np.ndarray, "H W D"]


def new_canvases(size: tuple[int, int], pixels: PixelFormat = BGR8) -> Canvases:
    """Allocate canvases for samples of `size` (height, width)."""
    shape = (*size, canvas_channels(pixels.channels))
    return Canvases(np.empty(shape, pixels.dtype), np.empty(shape, pixels.dtype))


def make_sample(
    index: int,
    loader: ImageLoader,
    shown: Partners,
    *,
    mosaic: bool,
    config: DataConfig,
    seed: tuple[int, ...],
    canvases: Canvases,
    out: UInt[np.ndarray, "H W C"] | SampleSources,
    hooks: Hooks,
    num_classes: int,
) -> SampleTargets:
    """Make the training sample around one image, and draw it into `out`, or write what a device draws it from.

    Args:
        index: of the image.
        loader: loads the image and its partners.
        shown: the images to draw partners from.
        mosaic: False in the last epochs: no mosaic, and therefore no MixUp.
        config: sizes and augmentation.
        seed: determines every random choice.
        canvases: buffers of the input size; their content is overwritten.
        out: receives the image of the input size, or what it is drawn from. In the latter case, no hook may change it
            after the mosaic.
        hooks: the user's own augmentation.
        num_classes: number of classes, to check what hooks return.

    Returns:
        The objects of the sample.

    Raises:
        DataError: none of the images can be read, or none of the first `MAX_BROKEN`; or a hook failed.
    """
    images: ImageLoader | HookedImages = loader
    if hooks.before_mosaic is not None:
        images = HookedImages(loader, hooks.before_mosaic, num_classes, seed)
    while True:
        plan = plan_sample(
            index,
            images.find,
            shown,
            mosaic=mosaic,
            config=config,
            rng=np.random.default_rng(seed),
        )
        try:
            if isinstance(out, SampleSources):
                write_sources(plan, images, out)
                return to_targets(plan.objects, config)
            if plan.tiles:
                _draw_mosaic(plan, images, canvases, out)
            else:
                _draw_whole(plan, images, out)
        except BrokenImage:
            continue  # the loader now replaces the broken image by another
        objects = plan.objects
        if hooks.after_mosaic is not None:
            objects = _call_after(hooks.after_mosaic, plan, loader, config, num_classes, seed, out)
        return to_targets(objects, config)


def _call_after(
    hook: Hook,
    plan: SamplePlan,
    loader: ImageLoader,
    config: DataConfig,
    num_classes: int,
    seed: tuple[int, ...],
    out: UInt[np.ndarray, "H W C"],
) -> Objects:
    """Let a hook change the finished sample in `out`; it gets the objects that would be trained on."""
    # Letterboxed boxes may exceed the image by a fraction of a pixel.
    limit = np.array([out.shape[1], out.shape[0]] * 2, np.float32)
    objects = plan.objects._replace(boxes=np.clip(plan.objects.boxes, 0, limit))
    image, objects = call_hook(
        "after_mosaic",
        hook,
        out,
        objects.keep(large_enough(objects, config)),
        num_classes=num_classes,
        seed=np.random.SeedSequence(seed, spawn_key=(2,)),
        path=loader.records[plan.record_index].path,
    )
    out[:] = image
    return objects


def _draw_mosaic(
    plan: SamplePlan, images: ImageLoader | HookedImages, canvases: Canvases, out: UInt[np.ndarray, "H W C"]
) -> None:
    def load(placement: Placement) -> Pixels:
        return images.pixels(placement, (out.shape[0], out.shape[1]))

    canvas = canvases.mosaic
    canvas.fill(padding_of(canvas.dtype))
    for tile in plan.tiles:
        paint(canvas, tile, load)
    if plan.partner is not None:
        fill_background(canvases.partner, plan.partner.padded)
        paint(canvases.partner, plan.partner.placement, load)
        blend(canvas, canvases.partner)
    if plan.shifts is not None:
        shift_hsv(canvas, plan.shifts, out)
    elif out.shape[2] == 3:
        cv2.cvtColor(canvas, cv2.COLOR_BGRA2BGR, dst=out)
    else:
        out[:] = canvas


def _draw_whole(plan: SamplePlan, images: ImageLoader | HookedImages, out: UInt[np.ndarray, "H W C"]) -> None:
    """Letterbox one image as in evaluation, with colour shifts and mirroring."""
    size = (out.shape[0], out.shape[1])
    image = images.fitted(plan.record_index, size)
    if plan.shifts is not None:
        image = shift_hsv(image, plan.shifts)
    if plan.mirrored:
        image = cv2.flip(image, 1).reshape(image.shape)  # OpenCV drops a single channel
    out[:] = letterbox(image, size)[0]
