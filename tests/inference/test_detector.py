import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from flax import nnx

from compilations import count_compilations
from lively import lively_model
from videos import write_video
from yolox_jax.config import ConfigError
from yolox_jax.config.inference_checks import check_input_size
from yolox_jax.data.image import BrokenImage
from yolox_jax.inference.detector import Detector
from yolox_jax.inference.input.frames import Frame, Frames
from yolox_jax.inference.input.images import to_bgr_array
from yolox_jax.models import create_model
from yolox_jax.postprocess import decode, postprocess
from yolox_jax.weights import export_state_dict, save_weights
from yolox_jax.weights.coco_names import COCO_NAMES

SIZE = (64, 96)
LOW = 1e-9
"""A score threshold that everything passes."""


@pytest.fixture(scope="module")
def model():
    return lively_model(seed=1)


@pytest.fixture(scope="module")
def detector(model):
    return Detector(
        model=model, class_names=["a", "b", "c"], input_size=SIZE, score_threshold=LOW, max_detections=20, batch_size=2
    )


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (height, width, 3), np.uint8) for height, width in ((48, 64), (200, 100), (64, 96))]


def _assert_same(first, second):
    np.testing.assert_array_equal(first.classes, second.classes)
    np.testing.assert_allclose(first.boxes, second.boxes, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(first.scores, second.scores, rtol=1e-4)


def test_image_path_and_list_give_the_same_detections(detector, images, tmp_path):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), images[0])
    alone = detector(images[0])
    assert len(alone) == 20
    assert alone.class_names == tuple("abc"[index] for index in alone.classes)
    assert (np.diff(alone.scores) <= 0).all()
    _assert_same(detector(path), alone)
    _assert_same(detector(str(path)), alone)
    together = detector([images[0], path, images[2]])
    assert len(together) == 3
    _assert_same(together[0], alone)
    _assert_same(together[1], alone)


def test_a_pil_image_is_taken_as_rgb_and_turned_as_its_exif_says(detector, images):
    expected = detector(images[0])
    image = PIL.Image.fromarray(images[0][..., ::-1].copy())
    _assert_same(detector(image), expected)
    turned = PIL.Image.fromarray(np.rot90(images[0][..., ::-1]).copy())
    turned.getexif()[0x0112] = 6  # EXIF orientation: rotate 90 degrees clockwise
    _assert_same(detector(turned), expected)
    assert expected.image_size == images[0].shape[:2]


def test_an_image_of_a_list_that_cannot_be_read_is_named_and_the_others_go_on(detector, images, tmp_path, caplog):
    empty, text, missing = (tmp_path / name for name in ("empty.jpg", "text.jpg", "missing.jpg"))
    empty.touch()
    text.write_text("no image")
    found = detector([images[0], empty, images[2], text, missing])
    _assert_same(found[0], detector(images[0]))
    _assert_same(found[2], detector(images[2]))
    for place, path in ((1, empty), (3, text), (4, missing)):
        assert len(found[place]) == 0
        assert str(path) in found[place].error
        assert str(path) in caplog.text


def test_classes_to_keep_are_those_that_the_others_leave(model, images):
    settings = {"class_names": ["a", "b", "c"], "input_size": SIZE, "score_threshold": LOW, "iou_threshold": 1.0}
    everything = Detector(model=model, **settings)(images[0])
    assert len(set(everything.class_names)) > 1
    for wanted in ("b", 2):
        few = Detector(model=model, keep_classes=[wanted], **settings)(images[0])
        kept = everything.classes == (1 if wanted == "b" else 2)
        assert set(few.classes) <= {1 if wanted == "b" else 2}
        np.testing.assert_allclose(few.scores, everything.scores[kept], rtol=1e-4)
        np.testing.assert_allclose(few.boxes, everything.boxes[kept], rtol=1e-4, atol=1e-2)
    with pytest.raises(ConfigError, match="'bb'.*did you mean 'b'"):
        Detector(model=model, keep_classes=["bb"], **settings)
    with pytest.raises(ConfigError, match="no class 3"):
        Detector(model=model, keep_classes=[3], **settings)


def test_mirrored_views_make_detections_symmetric(model, images):
    detector = Detector(model=model, input_size=SIZE, score_threshold=LOW, max_detections=20, flip=True)
    found, mirrored = detector(images[2]), detector(np.ascontiguousarray(images[2][:, ::-1]))
    np.testing.assert_allclose(mirrored.scores, found.scores, rtol=1e-4)
    x1, y1, x2, y2 = found.boxes.T
    np.testing.assert_allclose(mirrored.boxes, np.stack([SIZE[1] - x2, y1, SIZE[1] - x1, y2], axis=1), atol=1e-2)
    plain = Detector(model=model, input_size=SIZE, score_threshold=LOW, max_detections=20)(images[2])
    assert not np.allclose(plain.scores, found.scores, rtol=1e-3)


