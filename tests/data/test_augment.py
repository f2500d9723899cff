"""Mosaic, affine, MixUp and colour: against arrays of the original and against brute force."""

from pathlib import Path

import numpy as np
import pytest

from yolox_jax.config import AugmentConfig
from yolox_jax.data.augment.affine import (
    AffineDraw,
    affine,
    centred_matrix,
    corner_matrix,
    transform_boxes,
    visible_boxes,
)
from yolox_jax.data.augment.colour import draw_shifts, shift_hsv
from yolox_jax.data.augment.mixup import mixup
from yolox_jax.data.augment.mosaic import build_mosaic, place_tile
from yolox_jax.data.image import LabelledImage

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "augment.npz")
IDENTITY = AffineDraw(0.0, 1.0, 0.0, 0.0, 0.0, 0.0)


def _labelled(image: np.ndarray, boxes: list[list[float]]) -> LabelledImage:
    return LabelledImage(image, np.array(boxes, np.float32).reshape(-1, 4), np.arange(len(boxes), dtype=np.int32))


def _flat(value: int, height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_corner_matrices_and_boxes_equal_the_original() -> None:
    draws = REFERENCE["affine/draws_w_h_angle_scale_shearx_sheary_tx_ty"]
    for number, (width, height, *parts) in enumerate(draws.tolist()):
        size = (int(height), int(width))
        matrix = corner_matrix(AffineDraw(*parts), size)
        np.testing.assert_allclose(matrix, REFERENCE["affine/matrix"][number], atol=1e-6)
        boxes = REFERENCE["affine/boxes_in"][number, :, :4].astype(np.float32)
        np.testing.assert_allclose(
            transform_boxes(boxes, matrix, size), REFERENCE["affine/boxes_out"][number, :, :4], atol=1e-4
        )


def test_mosaic_placements_equal_the_original() -> None:
    for given, expected in zip(
        REFERENCE["mosaic/in_index_xc_yc_w_h_inputh_inputw"].tolist(),
        REFERENCE["mosaic/out_large_xyxy_small_xyxy"].tolist(),
        strict=True,
    ):
        quadrant, x, y, width, height, input_height, input_width = given
        large, small = place_tile(quadrant, (x, y), (height, width), (2 * input_height, 2 * input_width))
        assert [*large, *small] == expected


@pytest.mark.parametrize("case", range(3))
def test_hsv_shift_equals_the_original(case: int) -> None:
    shifted = shift_hsv(REFERENCE[f"hsv{case}/image"], REFERENCE[f"hsv{case}/gains"])
    np.testing.assert_array_equal(shifted, REFERENCE[f"hsv{case}/out"])


def test_hsv_shifts_stay_within_their_gains_and_switch_off_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    shifts = np.stack([draw_shifts(rng, (5.0, 30.0, 30.0)) for _ in range(4000)])
    assert np.abs(shifts).max(axis=0).tolist() == [4, 29, 29]  # truncated towards zero
    assert 0.5 < (shifts[:, 1] == 0).mean() < 0.56


def test_mosaic_boxes_enclose_the_pixels_they_enclosed_in_the_tiles() -> None:
    tiles = []
    for value, (height, width) in enumerate([(64, 64), (32, 64), (64, 32), (128, 96)], start=1):
        picture = _flat(0, height, width)
        picture[height // 4 : height // 2, width // 4 : width // 2] = 50 * value
        tiles.append(_labelled(picture, [[width / 4, height / 4, width / 2, height / 2]]))
    mosaic = build_mosaic(tiles, (70, 60), (64, 64))
    assert mosaic.image.shape == (128, 128, 3)
    for value, box in enumerate(mosaic.boxes, start=1):
        rows, columns = np.nonzero(mosaic.image[..., 0] == 50 * value)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(box, found, atol=1.0)


def test_centred_geometry_keeps_the_middle_of_the_mosaic_in_the_middle() -> None:
    draw = AffineDraw(angle_deg=9.0, scale=0.3, shear_x_deg=1.5, shear_y_deg=-2.0, translate_x=0.1, translate_y=-0.05)
    matrix = centred_matrix(draw, (200, 400), (100, 200))
    np.testing.assert_allclose(matrix @ [200, 100, 1], [0.6 * 200, 0.45 * 100])


@pytest.mark.parametrize("geometry", ["centred", "corner"])
def test_affine_moves_boxes_as_it_moves_pixels(geometry: str) -> None:
    canvas = _flat(0, 256, 256)
    canvas[100:140, 90:150] = 255
    config = AugmentConfig(mosaic_geometry=geometry)
    draw = AffineDraw(angle_deg=-7.0, scale=0.8, shear_x_deg=2.0, shear_y_deg=1.0, translate_x=-0.05, translate_y=0.1)
    moved = affine(_labelled(canvas, [[90, 100, 150, 140]]), draw, (128, 128), config)
    rows, columns = np.nonzero((moved.image[..., 0] > 128) & (moved.image[..., 0] != 114))
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(moved.boxes[0], found, atol=1.5)


def test_hardly_visible_small_and_thin_boxes_are_dropped() -> None:
    before = np.array([[0, 0, 10, 10]] * 6, np.float32)
    after = np.array(
        [
            [0, 0, 10, 10],
            [0, 0, 2.1, 10],  # 21 % in view
            [0, 0, 10, 1.9],  # a side of less than 2 px
            [0, 0, 4, 4.9],  # 19.6 % in view
            [0, 0, 2.5, 51],  # aspect above 20
            [5, 5, 5, 9],  # nothing left
        ],
        np.float32,
    )
    assert visible_boxes(before, after, 1.0, AugmentConfig()).tolist() == [True, True, False, False, False, False]
    # At twice the zoom the same pixels are a quarter of what there is to see.
    assert visible_boxes(before, after, 2.0, AugmentConfig()).tolist() == [True, False, False, False, False, False]


def test_corner_geometry_keeps_all_boxes() -> None:
    mosaic = _labelled(_flat(9, 128, 128), [[100, 100, 120, 120], [30, 30, 60, 60]])
    kept = {
        geometry: affine(mosaic, IDENTITY, (64, 64), AugmentConfig(mosaic_geometry=geometry)).classes.tolist()
        for geometry in ("corner", "centred")
    }
    assert kept == {"corner": [0, 1], "centred": [1]}


def test_mixup_is_the_mean_rounded_down_and_joins_the_objects() -> None:
    base = _labelled(_flat(101, 64, 64), [[1, 2, 30, 40]])
    partner = _labelled(_flat(60, 32, 64), [[0, 0, 10, 10]])
    mixed = mixup(base, partner, (1.0, 1.0), np.random.default_rng(0))
    assert (mixed.image[:32] == (101 + 60) // 2).all()
    assert (mixed.image[32:] == (101 + 114) // 2).all()  # the partner's padding
    np.testing.assert_array_equal(mixed.boxes[0], base.boxes[0])
    assert mixed.boxes[1].tolist() in ([0, 0, 10, 10], [54, 0, 64, 10])  # as it is, or mirrored
    assert mixed.classes.tolist() == [0, 0]


def test_mixup_blends_black_beyond_a_shrunk_partner() -> None:
    mixed = mixup(
        _labelled(_flat(101, 64, 64), []), _labelled(_flat(60, 64, 64), [[0, 0, 64, 64]]), (0.5, 0.5),
        np.random.default_rng(0),
    )  # fmt: skip
    assert (mixed.image[:32, :32] == 80).all()
    assert (mixed.image[32:] == 50).all()
    assert mixed.boxes.tolist() == [[0, 0, 32, 32]]


def test_mixup_crops_a_grown_partner_and_its_boxes() -> None:
    for seed in range(8):
        picture = _flat(0, 64, 64)
        picture[20:40, 10:30] = 200
        partner = _labelled(picture, [[10, 20, 30, 40]])
        mixed = mixup(_labelled(_flat(0, 64, 64), []), partner, (1.5, 1.5), np.random.default_rng(seed))
        rows, columns = np.nonzero(mixed.image[..., 0] > 50)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(mixed.boxes[0], found, atol=1.0)
