"""Sheets of training images."""

import numpy as np

from yolox_jax.data.training_images import TrainingImage
from yolox_jax.report.training_sheet import draw_section

SIZE = (64, 96)


def test_sheet_shows_the_pixels_with_boxes_and_scales_by_whole_numbers_upwards() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    box = TrainingImage("box", image, np.array([[24, 16, 72, 48]], np.float32), np.array([1], np.int32), SIZE)
    plain = TrainingImage("plain", image, np.zeros((0, 4), np.float32), np.zeros(0, np.int32), SIZE)
    sheet = draw_section("caption", [plain, box], ["a", "b"])
    tiles = sheet[-(6 * 64 + 4) :]
    first, second = tiles[2:-2, 2 : 2 + 576], tiles[2:-2, 6 + 576 : -2]
    large = image.repeat(6, axis=0).repeat(6, axis=1)
    np.testing.assert_array_equal(first, large)
    changed = (second != large).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert abs(rows[-1] - 6 * 48) <= 2 and abs(columns[0] - 6 * 24) <= 2 and abs(columns[-1] - 6 * 72) <= 2
    assert not changed[6 * 20 : 6 * 44, 6 * 40 : 6 * 70].any()


def test_sheet_of_large_images_is_not_gigantic() -> None:
    image = np.zeros((640, 640, 3), np.uint8)
    one = TrainingImage("", image, np.zeros((0, 4), np.float32), np.zeros(0, np.int32), (640, 640))
    for count in (1, 2, 7, 24):
        height, width, _ = draw_section("epoch 1", [one] * count, ["a"]).shape
        assert width <= 1700 and height <= 1400