@pytest.mark.slow
def test_scales_are_those_of_a_twin_that_sees_each_by_itself(model, images):
    detector = Detector(model=model, input_size=SIZE, score_threshold=LOW, max_detections=20, scales=(0.5, 1.0))
    assert detector.image_size == SIZE
    found = detector(images[2])  # as large as the input: letterboxing changes nothing
    model.eval()
    whole = jnp.asarray(images[2][None], jnp.float32)
    run, views = nnx.jit(lambda model, x: model(x)), []
    for height, width in (SIZE, (32, 64)):  # half of 96 is rounded to a multiple of 32
        raw = run(model, jax.image.resize(whole, (1, height, width, 3), "linear"))
        decoded = np.array(decode(raw, image_size=(height, width)))
        decoded[..., [0, 2]] *= SIZE[1] / width
        decoded[..., [1, 3]] *= SIZE[0] / height
        views.append(decoded)
    expected = postprocess(jnp.concatenate(views, axis=1), score_threshold=LOW, iou_threshold=0.45, max_detections=20)
    np.testing.assert_allclose(found.scores, expected.scores[0], rtol=1e-4)
    np.testing.assert_allclose(found.boxes, expected.boxes[0], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_half_precision_finds_nearly_the_same(model, detector, images, precision):
    half = Detector(model=model, input_size=SIZE, score_threshold=LOW, max_detections=20, precision=precision)
    found, expected = half(images[2]), detector(images[2])
    assert found.scores.dtype == np.float32
    np.testing.assert_allclose(found.scores[:3], expected.scores[:3], rtol=0.1)
    assert not np.array_equal(found.scores, expected.scores)


def test_after_warming_up_nothing_compiles(model, images):
    detector = Detector(model=model, input_size=(96, 96), score_threshold=LOW, max_detections=7, batch_size=3)
    assert detector.warm_up() > 0
    with count_compilations() as compilations:
        detector(images[0])
        detector(images)
        detector(images + images)
    assert compilations.count == 0


def test_threads_get_what_one_thread_gets(detector, images):
    expected = [detector(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for found, one in zip(pool.map(detector, images * 8), expected * 8, strict=True):
            _assert_same(found, one)


def test_threads_that_use_a_new_detector_at_once_compile_once(model, images):
    detector = Detector(model=model, input_size=(96, 160), batch_size=1)
    start = threading.Barrier(4)

    def detect(_: int) -> object:
        start.wait(30)
        return detector(images[0])

    with count_compilations() as compilations, ThreadPoolExecutor(4) as pool:
        list(pool.map(detect, range(4)))
    assert compilations.count == 1


def test_frames_read_before_a_failure_are_yielded_first(detector, images):
    def frames():
        for number in range(detector.batch_size + 1):
            yield Frame(f"frame_{number}", images[0])
        raise ConfigError("film.mp4: reading frame 9 failed")

    seen = []
    with pytest.raises(ConfigError, match="reading frame 9 failed"):
        for frame, _ in detector.stream(Frames(frames(), None)):
            seen.append(frame.name)
    assert len(seen) == detector.batch_size + 1


def test_folders_patterns_and_videos_give_a_list_and_stream_gives_each_with_its_frame(detector, images, tmp_path):
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    (tmp_path / "broken.png").touch()
    expected = detector(images)
    found = detector(tmp_path)
    assert len(found) == 4
    for one, other in zip(found, [*expected, None], strict=True):
        assert "empty file" in one.error if other is None else _assert_same(one, other) is None
    for one, other in zip(detector(f"{tmp_path}/[0-9].png"), expected, strict=True):
        _assert_same(one, other)
    film = write_video(tmp_path / "film.mp4", 5)
    streamed = list(detector.stream(film))
    assert [frame.name for frame, _ in streamed] == [f"film_{number:06d}" for number in range(5)]
    for (frame, one), other in zip(streamed, detector(film), strict=True):
        _assert_same(one, other)
        _assert_same(one, detector(frame.image))


def test_detections_know_their_image_but_keep_no_frames_of_videos(detector, images, tmp_path):
    path = tmp_path / "street.png"
    cv2.imwrite(str(path), images[0])
    pil = PIL.Image.fromarray(images[0][..., ::-1].copy())
    for given in (images[0], path, str(path), pil, jnp.asarray(images[0])):
        for found in (detector(given), detector([given])[0]):
            assert found.source is given
            assert found.all_class_names == ("a", "b", "c")
            np.testing.assert_array_equal(found.plot(), detector(images[0]).plot())
    assert [found.source for found in detector(given for given in (images[0], pil, path))] == [None, None, path]
    (of_folder,) = detector(tmp_path)
    assert of_folder.source == path
    for frame, found in detector.stream(write_video(tmp_path / "film.mp4", 2)):
        assert found.source is None and found.plot(frame.image).shape == frame.image.shape


def test_arrays_of_jax_generators_and_arrays_of_paths_are_taken(detector, images, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image)
    expected = detector(images)
    _assert_same(detector(jnp.asarray(images[0])), expected[0])
    for several in (iter(images), tuple(paths), np.array([str(path) for path in paths]), tmp_path.glob("?.png")):
        found = detector(several)
        assert len(found) == 3
    with pytest.raises(ValueError, match=r"image 2 of the list: .*got None, which cv2\.imread returns"):
        detector([*images[:2], None])
    with pytest.raises(ValueError, match="got None"):
        detector(None)


def test_its_repr_names_variant_size_classes_weights_and_precision(model, detector, tmp_path):
    assert repr(detector) == "Detector(yolox_nano, input 64x96 (height x width), 3 classes, a live model, float32)"
    path = tmp_path / "mine.npz"
    save_weights(path, export_state_dict(model), {})
    loaded = Detector(weights=path, input_size=SIZE, precision="bfloat16")
    assert f"weights {path}, bfloat16)" in repr(loaded)


def test_a_camera_has_no_list(detector):
    for source in (0, "0", "rtsp://there"):
        with pytest.raises(ConfigError, match=r"endless.*detector\.stream"):
            detector(source)


def test_an_empty_list_has_no_detections(detector):
    assert detector([]) == []


def test_boxes_are_in_px_of_the_image(detector, images):
    """An image enlarged twice has the boxes of the original, twice as large, once letterboxed to the same pixels."""
    image = images[2]
    enlarged = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    np.testing.assert_allclose(detector(enlarged).boxes[:5], 2 * detector(image).boxes[:5], rtol=1e-3, atol=1e-1)


def test_new_weights_change_detections_and_compile_nothing(model, images):
    detector = Detector(model=model, input_size=SIZE, score_threshold=LOW, max_detections=20)
    before = detector(images[0])
    detector.update(lively_model(seed=2))
    with count_compilations() as compilations:
        after = detector(images[0])
    assert compilations.count == 0
    assert not np.allclose(before.scores, after.scores, rtol=1e-2)
    detector.update(model)
    _assert_same(detector(images[0]), before)


def test_other_thresholds_and_a_second_detector_compile_nothing(model, detector, images):
    detector(images)
    detector(images[0])
    second = Detector(
        model=lively_model(seed=2), input_size=SIZE, score_threshold=0.9, iou_threshold=0.2, max_detections=20
    )
    batch = np.zeros((2, *SIZE, 3), np.uint8)
    with count_compilations() as compilations:
        assert len(second(images[0])) == 0
        detector.detect_batch(batch, np.ones(2, np.float32), score_threshold=0.5, iou_threshold=0.3)
    assert compilations.count == 0


@dataclasses.dataclass(frozen=True)
class WeightedSum:
    """Of the raw output of each image, with a weight per image."""

    def __call__(self, raw, weights, image_size):
        assert raw.shape[1] == sum(image_size[0] * image_size[1] // stride**2 for stride in (8, 16, 32))
        return weights * raw.sum(axis=(1, 2))


@pytest.mark.parametrize("settings", [{}, pytest.param({"flip": True, "scales": (1.0, 0.5)}, marks=pytest.mark.slow)])
def test_a_function_of_the_raw_output_shares_the_pass_and_leaves_the_detections_as_they_are(model, images, settings):
    """It gets the output for the images as they are, whatever the views of test-time augmentation."""
    detector = Detector(model=model, input_size=SIZE, score_threshold=LOW, max_detections=20, **settings)
    batch, ratios, weights = np.stack([images[2]] * 2), np.ones(2, np.float32), np.array([1.0, 2.0], np.float32)
    expected = detector.detect_batch(batch, ratios)
    found, sums = detector.network.detect(
        batch,
        ratios,
        detector.thresholds(),
        max_detections=20,
        raw_function=WeightedSum(),
        raw_inputs=weights,
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    model.eval()
    raw = nnx.jit(lambda model, x: model(x))(model, jnp.asarray(batch, jnp.float32))
    np.testing.assert_allclose(sums, weights * np.asarray(raw).sum(axis=(1, 2)), rtol=1e-4)
    with count_compilations() as compilations:
        detector.network.detect(
            batch,
            ratios,
            detector.thresholds(),
            max_detections=20,
            raw_function=WeightedSum(),  # another object that is equal
            raw_inputs=weights,
        )
    assert compilations.count == 0


def test_update_refuses_another_network(detector):
    with pytest.raises(ValueError, match="3 classes.*yolox_nano with 4"):
        detector.update(create_model("yolox_nano", 4))


def test_weights_bring_variant_class_names_and_input_size(model, detector, images, tmp_path):
    path = tmp_path / "weights.safetensors"
    metadata = {
        "variant": "yolox_nano",
        "num_classes": "3",
        "class_names": json.dumps(["red", "green", "blue"]),
        "input_size": json.dumps(SIZE),
    }
    save_weights(path, export_state_dict(model), metadata)
    loaded = Detector(weights=path, score_threshold=LOW, max_detections=20)
    assert (loaded.variant, loaded.class_names, loaded.input_size) == ("yolox_nano", ("red", "green", "blue"), SIZE)
    _assert_same(loaded(images[0]), detector(images[0]))
    with pytest.raises(ConfigError, match=r"yolox_nano.*yolox_s"):
        Detector("yolox_s", weights=path)


def test_weights_without_metadata_have_numbered_classes_and_the_published_size(model, tmp_path):
    path = tmp_path / "weights.npz"
    save_weights(path, export_state_dict(model), {})
    loaded = Detector("yolox_nano", weights=path)
    assert loaded.class_names == ("class 0", "class 1", "class 2")
    assert loaded.input_size == (416, 416)


def test_eighty_classes_without_names_are_those_of_coco():
    assert Detector(model=create_model("yolox_nano")).class_names == COCO_NAMES


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_size": (100, 96)}, "100.*multiples of 32"),
        ({"class_names": ["a"]}, "1 class names.*3 classes"),
        ({"score_threshold": 1.5}, "score threshold 1.5"),
        ({"iou_threshold": 0.0}, "IoU threshold 0.0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"precision": "int8"}, "precision 'int8'.*bfloat16"),
        ({"scales": (1.0, 0.0)}, "scales.*above 0"),
        ({"scales": ()}, "scales"),
        ({"variant": "yolox_s"}, "yolox_nano.*yolox_s"),
    ],
)
def test_settings_that_cannot_work_are_named(model, settings, message):
    with pytest.raises(ConfigError, match=message):
        Detector(**{"model": model, "input_size": SIZE, **settings})


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((2, 10, 10, 3), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_bgr_images_are_refused(detector, image):
    with pytest.raises(ValueError, match="uint8 array"):
        detector(image)


def test_a_file_that_is_no_image_is_named(detector, tmp_path):
    path = tmp_path / "text.jpg"
    path.write_text("no image")
    with pytest.raises(BrokenImage, match=r"text\.jpg"):
        detector(path)


def test_a_pil_image_that_breaks_off_is_named_and_the_others_are_done(detector, images, tmp_path):
    path = tmp_path / "cut.jpg"
    content = cv2.imencode(".jpg", images[1])[1].tobytes()
    path.write_bytes(content[: len(content) // 2])
    with PIL.Image.open(path) as cut:
        whole, broken = detector([images[0], cut])
    assert whole.error is None and f"{path} cannot be decoded" in broken.error


def test_pil_images_of_16_bits_are_seen_as_files_of_them_are(tmp_path):
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16)
    with PIL.Image.open(path) as image:
        np.testing.assert_array_equal(to_bgr_array(image), to_bgr_array(path))
    with pytest.raises(ValueError, match="of mode F has no fixed range"):
        to_bgr_array(PIL.Image.new("F", (4, 4)))


def test_published_weights_find_the_objects_of_a_photograph(shared: Path):
    detector = Detector("yolox_nano", weights=shared / "weights/yolox_nano.pth")
    assert detector.input_size == (416, 416)
    found = detector(shared / "data/coco_val2017_100/images/000000000139.jpg")
    assert {"tv", "person", "chair"} <= set(found.class_names)
    # The first row of the reference for this image.
    np.testing.assert_allclose(found.boxes[0], [5.86, 165.78, 155.77, 264.61], atol=0.3)
    assert found.scores[0] == pytest.approx(0.8996, abs=2e-3)


@pytest.mark.parametrize("size", [640, (640,), (640, 640, 3)])
def test_a_size_that_is_no_pair_is_named(size):
    with pytest.raises(ConfigError, match=r"pass a height and a width, such as \(640, 640\)"):
        check_input_size(size)
