"""Decodes images with the channels and bits that their files have: .npy arrays, TIFF stacks, and what OpenCV reads."""

import io

import cv2
import numpy as np
import PIL.TiffImagePlugin
from jaxtyping import Shaped, UInt

ARRAY_START = b"\x93NUMPY"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The last two are BigTIFF."""
_PHOTOMETRIC, _SAMPLES, _PLANAR = 262, 277, 284
"""Tags of TIFF."""
_RGB, _CHUNKY = 2, 1


def is_array_or_tiff(content: bytes) -> bool:
    """Whether an image is of a format that may hold any number of channels."""
    return content.startswith((ARRAY_START, *TIFF_STARTS))


def decode_unchanged(content: bytes) -> Shaped[np.ndarray, "H W C"]:
    """Decode an image with all its channels and bits.

    The order of the channels is that of the file, except that colours of files that say so become BGR or BGRA, as
    everywhere. The pages of a TIFF are channels. An EXIF orientation is ignored.

    Args:
        content: of an image file.

    Raises:
        ValueError: it cannot be decoded; the message is phrased to follow the name of the image.
    """
    if content.startswith(ARRAY_START):
        return _decode_array(content)
    if content.startswith(TIFF_STARTS):
        return _decode_tiff(content)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError("is not an image that OpenCV can decode")
    return _with_channels(image)


def array_size(content: bytes) -> tuple[int, int] | None:
    """Return the height and width of a .npy array from the start of its content; None if it is something else."""
    if not content.startswith(ARRAY_START):
        return None
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape = read(file)[0]
    return (shape[0], shape[1]) if len(shape) in (2, 3) else None


def _decode_array(content: bytes) -> Shaped[np.ndarray, "H W C"]:
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"is not a complete .npy array ({error})") from error
    if array.ndim not in (2, 3) or not array.size:
        raise ValueError(f"is an array of shape {list(array.shape)}; images are [height, width, channels]")
    return _with_channels(np.ascontiguousarray(array))


def _decode_tiff(content: bytes) -> UInt[np.ndarray, "H W C"]:
    try:
        samples, is_rgb, is_chunky = _tiff_layout(content)
    except Exception as error:  # Pillow raises many types
        raise ValueError(f"is not a TIFF file that can be read ({error})") from error
    # OpenCV leaves out samples of other layouts without a word.
    if samples > 1 and not (is_rgb and is_chunky and samples in (3, 4)):
        return _decode_samples(content, samples, is_rgb=is_rgb)
    try:
        _, pages = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pages = ()
    if not pages:
        raise ValueError("is not a TIFF file that OpenCV can decode")
    if len({page.shape for page in pages}) > 1:
        raise ValueError("is a TIFF file with pages of different sizes")
    return np.concatenate([_with_channels(page) for page in pages], axis=2)


def _tiff_layout(content: bytes) -> tuple[int, bool, bool]:
    """Return the number of samples of a pixel, whether they start with colours, and whether they are side by side."""
    header = content[: 16 if content[2:4] in (b"+\0", b"\0+") else 8]
    tags = PIL.TiffImagePlugin.ImageFileDirectory_v2(header)
    file = io.BytesIO(content)
    file.seek(tags.next)
    tags.load(file)
    return int(tags.get(_SAMPLES, 1)), tags.get(_PHOTOMETRIC) == _RGB, tags.get(_PLANAR, _CHUNKY) == _CHUNKY


def _decode_samples(content: bytes, samples: int, *, is_rgb: bool) -> UInt[np.ndarray, "H W C"]:
    try:
        import tifffile
    except ModuleNotFoundError as error:
        raise ValueError(
            f"is a TIFF file with {samples} samples a pixel, which needs a package: pip install 'yolox-jax[tiff]'"
        ) from error
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            series = file.series[0]
            array, axes = series.asarray(), series.axes
    except Exception as error:  # such as a compression that needs a package
        raise ValueError(f"is not a TIFF file that tifffile can decode ({error})") from error
    if sorted(axes) != ["S", "X", "Y"]:
        raise ValueError(f"is a TIFF file with {samples} samples a pixel and the axes {axes}, not one image")
    image = array.transpose([axes.index(axis) for axis in "YXS"])
    return np.ascontiguousarray(image[..., [2, 1, 0, *range(3, samples)]] if is_rgb else image)


def _with_channels(image: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "H W C"]:
    return image if image.ndim == 3 else image[..., None]
