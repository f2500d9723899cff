"""What programs pass as images, and what they are told about what is none."""

import io
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from yolox_jax.inference.input.images import as_list, to_bgr_array

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


class Tensor:
    """An array of another library, as a torch tensor, which may be on a GPU."""

    def __init__(self, array: np.ndarray, *, is_on_gpu: bool = False) -> None:
        self._array, self._is_on_gpu = array, is_on_gpu
        self.shape, self.dtype = array.shape, array.dtype

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        if self._is_on_gpu:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")
        return self._array


Tensor.__module__ = "torch"


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray, Tensor, lambda x: np.asarray(x, order="F")])
def test_arrays_of_other_libraries_are_taken(convert):
    np.testing.assert_array_equal(to_bgr_array(convert(IMAGE)), IMAGE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"uint8 array.*got None, which cv2\.imread returns"),
        (b"\xff\xd8", r"got bytes; decode them with cv2\.imdecode first"),
        (bytearray(2), "got bytes"),
        (io.BytesIO(b""), r"open file \(BytesIO\).*PIL\.Image\.open"),
        (np.int64(3), r"got int64 \[\]\. Pass the pixels"),
        (PIL.Image.new("RGB", (0, 5)), "0x5 px has no pixels"),
        (3.5, r"a path; got float \(3\.5\)"),
        (IMAGE / 255, r"uint8 array.*float64 \[40, 60, 3\].*0\.\.255"),
        (IMAGE[..., 0], r"got uint8 \[40, 60\].*COLOR_GRAY2BGR"),
        (IMAGE[..., :1], "COLOR_GRAY2BGR"),
        (np.zeros((4, 5, 4), np.uint8), r"drop the alpha channel: image\[\.\.\., :3\]"),
        (IMAGE.transpose(2, 0, 1), r"channels to the end: \.transpose\(1, 2, 0\)"),
        (IMAGE[None], r"as a list: list\(images\)"),
        (IMAGE.astype(np.uint16), "convert the values to uint8"),
        (np.zeros((0, 5, 3), np.uint8), "has no pixels"),
        (Tensor(IMAGE.transpose(2, 0, 1).astype(np.float32)), r"permute\(1, 2, 0\); scale.*if they are RGB"),
        (Tensor(IMAGE, is_on_gpu=True), r"torch Tensor cannot be converted.*Tensor\.cpu"),
    ],
)
def test_what_is_no_image_is_refused_with_what_to_do(given, message):
    with pytest.raises(ValueError, match=message):
        to_bgr_array(given)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_pil_images_of_any_mode_are_taken(mode):
    assert to_bgr_array(PIL.Image.fromarray(IMAGE).convert(mode)).shape == IMAGE.shape


def test_lists_of_any_kind_are_lists():
    paths = ["a.jpg", "b.jpg"]
    series = Tensor(np.array(paths, object))  # as in a data frame
    for several in (paths, tuple(paths), np.array(paths), np.array(paths, object), series, (path for path in paths)):
        assert list(as_list(several)) == paths
    for single in (IMAGE, jnp.asarray(IMAGE), Tensor(IMAGE), PIL.Image.fromarray(IMAGE), "a", Path("a"), b"a", None, 3):
        assert as_list(single) is None
    for unordered in ({"a": 1}, {"a"}):
        with pytest.raises(ValueError, match="as a list, not as a"):
            as_list(unordered)
