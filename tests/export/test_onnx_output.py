"""Decoding and suppression inside the file against `yolox_jax.postprocess`, on arrays in place of a network."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from yolox_jax.export.onnx_graph import Graph, Value
from yolox_jax.export.onnx_output import write_best_detections, write_detections, write_predictions
from yolox_jax.export.onnx_raw import write_raw
from yolox_jax.export.settings import Suppression
from yolox_jax.postprocess import best_detections, decode, postprocess

SIZE = (96, 128)
NUM_ANCHORS = 252
NUM_CLASSES = 4
LEVELS = {8: (12, 16), 16: (6, 8), 32: (3, 4)}

jitted_postprocess = jax.jit(postprocess, static_argnames="max_detections")


@cache
def session(suppression: Suppression | None, *, end_to_end: bool = False) -> onnxruntime.InferenceSession:
    """What follows the network; None for predictions alone. `end_to_end`: the best predictions, without suppression."""
    graph = Graph("float32", 17)
    inputs = [Value(f"level{s}", "float32", ("batch", 5 + NUM_CLASSES, *cells)) for s, cells in LEVELS.items()]
    names = [value.name for value in inputs]
    raw = write_raw(graph, names, SIZE, NUM_CLASSES)
    if suppression is None:
        outputs = write_predictions(graph, raw, "batch")
    else:
        inputs.append(Value("ratios", "float32", ("batch",)))
        write = write_best_detections if end_to_end else write_detections
        outputs = write(graph, raw, "ratios", "batch", suppression)
    model = graph.model(inputs, outputs, version="0", metadata={})
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def inputs_of(raw: np.ndarray) -> dict[str, np.ndarray]:
    """Levels as the network gives them, from [B, A, 5 + C]."""
    ends = np.cumsum([rows * columns for rows, columns in LEVELS.values()])
    parts = np.split(raw, ends[:-1], axis=1)
    return {
        f"level{stride}": part.transpose(0, 2, 1).reshape(len(raw), -1, *cells)
        for (stride, cells), part in zip(LEVELS.items(), parts, strict=True)
    }


def random_raw(rng: np.random.Generator, images: int = 2, *, steps: float = 0.0) -> np.ndarray:
    """Boxes that overlap a lot; with `steps` boxes and scores repeat."""
    raw = rng.normal(0, 1.5, (images, NUM_ANCHORS, 5 + NUM_CLASSES)).astype(np.float32)
    raw[..., 2:4] = rng.normal(2.0, 0.15, raw[..., 2:4].shape)
    if steps:
        raw = np.round(raw / steps) * np.float32(steps)
    return raw


def assert_equals_postprocess(raw: np.ndarray, suppression: Suppression) -> np.ndarray:
    """Compare on the same decoded predictions; returns the numbers of detections."""
    ratios = np.linspace(0.5, 2.0, len(raw), dtype=np.float32)
    boxes, scores, classes, count = session(suppression).run(None, {**inputs_of(raw), "ratios": ratios})
    (decoded,) = session(None).run(None, inputs_of(raw))
    expected = jitted_postprocess(jnp.asarray(decoded), **suppression._asdict())
    np.testing.assert_array_equal(count, np.sum(expected.valid, axis=1))
    np.testing.assert_array_equal(classes, expected.classes)
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-6)
    np.testing.assert_allclose(boxes * ratios[:, None, None], expected.boxes, rtol=1e-5, atol=1e-4)
    return count


def test_predictions_are_decoded():
    raw = random_raw(np.random.default_rng(0))
    (predictions,) = session(None).run(None, inputs_of(raw))
    np.testing.assert_allclose(predictions, decode(jnp.asarray(raw), image_size=SIZE), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize(("score_threshold", "iou_threshold"), [(0.25, 0.45), (0.01, 0.65)])
def test_detections_equal_those_of_postprocess(score_threshold, iou_threshold, class_agnostic):
    suppression = Suppression(score_threshold, iou_threshold, class_agnostic, 300)
    kept, candidates = 0, 0
    for seed in range(30):
        raw = random_raw(np.random.default_rng(seed), images=3)
        kept += assert_equals_postprocess(raw, suppression).sum()
        scores = 1 / (1 + np.exp(-raw[..., 4:]))
        candidates += np.sum(scores[..., 0] * scores[..., 1:].max(axis=-1) >= score_threshold)
    assert 0.1 * candidates < kept < 0.9 * candidates


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_of_equal_scores_and_boxes_the_first_wins(class_agnostic):
    suppression = Suppression(0.05, 0.5, class_agnostic, 300)
    for seed in range(20):
        assert_equals_postprocess(random_raw(np.random.default_rng(seed), steps=1.0), suppression)


def test_images_without_detections_and_images_full_of_them_share_a_batch():
    rng = np.random.default_rng(1)
    raw = random_raw(rng, images=4)
    raw[[0, 2], :, 4] = -20.0
    raw[1, :, 2:4], raw[1, :, 4:] = -5.0, 5.0 + rng.random((NUM_ANCHORS, 1 + NUM_CLASSES))  # tiny, all good
    count = assert_equals_postprocess(raw, Suppression(0.25, 0.45, False, 300))
    assert count[[0, 1, 2]].tolist() == [0, NUM_ANCHORS, 0] and count[3] > 0
    assert assert_equals_postprocess(raw[[0, 2]], Suppression(0.25, 0.45, False, 300)).tolist() == [0, 0]


def test_identical_boxes_are_one_detection_a_class():
    raw = random_raw(np.random.default_rng(2))
    centres = decode(jnp.asarray(raw * 0), image_size=SIZE)[..., :2]
    stride = np.repeat([8, 16, 32], [192, 48, 12])[:, None]
    raw[..., :2], raw[..., 2:4] = (40 - centres) / stride, np.log(16 / stride)
    assert assert_equals_postprocess(raw, Suppression(0.01, 0.45, False, 300)).tolist() == [NUM_CLASSES] * 2
    assert assert_equals_postprocess(raw, Suppression(0.01, 0.45, True, 300)).tolist() == [1, 1]


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_the_best_are_kept_when_there_are_too_many(class_agnostic):
    raw = random_raw(np.random.default_rng(3))
    assert assert_equals_postprocess(raw, Suppression(0.01, 0.65, class_agnostic, 7)).tolist() == [7, 7]


def test_boxes_at_the_thresholds_stay():
    raw = np.full((1, NUM_ANCHORS, 5 + NUM_CLASSES), -20, np.float32)
    raw[0, :, :4] = 0
    # The first cells of two levels: 8 px inside 16 px with one corner in common, an IoU of exactly a quarter.
    raw[0, 0, :2], raw[0, 192, :2] = 0.5, 0.5
    raw[0, [0, 192], 4:6] = 0.0, 0.0  # scores of exactly a quarter
    for iou_threshold, score_threshold, expected in ((0.25, 0.25, 2), (0.249, 0.25, 1), (0.25, 0.2501, 0)):
        suppression = Suppression(score_threshold, iou_threshold, False, 300)
        assert assert_equals_postprocess(raw, suppression).tolist() == [expected]


def test_a_threshold_of_zero_keeps_scores_of_zero():
    raw = random_raw(np.random.default_rng(4))
    raw[..., 4] = -200.0
    assert (assert_equals_postprocess(raw, Suppression(0.0, 0.65, False, 300)) > 50).all()


def test_predictions_that_are_not_numbers_are_dropped():
    raw = random_raw(np.random.default_rng(5))
    raw[:, ::2, 4] = np.nan
    assert_equals_postprocess(raw, Suppression(0.01, 0.65, False, 300))


@pytest.mark.parametrize("max_detections", [7, 300])
@pytest.mark.parametrize("score_threshold", [0.0, 0.25])
def test_the_best_of_an_end_to_end_network_equal_those_of_postprocess(score_threshold, max_detections):
    for seed in range(10):
        raw = random_raw(np.random.default_rng(seed), steps=1.0)  # many equal scores
        raw[0, ::2, 4], raw[1, :, 4] = np.nan, -200.0
        ratios = np.array([0.5, 2.0], np.float32)
        suppression = Suppression(score_threshold, 0.45, False, max_detections)
        boxes, scores, classes, count = session(suppression, end_to_end=True).run(
            None, {**inputs_of(raw), "ratios": ratios}
        )
        (decoded,) = session(None).run(None, inputs_of(raw))
        expected = best_detections(jnp.asarray(decoded), score_threshold=score_threshold, max_detections=max_detections)
        np.testing.assert_array_equal(count, np.sum(expected.valid, axis=1))
        np.testing.assert_array_equal(classes, expected.classes)
        np.testing.assert_allclose(scores, expected.scores, rtol=1e-6)
        np.testing.assert_allclose(boxes * ratios[:, None, None], expected.boxes, rtol=1e-5, atol=1e-4)
