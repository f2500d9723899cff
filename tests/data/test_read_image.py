"""Reading images: orientation, and telling broken files from whole ones."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from yolox_jax.data.image import BrokenImage, decode_image, read_image

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def _encode(ending: str) -> bytes:
    return cv2.imencode(ending, PICTURE)[1].tobytes()


def _with_header(jpeg: bytes, payload: bytes) -> bytes:
    """Insert an APP1 segment after the start-of-image marker."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


def _orientation(value: int) -> bytes:
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, value, 0)
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)


def test_png_is_read_exactly(tmp_path: Path) -> None:
    path = tmp_path / "bild ä.png"
    path.write_bytes(_encode(".png"))
    np.testing.assert_array_equal(decode_image(path.read_bytes(), path, size=(40, 60)), PICTURE)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    path.write_bytes(_with_header(_encode(".jpg"), _orientation(6)))
    upright = cv2.imdecode(np.frombuffer(_encode(".jpg"), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_image(path), cv2.rotate(upright, cv2.ROTATE_90_CLOCKWISE))


def test_bytes_after_the_end_of_a_jpeg_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "padded.jpg"
    path.write_bytes(_encode(".jpg") + b"\0" * 100)
    assert read_image(path).shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (_encode(".jpg")[:-300], "is truncated"),
        (_with_header(_encode(".jpg"), b"thumbnail \xff\xd9 of its own")[:-300], "is truncated"),
        (_encode(".png")[:-300], "is truncated"),
        (b"", "empty"),
        (b"this is text", "not an image"),
        (_encode(".jpg")[:2] + b"\xff\xd9", "not an image"),
    ],
    ids=["jpeg", "jpeg-with-thumbnail", "png", "empty", "text", "hollow-jpeg"],
)
def test_broken_image_is_named_with_its_fault(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(BrokenImage, match=rf"broken\.jpg: .*{why}"):
        read_image(path)


def test_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenImage, match=r"gone\.jpg: cannot be read \(No such file"):
        read_image(tmp_path / "gone.jpg")


def test_size_other_than_annotated_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_encode(".png"))
    with pytest.raises(BrokenImage, match="is 60x40 px .* the annotations say 41x60"):
        decode_image(path.read_bytes(), path, size=(60, 41))


def test_image_annotated_before_its_orientation_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    path.write_bytes(_with_header(_encode(".jpg"), _orientation(6)))
    with pytest.raises(BrokenImage, match="is 40x60 px .* say 60x40, its size before .* remove the orientation tag"):
        decode_image(path.read_bytes(), path, size=(40, 60))
    assert decode_image(path.read_bytes(), path, size=(60, 40)).shape == (60, 40, 3)


def test_swapped_height_and_width_without_an_orientation_are_the_fault_of_the_annotations(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(_encode(".jpg"))
    with pytest.raises(BrokenImage, match="with height and width swapped. Correct them in the annotations"):
        decode_image(path.read_bytes(), path, size=(60, 40))


WHOLE = np.zeros((40, 60, 3), np.uint8)
WHOLE[:20, :30], WHOLE[20:] = (20, 10, 250), (200, 100, 4)
GREY = np.repeat(WHOLE[..., :1], 3, axis=2)
ALPHA = np.where(np.arange(60) < 30, 255, 0).astype(np.uint8) * np.ones((40, 1), np.uint8)


@pytest.mark.parametrize(
    ("name", "stored", "expected"),
    [
        ("grey.png", WHOLE[..., 0], GREY),
        ("alpha.png", np.dstack([WHOLE, ALPHA]), WHOLE),  # transparency is dropped, as by the original
        ("16-bit.png", WHOLE.astype(np.uint16) * 256, WHOLE),
        ("16-bit.tiff", WHOLE.astype(np.uint16) * 257, WHOLE),
        ("16-bit-grey.png", WHOLE[..., 0].astype(np.uint16) * 256, GREY),
        ("plain.bmp", WHOLE, WHOLE),
        ("plain.webp", WHOLE, WHOLE),
    ],
)
def test_images_of_every_kind_become_three_bytes_a_px(
    tmp_path: Path, name: str, stored: np.ndarray, expected: np.ndarray
) -> None:
    cv2.imwrite(str(tmp_path / name), stored, [cv2.IMWRITE_WEBP_QUALITY, 101])
    np.testing.assert_allclose(read_image(tmp_path / name).astype(int), expected, atol=1)


@pytest.mark.parametrize("mode", ["P", "CMYK", "1", "LA"])
def test_images_with_a_palette_or_for_print_are_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    Image.fromarray(np.zeros((40, 60, 3), np.uint8) + np.uint8(255)).convert(mode).save(path)
    assert (read_image(path) > 250).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("reduction", [1, 2])
def test_all_orientations_are_turned_upright(tmp_path: Path, orientation: int, reduction: int) -> None:
    picture = Image.fromarray(np.repeat(np.repeat(WHOLE, 4, axis=0), 4, axis=1))
    exif = picture.getexif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    picture.save(path, exif=exif, quality=95)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))[..., ::-1]
    found = decode_image(path.read_bytes(), path, size=upright.shape[:2], reduction=reduction)
    expected = cv2.resize(upright, None, fx=1 / reduction, fy=1 / reduction, interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(int) - expected).mean() < 2.5


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_of_an_animation_the_first_frame_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"moving.{ending}"
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("white", "black", "red")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    image = read_image(path)
    assert image.shape == (40, 60, 3) and (image == 255).all()


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp"])
def test_an_image_of_one_px_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"dot.{ending}"
    Image.new("RGB", (1, 1), "white").save(path)
    assert read_image(path).tolist() == [[[255, 255, 255]]]


# A BMP of 40,000 px to a side, which are more than OpenCV decodes.
HUGE = b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 40000, 40000, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg' width='60' height='40'/>",
        HUGE,
        cv2.imencode(".tiff", np.zeros((40, 60), np.float32))[1].tobytes(),
    ],
    ids=["heic", "svg", "huge", "float"],
)
def test_what_opencv_does_not_decode_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(BrokenImage, match=r"image\.png: is not an image that OpenCV can decode"):
        read_image(path)
