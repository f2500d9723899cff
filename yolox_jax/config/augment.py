"""Settings of the random augmentation of training images."""

import dataclasses
from typing import Annotated, Literal

from yolox_jax.config.ranges import Ascending, AtLeast, AtMost, Below, Fraction, NonNegative, Positive

MOSAIC_TILES = 4
"""Number of images in a mosaic."""


@dataclasses.dataclass(frozen=True)
class AugmentConfig:  # docs/yolox.md, 7
    """Random augmentation of training images."""

    on: Literal["host", "device"] = "host"  # docs/data.md
    """Where training images are drawn. `host`: by the processors that load images. `device`: by the GPU, inside the
    training step, from the images of each sample, resized to fit the input. Random choices and boxes are the same;
    pixels differ slightly. Takes most of the work off the host, best with `partners batch`: otherwise up to five times
    the bytes are sent."""
    mosaic_probability: Fraction = 1.0
    """Fraction of training images that are mosaics of four images; the others are single letterboxed images."""
    mosaic_geometry: Literal["centred", "corner"] = "centred"  # docs/yolox.md, 7.3 and 10.1
    """`centred`: zoom and rotate a mosaic about its centre and drop boxes that are barely visible, as for the published
    weights. `corner`: about its top-left corner, keeping all boxes, as on the original's main branch."""
    mosaic_scale: Annotated[tuple[Positive, Positive], Ascending()] = (0.1, 2.0)
    """Smallest and largest zoom factor of a mosaic."""
    degrees: NonNegative = 10.0
    """Maximum rotation of a mosaic in either direction, in degrees."""
    translate: NonNegative = 0.1
    """Maximum shift of a mosaic in either direction, as a fraction of the input size."""
    # Both axes shear at once: if both reach 45 degrees, the image collapses into a line; beyond that it is mirrored.
    shear_degrees: Annotated[float, AtLeast(0), Below(45)] = 2.0
    """Maximum shear of a mosaic along each axis in either direction, in degrees."""
    mixup_probability: Fraction = 1.0
    """Fraction of mosaics that are blended with another image; 0 turns MixUp off."""
    mixup_scale: Annotated[tuple[Positive, Positive], Ascending()] = (0.5, 1.5)
    """Smallest and largest zoom factor of the image that is blended in."""
    hsv_probability: Fraction = 1.0
    """Fraction of images whose colours are jittered."""
    # The ranges of the channels in OpenCV; the shifts are drawn as int16.
    hsv_gains: tuple[
        Annotated[float, AtLeast(0), AtMost(180)],
        Annotated[float, AtLeast(0), AtMost(255)],
        Annotated[float, AtLeast(0), AtMost(255)],
    ] = (5.0, 30.0, 30.0)
    """Maximum shift of hue (0 to 180), saturation and value (0 to 255) in either direction."""
    flip_probability: Fraction = 0.5
    """Fraction of images that are flipped horizontally."""
    min_side_px: NonNegative = 2.0
    """Centred mosaics: drop boxes unless both sides exceed this, in pixels of the network input."""
    min_visible: Fraction = 0.2
    """Centred mosaics, and tiles of large images (`data.tile`): drop boxes unless more than this fraction of their
    scaled area is visible."""
    max_aspect: Annotated[float, AtLeast(1)] = 20.0
    """Centred mosaics: drop boxes unless their longer side is less than this many times the shorter one."""
    min_final_side_px: NonNegative = 1.0  # docs/yolox.md, 7.5
    """After all augmentation: drop boxes unless both sides exceed this, in pixels of the network input."""
    partners: Literal["dataset", "batch"] = "dataset"  # docs/data.md
    """Where the other images of mosaics and MixUp come from. `dataset`: from all training images, as in the original.
    `batch`: from some neighbours in the batch (`partner_group`), so that each image is decoded about once for all
    samples that show it. Use it where decoding limits the speed and no cache fits."""
    partner_group: Annotated[int, AtLeast(4)] = 8  # docs/data.md
    """With `partners batch`: a batch is divided into groups of at least this many images, which are each other's
    partners. Larger groups are more varied, and hold more decoded images in memory."""
