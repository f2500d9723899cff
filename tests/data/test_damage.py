"""Images that are damaged inside: named by `data check`, and skipped in training where their end is grey."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from bad_datasets import turned
from yolox_jax.data.damage import complaint, decoder_messages
from yolox_jax.data.dataset import Record
from yolox_jax.data.doctor.images import DAMAGED, check_images, image_findings
from yolox_jax.data.image import BrokenImage, decode_image, read_image

PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8), (0, 0), 1)
PROGRESSIVE = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]


def encoded(ending: str = ".jpg", *flags: int, picture: np.ndarray = PICTURE) -> bytes:
    return cv2.imencode(ending, picture, flags)[1].tobytes()


def zeroed(content: bytes) -> bytes:
    """The content with zeros from its middle to just before its end."""
    half = len(content) // 2
    return content[:half] + bytes(len(content) - half - 2) + content[-2:]


def without_middle(content: bytes) -> bytes:
    half = len(content) // 2
    return content[:half] + content[half + 1000 :]


@pytest.mark.parametrize("reduction", [1, 2, 8])
@pytest.mark.parametrize(
    "content",
    [
        zeroed(encoded()),
        without_middle(encoded()),
        zeroed(encoded(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 4)),
        *(turned(zeroed(encoded()), orientation) for orientation in (3, 6, 8)),
    ],
)
def test_a_jpeg_that_lost_data_inside_is_broken(tmp_path: Path, content: bytes, reduction: int) -> None:
    for _ in range(2):
        with pytest.raises(BrokenImage, match=r"a\.jpg: is damaged inside \(Corrupt JPEG data"):
            decode_image(content, tmp_path / "a.jpg", reduction=reduction)


def test_a_damaged_jpeg_is_decoded_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(zeroed(encoded()))
    for _ in range(3):
        with pytest.raises(BrokenImage):
            read_image(tmp_path / "a.jpg")
    assert capfd.readouterr().err.count("Corrupt JPEG data") == 1


def test_a_jpeg_that_is_grey_at_its_corners_or_has_zeros_in_its_header_is_whole(tmp_path: Path) -> None:
    picture = PICTURE.copy()
    picture[-32:] = picture[:32] = 128
    grey = encoded(picture=picture)
    padding = b"\xff\xe5\x10\x02" + bytes(4096)  # an APP5 segment
    for content in (grey, grey[:2] + padding + grey[2:]):
        assert decode_image(content, tmp_path / "a.jpg").shape == picture.shape


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("progressive.jpg", without_middle(encoded(".jpg", *PROGRESSIVE))),
        ("extraneous.jpg", encoded()[:-2] + b"\x12" * 20 + b"\xff\xd9"),
        ("lzw.tif", encoded(".tif")[:4000] + bytes(2000) + encoded(".tif")[6000:]),
    ],
)
def test_a_check_names_what_decoders_complain_about(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    assert complaint(content)
    contents = {"whole.jpg": encoded(), name: content, "bad.png": zeroed(encoded(".png"))}
    records = []
    for number, (file, data) in enumerate(contents.items()):
        (tmp_path / file).write_bytes(data)
        empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
        records.append(Record(tmp_path / file, number, *PICTURE.shape[:2], *empty))
    checks = check_images(
        [("train", record) for record in records], quick=False, num_threads=2, on_progress=lambda done, total: None
    )
    findings = {finding.kind: finding for finding in image_findings(checks, "skip")}
    assert [case.records[0].path.name for case in findings[DAMAGED].cases] == [name]
    assert "is decoded with errors (" in findings[DAMAGED].cases[0].text
    assert [case.records[0].path.name for case in findings["images that cannot be read"].cases] == ["bad.png"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("damage", ["crc", "zeros"])
def test_a_damaged_png_is_broken(tmp_path: Path, damage: str) -> None:
    content = bytearray(encoded(".png"))
    content[len(content) // 2] ^= 1
    with pytest.raises(BrokenImage, match=r"a\.png: is (not an image that OpenCV can decode|truncated)"):
        decode_image(bytes(content) if damage == "crc" else zeroed(bytes(content)), tmp_path / "a.png")


def test_other_output_passes_on(capfd: pytest.CaptureFixture[str]) -> None:
    with decoder_messages() as messages:
        os.write(2, b"progressCorrupt JPEG data: bad Huffman code\nmore\n")
    assert messages == ["Corrupt JPEG data: bad Huffman code"]
    assert capfd.readouterr().err == "progressmore\n"
