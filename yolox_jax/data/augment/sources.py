"""What a device draws a training sample from (`data.augment.on device`): its images, and where they go.

The images are resized to fit the input, as the original does before it builds a mosaic. A px of such an image is a px
of the canvas, so that the mosaic needs no pixels of its own: `training/step/drawing.py` looks each px of the canvas up
in the image that covers it. Coordinates on the canvas count from the point where its four images meet.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from yolox_jax.config.augment import MOSAIC_TILES
from yolox_jax.data.augment.matrix import mirroring, scaling
from yolox_jax.data.augment.paint import Placement, crop_visible, visible_part
from yolox_jax.data.augment.source_pool import SourcePool
from yolox_jax.data.hooks import HookedImages
from yolox_jax.data.image import Pixels
from yolox_jax.data.letterbox import fitted_size, resize_exactly
from yolox_jax.data.loader import ImageLoader
from yolox_jax.data.sample_plan import SamplePlan

PARTNER = MOSAIC_TILES
"""Place of the image that MixUp blends in among the sources."""


class SampleSources(NamedTuple):
    """The arrays of one sample, to be written to: rows of the batch's arrays of the same names."""

    sources: UInt8[np.ndarray, "P H W C"]
    """Images, each at the top left; zeros elsewhere, and where nothing of them is seen."""
    members: Int32[np.ndarray, " N"]
    """The images that the sample is drawn from: their places among all images of the batch, counted from the first one
    here. The tiles of a mosaic are in the order bottom right, bottom left, top right, top left; then comes the partner
    of MixUp. An image that is no mosaic is the first."""
    windows: Int32[np.ndarray, "N 4"]
    """x1, y1, x2, y2 in px of each member: the part of it to draw; zeros for those that are not seen."""
    matrices: Float32[np.ndarray, "2 2 3"]
    """Map px of the output, counted from the centre of the first one, to those of the canvas, and of the partner."""
    partner_padding: Int32[np.ndarray, "4"]
    """Window of the output in px that the letterboxed partner covers, padding included; zeros without MixUp."""
    shifts: Int32[np.ndarray, "3"]
    """Shifts of hue, saturation and value."""
    shifted_size: Int32[np.ndarray, "2"]
    """Height and width in px of the part of the output, at its top left, whose colours are shifted."""
    pool: SourcePool | None = None
    """The images of the group of the sample, if it shares them."""
    row_in_group: int = 0
    """Place of its own first image in the pool."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the output in px."""
        return self.sources.shape[1], self.sources.shape[2]


ARRAYS = ("sources", "members", "windows", "matrices", "partner_padding", "shifts", "shifted_size")
"""Names of the arrays in a batch."""


def sources_of_row(
    batch: dict[str, np.ndarray], row: int, pool: SourcePool | None = None, row_in_group: int = 0
) -> SampleSources:
    """Return the arrays of one sample in a batch, with the images that it shares with others, if any."""
    return SampleSources._make([*(batch[name][row] for name in ARRAYS), pool, row_in_group])


def write_sources(plan: SamplePlan, images: ImageLoader | HookedImages, out: SampleSources) -> None:
    """Load what is visible of the images of a sample, and write how to draw them.

    Args:
        plan: of the sample.
        images: loads the images.
        out: receives the arrays; its sources must be zeros.

    Raises:
        BrokenImage: an image cannot be used.
    """
    for array in (out.members, out.windows, out.matrices, out.partner_padding, out.shifts, out.shifted_size):
        array.fill(0)
    size = out.size
    if plan.tiles:
        for place, tile in enumerate(reversed(plan.tiles)):
            _write_source(tile, images, out, place)
        # The top left of the image at the bottom right is where the four meet.
        out.matrices[0] = _to_source(plan.tiles[-1], images, size)
        if plan.partner is not None:
            _write_source(plan.partner.placement, images, out, PARTNER)
            out.matrices[1] = _to_source(plan.partner.placement, images, size)
            out.partner_padding[:] = plan.partner.padded
        shifted_size = size
    else:
        shifted_size = _write_whole(plan, images, out)
    if plan.shifts is not None:
        out.shifts[:], out.shifted_size[:] = plan.shifts, shifted_size


def _write_source(placement: Placement, images: ImageLoader | HookedImages, out: SampleSources, place: int) -> None:
    """Write the visible part of an image, if there is any; all of it, if it is shared."""
    size = out.size
    visible = visible_part(placement, size)
    if visible is None:
        return
    (height, width), scale = _fitted(placement, images, size)
    x1, y1, x2, y2 = placement.window
    out.windows[place] = round(x1 * scale[0]), round(y1 * scale[1]), round(x2 * scale[0]), round(y2 * scale[1])
    if out.pool is not None:
        in_pool = out.pool.place_of(placement.record_index, lambda index: images.fitted(index, size))
        out.members[place] = in_pool - out.row_in_group
        return
    # Decoded at a reduced scale where that is enough to show it, which also keeps it smooth when it becomes small.
    image = resize_exactly(images.pixels(placement, size).image, (height, width))
    part, (left, top) = crop_visible(Pixels(image, scale), placement.window, visible[1])
    out.sources[place, top : top + part.shape[0], left : left + part.shape[1]] = part
    out.members[place] = place


def _to_source(
    placement: Placement, images: ImageLoader | HookedImages, size: tuple[int, int]
) -> Float32[np.ndarray, "2 3"]:
    """Return the matrix from the output to the resized image; zeros if it is squeezed into a line, and not seen."""
    if not placement.matrix.determinant:
        return np.zeros((2, 3), np.float32)
    to_source = scaling(*_fitted(placement, images, size)[1]).after(placement.matrix.inverse())
    return to_source.to_pixel_centres().astype(np.float32)


def _fitted(
    placement: Placement, images: ImageLoader | HookedImages, size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Return height and width of the resized image, and its px per px of the full-size image along x and y."""
    record = images.find(placement.record_index)[1]
    height, width = fitted_size((record.height, record.width), size)[0]
    return (height, width), (width / record.width, height / record.height)


def _write_whole(plan: SamplePlan, images: ImageLoader | HookedImages, out: SampleSources) -> tuple[int, int]:
    """Write the image of a sample that is no mosaic; return its height and width in the output."""
    size = out.size
    image = images.fitted(plan.record_index, size)
    height, width = image.shape[:2]
    if out.pool is None:
        out.sources[0, :height, :width] = image
    else:
        out.members[0] = out.pool.place_of(plan.record_index, lambda _: image) - out.row_in_group
    out.windows[0] = 0, 0, width, height
    # If truncation made the image one pixel too small, letterboxing resizes it again.
    drawn = fitted_size((height, width), size)[0]
    to_output = scaling(drawn[1] / width, drawn[0] / height)
    if plan.mirrored:
        to_output = to_output.after(mirroring(width))
    out.matrices[0] = to_output.inverse().to_pixel_centres()
    return drawn
