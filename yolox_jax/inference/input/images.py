"""Images that a program passes: arrays, PIL images, paths of files."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
from jaxtyping import Array, UInt, UInt8

from yolox_jax.data.channels import to_format, to_picture
from yolox_jax.data.image import BrokenImage, read_image, read_picture
from yolox_jax.data.pixel_format import BGR8, PixelFormat
from yolox_jax.inference.input.urls import check_scheme, fetch_image, is_url

Image = np.ndarray | Array | PIL.Image.Image | str | os.PathLike[str]
"""A uint8 [H, W, 3] array in BGR order as OpenCV reads it, a PIL image, or the path or URL of an image file. For a
network of other channels or bits, an array has those."""

logger = logging.getLogger(__name__)

_EXPECTED = "an image must be a uint8 array [height, width, 3] in BGR order, as cv2.imread returns it"


def is_path(image: object) -> bool:
    """Whether an image is given as the path of a file."""
    return isinstance(image, str | os.PathLike)


def as_list(images: Any) -> Iterable[Any] | None:
    """Return the images of a list, tuple, generator or an array of paths; None if `images` is a single image.

    Raises:
        ValueError: it is a mapping or a set, whose images have no order.
    """
    if isinstance(images, dict | set | frozenset):
        raise ValueError(f"pass several images as a list, not as a {type(images).__name__}")
    if _is_array(images):  # an array or a pandas.Series of paths
        is_list = len(images.shape) == 1 and getattr(images.dtype, "kind", "") in ("O", "U", "T")
        return list(np.asarray(images)) if is_list else None
    if is_path(images) or isinstance(images, PIL.Image.Image | bytes | bytearray | memoryview):
        return None
    return images if isinstance(images, Iterable) and not hasattr(images, "read") else None


def to_bgr_array(image: Any) -> UInt8[np.ndarray, "H W 3"]:
    """Return the pixels of an image, see `Image`, in BGR order.

    Raises:
        ValueError: this is not an image, or a PIL image has a mode without a fixed range of values.
        BrokenImage: a file or URL cannot be read.
        ConfigError: a URL has a scheme that is not supported.
    """
    if isinstance(image, PIL.Image.Image):
        return _from_pil(image)
    if is_url(image):
        fetched = fetch_image(image)
        if fetched is None:
            raise BrokenImage(image, "is not the URL of an image")
        return fetched
    if is_path(image):
        if not Path(image).exists():
            check_scheme(image)
        return read_image(Path(image))
    if not _is_array(image):
        raise ValueError(_not_an_image(image))
    array = _to_numpy(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        got = f"{array.dtype} {list(array.shape)}"
        raise ValueError(f"{_EXPECTED}; got {got}{_advice(array, _name_of(image))}")
    return array


def to_network_array(image: Any, pixels: PixelFormat) -> UInt[np.ndarray, "H W C"]:
    """Return the pixels of an image, see `Image`, in the format that a network takes.

    Raises:
        ValueError, BrokenImage, ConfigError: as `to_bgr_array`; and the image has another number of channels, or 16
            bits where the network takes 8.
    """
    if pixels == BGR8:
        return to_bgr_array(image)
    if is_path(image) and not is_url(image) and Path(image).exists():
        return read_image(Path(image), pixels)
    array = _from_pil_unchanged(image) if isinstance(image, PIL.Image.Image) else None
    if array is None:
        array = _with_channels(_to_numpy(image)) if _is_array(image) else to_bgr_array(image)
    try:
        return to_format(array, pixels)
    except ValueError as error:
        raise ValueError(f"an image of the type {_name_of(image)} {error}") from error


def to_picture_array(image: Any) -> UInt8[np.ndarray, "H W 3"]:
    """Return an image of any format as 8-bit BGR to look at (`yolox_jax.data.channels.to_picture`).

    Raises:
        ValueError, BrokenImage, ConfigError: as `to_bgr_array`.
    """
    if is_path(image) and not is_url(image) and Path(image).exists():
        return read_picture(Path(image))
    array = _to_numpy(image) if _is_array(image) else None
    if array is not None and array.dtype in (np.uint8, np.uint16) and array.ndim in (2, 3):
        return to_picture(_with_channels(array))
    return to_bgr_array(image)


def _to_numpy(image: Any) -> np.ndarray:
    try:
        return np.asarray(image)
    except Exception as error:  # such as a torch tensor on a GPU
        raise ValueError(f"{_EXPECTED}; a {_name_of(image)} cannot be converted: {error}") from error


def _with_channels(array: np.ndarray) -> np.ndarray:
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or not array.size:
        raise ValueError(f"an image must be an array [height, width, channels]; got {array.dtype} {list(array.shape)}")
    return array


def kept_to_draw(image: Any, pixels: UInt[np.ndarray, "H W C"], *, is_held: bool) -> Any:
    """What detections keep of their image: a path, or else what the caller holds anyway; None if nothing.

    Args:
        image: as it was passed.
        pixels: its pixels, which are kept for a URL, because they cannot be read again for sure.
        is_held: whether the caller holds the images, as in a list. Those of a generator would fill the memory.
    """
    if is_path(image) and not is_url(image):
        return image
    return (pixels if is_url(image) else image) if is_held else None


def read_all(images: Iterable[tuple[int, Any]], pixels: PixelFormat) -> list[UInt[np.ndarray, "_ _ C"] | BrokenImage]:
    """Return the pixels of numbered images in a format.

    In place of those that cannot be read, which are logged, stands the error.

    Raises:
        ValueError: as `to_network_array`; the message has the number of the image.
    """
    read: list[np.ndarray | BrokenImage] = []
    for number, image in images:
        try:
            read.append(to_network_array(image, pixels))
        except BrokenImage as error:
            logger.warning("%s %s", error.path, error.why)
            read.append(error)
        except ValueError as error:
            raise ValueError(f"image {number} of the list: {error}") from error
    return read


def _is_array(image: object) -> bool:
    return hasattr(image, "__array__") and hasattr(image, "shape") and hasattr(image, "dtype")


def _name_of(image: object) -> str:
    return f"{type(image).__module__.split('.')[0]} {type(image).__name__}"


def _not_an_image(image: object) -> str:
    if image is None:
        return f"{_EXPECTED}; got None, which cv2.imread returns for a file that it cannot read. Check the path"
    if isinstance(image, bytes | bytearray | memoryview):
        return (
            "got bytes; decode them with cv2.imdecode first: "
            "cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)"
        )
    if hasattr(image, "read"):
        return f"got an open file ({type(image).__name__}); pass its path, or PIL.Image.open(file)"
    return f"{_EXPECTED}, a PIL image or a path; got {type(image).__name__} ({' '.join(str(image).split())[:60]})"


def _advice(array: np.ndarray, kind: str) -> str:
    """What to do about an array of another type or shape."""
    shape = array.shape
    if array.size == 0:
        return ", which has no pixels"
    if array.ndim < 2:
        return ". Pass the pixels of an image, or its path"
    if array.ndim == 4:
        return ". Pass several images as a list: list(images)"
    steps = []
    if array.ndim == 3 and shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4):
        steps.append("move the channels to the end: " + (".permute" if "torch" in kind else ".transpose") + "(1, 2, 0)")
        shape = (*shape[1:], shape[0])
    if array.dtype.kind == "f":
        steps.append("scale the values to 0..255 and convert them to uint8")
    elif array.dtype != np.uint8:
        steps.append("convert the values to uint8, from 0 to 255")
    if array.ndim == 2 or shape[-1] == 1:
        steps.append("copy grey to three channels: cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)")
    elif shape[-1] == 4:
        steps.append("drop the alpha channel: image[..., :3]")
    if shape[-1] in (3, 4) and array.ndim == 3 and steps:
        steps.append("reverse the channels if they are RGB: image[..., ::-1]")
    return f". To convert it, {'; '.join(steps)}" if steps else ""


def _from_pil_unchanged(image: PIL.Image.Image) -> UInt[np.ndarray, "H W C"] | None:
    """Return what `_from_pil` would drop, 16 bits or an alpha channel; None if there is neither."""
    upright = PIL.ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return np.asarray(upright)[..., None]
    return np.asarray(upright)[..., [2, 1, 0, 3]] if upright.mode == "RGBA" else None


def _from_pil(image: PIL.Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    if image.mode in ("I", "F"):
        raise ValueError(f"a PIL image of mode {image.mode} has no fixed range of values; convert it to RGB first")
    if 0 in image.size:
        raise ValueError(f"a PIL image of {image.width}x{image.height} px has no pixels")
    try:
        upright = PIL.ImageOps.exif_transpose(image)
    except (OSError, SyntaxError) as error:  # PIL decodes pixels only now, and raises these for damaged files
        path = Path(getattr(image, "filename", "") or "a PIL image")
        raise BrokenImage(path, f"cannot be decoded ({error})") from error
    if upright.mode.startswith("I;16"):  # 16 bits; `convert` would clip them at 255
        grey = (np.asarray(upright) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.ascontiguousarray(np.asarray(upright.convert("RGB"))[..., ::-1])
