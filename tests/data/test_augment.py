"""Mosaic, affine, MixUp and colour: against arrays of the original and against brute force."""

from pathlib import Path

import numpy as np
import pytest

import two_step
from yolox_jax.config import AugmentConfig
from yolox_jax.data.augment.affine import (
    AffineDraw,
    apply_affine,
    centred_matrix,
    corner_matrix,
    transform_boxes,
    visible_boxes,
)
from yolox_jax.data.augment.colour import draw_shifts, shift_hsv
from yolox_jax.data.augment.mixup import blend
from yolox_jax.data.augment.mosaic import place_tile
from yolox_jax.data.augment.objects import Objects

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "augment.npz")
IDENTITY = AffineDraw(0.0, 1.0, 0.0, 0.0, 0.0, 0.0)


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


@pytest.mark.parametrize("shifts", [(0, 0, 0), (4, 29, -29), (-4, -29, 29), (0, 12, 7), (3, 0, 0)])
def test_hsv_shift_equals_sums_in_wide_integers(shifts: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    image[0] = np.arange(64)[:, None] * 4  # grey, which has no hue
    given = np.array(shifts, np.int16)
    expected = two_step.shift_hsv(image, given)
    np.testing.assert_array_equal(shift_hsv(image, given), expected)
    out = np.empty_like(image)
    shift_hsv(np.dstack([image, image[..., :1]]), given, out)  # with a fourth channel, as canvases have
    np.testing.assert_array_equal(out, expected)


def test_hsv_shifts_stay_within_their_gains_and_switch_off_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    shifts = np.stack([draw_shifts(rng, (5.0, 30.0, 30.0)) for _ in range(4000)])
    assert np.abs(shifts).max(axis=0).tolist() == [4, 29, 29]  # truncated towards zero
    assert 0.5 < (shifts[:, 1] == 0).mean() < 0.56


def test_centred_geometry_keeps_the_middle_of_the_mosaic_in_the_middle() -> None:
    draw = AffineDraw(angle_deg=9.0, scale=0.3, shear_x_deg=1.5, shear_y_deg=-2.0, translate_x=0.1, translate_y=-0.05)
    matrix = centred_matrix(draw, (200, 400), (100, 200))
    np.testing.assert_allclose(matrix @ [200, 100, 1], [0.6 * 200, 0.45 * 100])


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
    # At twice the zoom, the same pixels are a quarter of the visible area.
    assert visible_boxes(before, after, 2.0, AugmentConfig()).tolist() == [True, False, False, False, False, False]


def test_corner_geometry_keeps_all_boxes() -> None:
    objects = Objects(np.array([[100, 100, 120, 120], [30, 30, 60, 60]], np.float32), np.array([0, 1], np.int32))
    kept = {
        geometry: apply_affine(objects, IDENTITY, (64, 64), AugmentConfig(mosaic_geometry=geometry))[1].classes.tolist()
        for geometry in ("corner", "centred")
    }
    assert kept == {"corner": [0, 1], "centred": [1]}


def test_blending_is_the_mean_rounded_down() -> None:
    levels = np.arange(256, dtype=np.uint8)
    image = np.ascontiguousarray(np.broadcast_to(levels[:, None, None], (256, 256, 4)))
    other = np.ascontiguousarray(np.broadcast_to(levels[None, :, None], (256, 256, 4)))
    expected = (image.astype(np.uint16) + other) // 2
    blend(image, other)
    np.testing.assert_array_equal(image, expected)
