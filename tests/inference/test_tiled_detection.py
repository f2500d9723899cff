import cv2
import numpy as np
import pytest

from compilations import count_compilations
from lively import lively_model
from videos import frame, write_video
from yolox_jax.config import ConfigError
from yolox_jax.inference.detector import Detector
from yolox_jax.inference.input.images import to_bgr_array
from yolox_jax.inference.tiled_detection import MergeSettings, detect_in_tiles, padded_detections
from yolox_jax.inference.tiles import Tiling
from yolox_jax.structures import Detections

LOW = 1e-9
SETTINGS = {"input_size": (64, 96), "score_threshold": LOW, "max_detections": 20, "batch_size": 2}


@pytest.fixture(scope="module")
def model():
    return lively_model(seed=1)


@pytest.fixture(scope="module")
def tiled(model) -> Detector:
    return Detector(model=model, tile="auto", **SETTINGS)


def noise(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (height, width, 3), np.uint8) for height, width in sizes]


def assert_same(first, second):
    np.testing.assert_array_equal(first.classes, second.classes)
    np.testing.assert_allclose(first.boxes, second.boxes, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(first.scores, second.scores, rtol=1e-4)


def find_squares(images, ratios, numbers):
    """Exactly the bright squares, of a cut one what is visible, the smaller the better; none in reduced images."""
    boxes, valid = np.zeros((len(images), 30, 4), np.float32), np.zeros((len(images), 30), bool)
    scores = np.zeros(valid.shape, np.float32)
    for row in np.flatnonzero(ratios == 1).tolist():
        image = images[row]
        count, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 200).astype(np.uint8))
        for place, (left, top, width, height, _) in enumerate(stats[1:count]):
            boxes[row, place] = left, top, left + width, top + height
            scores[row, place] = 1 / (1 + width * height)
            valid[row, place] = True
    return Detections(boxes, scores, np.zeros(valid.shape, np.int32), valid), numbers


def test_each_object_of_large_images_is_found_once_and_batches_span_images():
    rng = np.random.default_rng(0)
    images, squares = [], []
    for height, width in ((300, 300), (150, 420), (100, 80), (301, 199)):
        image, own = np.zeros((height, width, 3), np.uint8), []
        for top in range(8, height - 20, 33):
            for left in range(8, width - 20, 33):
                x, y, side = left + int(rng.integers(8)), top + int(rng.integers(8)), int(rng.integers(6, 15))
                image[y : y + side, x : x + side] = 255
                own.append([x, y, x + side, y + side])
        images.append(image)
        squares.append(own)
    calls = []

    def detect(pixels, ratios, numbers):
        calls.append((pixels.shape, [number for number in numbers.tolist() if number >= 0]))
        return find_squares(pixels, ratios, numbers)

    found = list(
        detect_in_tiles(
            enumerate(images),
            Tiling(100, 100, 0.2),
            detect,
            input_size=(100, 100),
            batch_size=7,
            merge=MergeSettings(0.5, False, 100),
        )
    )
    assert [one.number for one in found] == [0, 1, 2, 3] == [int(one.of_whole) for one in found]
    for one, expected in zip(found, squares, strict=True):
        assert len(one.boxes) == len(expected)
        # A box that a border cuts by less than 2 % of the tile, 2 px, is as good as the whole one.
        assert (np.abs(one.boxes[:, None] - np.array(expected)).max(axis=-1) <= 2).any(axis=0).all()
    regions = (1 + 16) + (1 + 2 * 5) + 1 + (1 + 4 * 3)
    assert {shape for shape, _ in calls} == {(7, 100, 100, 3)}
    assert len(calls) == -(-regions // 7)
    assert [number for _, numbers in calls for number in numbers] == [0, 1, 2, 3]


def test_images_of_all_sizes_share_one_compiled_call(tiled):
    tiled.warm_up()
    with count_compilations() as compilations:
        found = tiled(noise((64, 96), (200, 300), (65, 500), (130, 40)))
        tiled(noise((150, 150))[0])
    assert compilations.count == 0
    assert all(len(one) == 20 and (np.diff(one.scores) <= 0).all() for one in found)
    assert found[1].boxes[:, 2].max() > 200, "also at the far end"


def test_an_image_that_fits_in_a_tile_gives_what_it_gives_without_tiles(tiled, model):
    image = noise((64, 80))[0]
    assert_same(tiled(image), Detector(model=model, **SETTINGS)(image))


def test_a_tile_gives_the_detections_of_its_pixels_shifted(model):
    """A black image but for one tile, whose detections are those that it has as an image of its own."""
    alone, image = noise((64, 96))[0], np.zeros((128, 192, 3), np.uint8)
    image[64:, 96:] = alone
    found = Detector(model=model, tile="auto", overlap=0.0, **(SETTINGS | {"iou_threshold": 1.0}))(image)
    expected = Detector(model=model, **(SETTINGS | {"iou_threshold": 1.0}))(alone)
    inside = (expected.boxes >= 3).all(axis=1) & (expected.boxes <= [93, 61, 93, 61]).all(axis=1)
    assert inside.any()
    best = found.scores.min()
    for box, score in zip(expected.boxes[inside] + [96, 64, 96, 64], expected.scores[inside], strict=True):
        assert score < best or np.isclose(found.boxes, box, atol=1e-2).all(axis=1).any()


def test_arrays_files_folders_and_videos_give_the_same_detections(tiled, model, tmp_path):
    images = noise((100, 150), (64, 300), (40, 40))
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    together = tiled(images)
    for number, (_, found) in enumerate(tiled.stream(tmp_path)):
        assert_same(found, together[number])
        assert_same(tiled(images[number]), together[number])
        assert_same(tiled(tmp_path / f"{number}.png"), together[number])
    small = Detector(model=model, tile=48, **SETTINGS)
    film = write_video(tmp_path / "film.avi", 3)
    frames = list(small.stream(film))
    assert len(frames) == 3 and frame(0).shape == (64, 96, 3)
    for one, found in frames:
        assert_same(found, small(to_bgr_array(one.image)))


def test_images_without_detections_and_unreadable_ones_have_none(model, tmp_path):
    detector = Detector(model=model, tile=48, **(SETTINGS | {"score_threshold": 1.0}))
    (tmp_path / "broken.png").write_bytes(b"")
    assert [len(one) for one in detector([*noise((64, 96)), tmp_path / "broken.png"])] == [0, 0]
    assert padded_detections([]).boxes.shape == (0, 0, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tile": 31}, "--tile must be the side of a tile, at least 32 px, or auto .* got 31"),
        ({"tile": True}, "--tile must be"),
        ({"tile": 640, "overlap": 1.0}, "--overlap must be a fraction of a tile, at least 0 and below 1; got 1.0"),
        ({"tile": 640, "overlap": -0.1}, "--overlap must be"),
        ({"tile": 640, "overlap": float("nan")}, "--overlap must be"),
    ],
)
def test_tiles_that_cannot_be_are_refused_before_weights_are_read(settings, message):
    with pytest.raises(ConfigError, match=message):
        Detector(weights="none.pth", **settings)
