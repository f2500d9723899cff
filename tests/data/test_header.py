"""Sizes of images from their headers."""

import cv2
import numpy as np
import pytest

from bad_datasets import HEIGHT, WIDTH, encoded, turned
from yolox_jax.data.header import read_header


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("filler", [b"", b"\xff"])
def test_size_in_a_header_is_that_of_the_upright_image(orientation: int, filler: bytes) -> None:
    content = turned(encoded(1), orientation)
    size = (WIDTH, HEIGHT) if orientation > 4 else (HEIGHT, WIDTH)
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape[:2] == size
    header = read_header(content[:2] + filler + content[2:])
    assert header is not None and header.upright_size == size


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe1", b"\x89PNG", b"GIF89a", turned(b"\xff\xd8")])
def test_header_that_tells_no_size_is_told(content: bytes) -> None:
    assert read_header(content) is None
