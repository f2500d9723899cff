"""Letterboxing against arrays of the original."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from yolox_jax.data.letterbox import evaluation_image, letterbox

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "augment.npz")


@pytest.mark.parametrize("case", range(3))
def test_letterbox_equals_the_original(case: int) -> None:
    expected = REFERENCE[f"letterbox{case}/out"]
    image, ratio = letterbox(REFERENCE[f"letterbox{case}/image"], expected.shape[:2])
    np.testing.assert_array_equal(image, expected)
    assert ratio == pytest.approx(float(REFERENCE[f"letterbox{case}/ratio"]), rel=1e-12)


def test_image_of_the_input_size_is_left_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    image, ratio = letterbox(picture, (64, 96))
    np.testing.assert_array_equal(image, picture)
    assert ratio == 1.0


def test_evaluation_resizes_twice_where_truncation_loses_a_pixel() -> None:
    # 623 * (640 / 623) is 639.99..., so the first resize gives 639 px and the second stretches them.
    # See docs/yolox.md, 7.2.
    picture = np.random.default_rng(0).integers(0, 256, (300, 623, 3), np.uint8)
    image, ratio = evaluation_image(picture, (640, 640))
    first = cv2.resize(picture, (639, int(300 * (640 / 623))), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(image, letterbox(first, (640, 640))[0])
    assert (image[:, 639] != 114).any()
    assert ratio == 640 / 623


def test_extremely_long_image_keeps_a_pixel() -> None:
    image, _ = letterbox(np.zeros((1, 2000, 3), np.uint8), (64, 64))
    assert (image[0] == 0).all()
    assert (image[1:] == 114).all()
