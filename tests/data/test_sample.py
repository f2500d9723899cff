"""The whole training sample: what is drawn, what is kept, and what is read for it."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from two_step import two_step_sample
from yolox_jax.config import AugmentConfig, DataConfig, DatasetConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.augment.matrix import Affine, mirroring, scaling
from yolox_jax.data.augment.paint import Placement, paint, visible_part
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import DataError, Record, Tile
from yolox_jax.data.hooks import NO_HOOKS
from yolox_jax.data.image import Pixels, read_image
from yolox_jax.data.image_order import ImageOrder, Pass
from yolox_jax.data.letterbox import letterbox
from yolox_jax.data.loader import ImageLoader
from yolox_jax.data.sample import make_sample, new_canvases
from yolox_jax.data.sample_plan import SampleTargets, plan_sample

PLAIN = AugmentConfig(hsv_probability=0.0, flip_probability=0.0)


class Sample(NamedTuple):
    """An image and its targets."""

    image: np.ndarray
    targets: SampleTargets


@pytest.fixture
def loader(coco_content: dict[str, Any], write_coco: Callable[[dict[str, Any]], DatasetConfig]) -> ImageLoader:
    return ImageLoader(open_dataset(write_coco(coco_content), "train").records)


@pytest.fixture(scope="module")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, ...]:
    """Smooth images of many shapes, JPEGs larger than the input among them, with boxes all over."""
    folder = tmp_path_factory.mktemp("smooth")
    rng = np.random.default_rng(0)
    shapes = [(128, 128), (96, 150), (150, 96), (500, 400), (301, 777), (20, 30), (1, 1), (128, 16)]
    records = []
    for number, (height, width) in enumerate(shapes):
        coarse = rng.uniform(40, 220, (3, 3, 3)).astype(np.float32)
        path = folder / f"{number}.{'png' if number % 3 == 2 else 'jpg'}"
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 98])
        corners = np.sort(rng.uniform(0, 1, (6, 2, 2)), axis=1).reshape(6, 4) * [width, height, width, height]
        boxes = corners.astype(np.float32)
        records.append(Record(path, number, height, width, boxes, np.arange(6, dtype=np.int32)))
    return tuple(records)


def _sample(loader: ImageLoader, index: int, config: DataConfig, *, mosaic: bool, seed: int = 0) -> Sample:
    shown = ImageOrder(loader.records, 0.0).pass_at(0)
    out = np.empty((*config.input_size, 3), np.uint8)
    canvases = new_canvases(config.input_size)
    targets = make_sample(
        index,
        loader,
        shown,
        mosaic=mosaic,
        config=config,
        seed=(seed,),
        canvases=canvases,
        out=out,
        hooks=NO_HOOKS,
        num_classes=6,
    )
    return Sample(out, targets)


def test_partners_are_drawn_from_the_images_of_the_pass(loader: ImageLoader) -> None:
    shown = Pass(order=np.arange(5), images=np.array([3, 3, 3, 4]), with_objects=np.array([1]))
    config = DataConfig(input_size=(96, 96), augment=AugmentConfig(mosaic_probability=1.0, mixup_probability=1.0))
    plans = [
        plan_sample(0, loader.find, shown, mosaic=True, config=config, rng=np.random.default_rng(seed))
        for seed in range(60)
    ]
    assert {plan.tiles[0].record_index for plan in plans} == {0}
    partners = np.bincount([tile.record_index for plan in plans for tile in plan.tiles[1:]])
    assert partners[:3].tolist() == [0, 0, 0] and partners[3] > 2 * partners[4] > 0
    assert {plan.partner.placement.record_index for plan in plans if plan.partner} == {1}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("geometry", ["centred", "corner"])
@pytest.mark.parametrize("size", [(128, 128), (96, 160)])
def test_sample_equals_the_mosaic_that_is_warped_afterwards(
    smooth: tuple[Record, ...], size: tuple[int, int], geometry: str, cached: bool
) -> None:
    augment = AugmentConfig(mosaic_geometry=geometry)
    config = DataConfig(input_size=size, augment=augment, cache="ram" if cached else "none")
    differences = []
    with open_cache(smooth, config) as cache:
        for seed in range(60):
            index, mosaic = seed % len(smooth), seed % 6 != 0
            image, targets = _sample(ImageLoader(smooth, cache), index, config, mosaic=mosaic, seed=seed)
            rng = np.random.default_rng((seed,))
            expected = two_step_sample(index, smooth, mosaic=mosaic, config=config, rng=rng)
            count = int(targets.valid.sum())
            np.testing.assert_array_equal(targets.classes[:count], expected.classes)
            np.testing.assert_allclose(targets.boxes[:count], expected.boxes, atol=1e-3)
            differences.append(np.abs(image.astype(int) - expected.image).mean())
            if not mosaic:
                np.testing.assert_array_equal(image, expected.image)
    assert max(differences) < 2.0


def test_images_that_end_up_outside_are_not_read(smooth: tuple[Record, ...]) -> None:
    # The corner form at a large zoom shows little but the first of the four.
    augment = replace(PLAIN, mosaic_geometry="corner", mosaic_scale=(3.0, 3.0), mixup_probability=0.0)
    config = DataConfig(input_size=(128, 128), augment=augment)
    read = []
    for seed in range(20):
        loader = ImageLoader(smooth)
        _sample(loader, 0, config, mosaic=True, seed=seed)
        read.append(len(loader.loaded))
    assert sum(read) < 2 * 20


def test_images_that_are_squeezed_into_a_line_are_not_seen() -> None:
    assert visible_part(Placement(0, Affine(1, 2, 0, 2, 4, 0), (0, 0, 9, 9)), (64, 64)) is None


def test_a_source_that_is_gone_is_given_up_after_a_hundred_images(tmp_path: Path) -> None:
    box, label = np.zeros((1, 4), np.float32), np.zeros(1, np.int32)
    loader = ImageLoader([Record(tmp_path / f"{number}.jpg", number, 64, 64, box, label) for number in range(5000)])
    with pytest.raises(DataError, match="100 of 5000 training images were tried, and none can be read"):
        _sample(loader, 7, DataConfig(input_size=(64, 64)), mosaic=True)


def test_the_tiles_of_a_broken_image_count_as_one(tmp_path: Path) -> None:
    """So many tiles would be given up if they counted one by one."""
    whole, torn = tmp_path / "whole.png", tmp_path / "torn.png"
    cv2.imwrite(str(whole), np.full((64, 64, 3), 50, np.uint8))
    torn.touch()
    box, label = np.array([[4, 4, 60, 60]], np.float32), np.zeros(1, np.int32)
    tiles = [Record(torn, 0, 64, 64, box, label, tile=Tile(64 * place, 0, 64, 9600)) for place in range(150)]
    loader = ImageLoader([*tiles, Record(whole, 1, 64, 64, box, label)])
    _sample(loader, 7, DataConfig(input_size=(64, 64)), mosaic=False)
    assert [error.path for error in loader.broken.values()] == [torn]
    assert loader.loaded == [str(whole)]


def test_four_images_that_fill_the_canvas_join_without_a_gap() -> None:
    tiles = [(0, 0, True, True), (64, 0, False, True), (0, 64, True, False), (64, 64, False, False)]
    turned = Affine(0.8, 0.1, -9.3, -0.12, 0.9, 4.4)
    flat = np.full((64, 64, 3), 200, np.uint8)
    canvas = np.full((64, 64, 4), 114, np.uint8)
    for left, top, right, below in tiles:
        placement = Placement(0, turned.after(scaling(1, 1, (left, top))), (0, 0, 64, 64), right, below)
        paint(canvas, placement, lambda _: Pixels(flat, (1.0, 1.0)))
    assert (canvas[16:50, 8:50, :3] == 200).all()


def test_what_is_seen_agrees_with_a_search_of_all_px() -> None:
    rng = np.random.default_rng(0)
    seen_often = 0
    for _ in range(300):
        linear, shift = rng.uniform(-1.5, 1.5, (2, 2)), rng.uniform(-30, 60, 2)
        matrix = Affine(*linear[0], shift[0], *linear[1], shift[1])
        window = (2.0, 3.0, 19.0, 14.0)
        y, x = np.mgrid[3:14:60j, 2:19:60j]
        moved = np.stack([matrix.xx * x + matrix.xy * y + matrix.x0, matrix.yx * x + matrix.yy * y + matrix.y0])
        inside = (moved >= 0).all(axis=0) & (moved[0] <= 40) & (moved[1] <= 32)
        seen = visible_part(Placement(0, matrix, window), (32, 40))
        if inside.any():
            seen_often += 1
            assert seen is not None
            (x1, y1, x2, y2), (u1, v1, u2, v2) = seen
            assert (x1 <= moved[0][inside]).all() and (moved[0][inside] <= x2).all()
            assert (y1 <= moved[1][inside]).all() and (moved[1][inside] <= y2).all()
            assert (u1 <= x[inside] + 1e-9).all() and (x[inside] <= u2 + 1e-9).all()
            assert (v1 <= y[inside] + 1e-9).all() and (y[inside] <= v2 + 1e-9).all()
    assert 100 < seen_often < 250


def test_matrices_compose_and_invert() -> None:
    matrix = Affine(0.9, 0.2, 5.0, -0.3, 1.1, -7.0)
    np.testing.assert_allclose(matrix.after(matrix.inverse()), scaling(1, 1), atol=1e-12)
    assert mirroring(10).after(scaling(2, 3, (1, 1))) == Affine(-2, 0, 9, 0, 3, 1)


def test_without_mosaic_the_image_is_only_letterboxed(loader: ImageLoader) -> None:
    config = DataConfig(input_size=(96, 96), max_boxes=4, augment=PLAIN)
    image, targets = _sample(loader, 0, config, mosaic=False)
    np.testing.assert_array_equal(image, letterbox(read_image(loader.records[0].path), (96, 96))[0])
    np.testing.assert_allclose(targets.boxes[:2], [[30, 30, 30, 30], [72.75, 34.5, 24, 45]])
    assert targets.classes.tolist() == [1, 0, 0, 0]
    assert targets.valid.tolist() == [True, True, False, False]


def test_mirroring_mirrors_boxes_before_the_padding_is_added(loader: ImageLoader) -> None:
    config = DataConfig(input_size=(96, 96), augment=replace(PLAIN, flip_probability=1.0))
    image, targets = _sample(loader, 0, config, mosaic=False)
    np.testing.assert_allclose(targets.boxes[0], [96 - 30, 30, 30, 30])
    assert (image[72:] == 114).all()


def test_image_without_objects_is_background_without_colour_change_or_mirroring(loader: ImageLoader) -> None:
    config = DataConfig(input_size=(96, 96), augment=AugmentConfig(flip_probability=1.0))
    image, targets = _sample(loader, 2, config, mosaic=False)
    np.testing.assert_array_equal(image, letterbox(read_image(loader.records[2].path), (96, 96))[0])
    assert not targets.valid.any()
    assert not targets.boxes.any()


def test_image_whose_boxes_all_become_too_small_is_background(loader: ImageLoader) -> None:
    config = DataConfig(input_size=(96, 96), augment=replace(PLAIN, min_final_side_px=200.0, mixup_probability=0.0))
    for mosaic in (False, True):
        assert not _sample(loader, 0, config, mosaic=mosaic).targets.valid.any()


def test_of_too_many_objects_the_largest_are_kept_and_the_others_counted(loader: ImageLoader) -> None:
    config = DataConfig(input_size=(96, 96), max_boxes=1, augment=PLAIN)
    targets = _sample(loader, 0, config, mosaic=False).targets
    np.testing.assert_allclose(targets.boxes, [[72.75, 34.5, 24, 45]])
    assert (targets.classes.tolist(), targets.valid.tolist(), targets.num_dropped) == ([0], [True], 1)


@pytest.mark.parametrize("geometry", ["centred", "corner"])
def test_boxes_of_mosaics_lie_inside_the_input_and_exceed_the_smallest_side(loader: ImageLoader, geometry: str) -> None:
    config = DataConfig(input_size=(96, 128), augment=AugmentConfig(mosaic_geometry=geometry))
    for seed in range(20):
        image, targets = _sample(loader, seed % 5, config, mosaic=True, seed=seed)
        assert image.shape == (96, 128, 3)
        centres, sides = targets.boxes[targets.valid, :2], targets.boxes[targets.valid, 2:]
        assert (sides > 1.0).all()
        assert (centres - sides / 2 > -1e-3).all()
        assert (centres + sides / 2 < np.array([128, 96]) + 1e-3).all()


def test_mosaic_probability_zero_gives_single_images(loader: ImageLoader) -> None:
    config = DataConfig(input_size=(96, 96), augment=replace(PLAIN, mosaic_probability=0.0))
    np.testing.assert_array_equal(
        _sample(loader, 1, config, mosaic=True).image, _sample(loader, 1, config, mosaic=False).image
    )


def test_data_set_without_objects_has_no_mixup(loader: ImageLoader) -> None:
    bare = ImageLoader([replace(r, boxes=r.boxes[:0], classes=r.classes[:0]) for r in loader.records])
    assert not _sample(bare, 0, DataConfig(input_size=(96, 96)), mosaic=True).targets.valid.any()


def test_large_jpeg_is_decoded_at_the_scale_it_is_shown_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.jpg"
    cv2.imwrite(str(path), np.full((401, 799, 3), 90, np.uint8))
    record = Record(path, 1, 401, 799, np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
    for zoom, shape in ((0.12, (51, 100)), (0.13, (101, 200)), (0.5, (201, 400)), (0.51, (401, 799)), (3, (401, 799))):
        pixels = ImageLoader([record]).pixels(Placement(0, scaling(zoom, zoom / 2), (0, 0, 799, 401)), (64, 64))
        assert pixels.image.shape[:2] == shape
        assert pixels.scale[0] * 799 == pytest.approx(shape[1], abs=1)


def test_samples_and_sources_import_nothing_of_jax() -> None:
    program = (
        "import sys, yolox_jax.data.sources, yolox_jax.data.sources.shapes, yolox_jax.data.sample;"
        "print([name for name in ('jax', 'jaxlib', 'flax', 'grain') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
