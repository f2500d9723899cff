"""Decoding and non-maximum suppression against the reference arrays and a brute-force implementation."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpy_twins
from yolox_jax.postprocess import best_detections, decode, postprocess

REFERENCE = np.load(Path(__file__).parent / "reference" / "postprocess.npz")

jitted_postprocess = jax.jit(postprocess, static_argnames="max_detections")
jitted_best = jax.jit(best_detections, static_argnames="max_detections")


def make_decoded(rng, num_images, num_anchors, num_classes, spread=200.0, score_steps=0):
    """Predictions that overlap a lot; with `score_steps`, scores repeat."""
    boxes = [rng.uniform(0, spread, (num_images, num_anchors, 2)), rng.uniform(10, 80, (num_images, num_anchors, 2))]
    scores = rng.uniform(0, 1, (num_images, num_anchors, 1 + num_classes))
    if score_steps:
        scores = np.ceil(scores * score_steps) / score_steps
    return np.concatenate([*boxes, scores], axis=-1).astype(np.float32)


def assert_equals_twin(detections, decoded, **settings):
    boxes = numpy_twins.corners(decoded[..., :4])
    for image in range(len(decoded)):
        kept = numpy_twins.suppress(decoded[image], **settings)
        count = len(kept)
        assert detections.valid[image].tolist() == [True] * count + [False] * (settings["max_detections"] - count)
        np.testing.assert_allclose(detections.boxes[image, :count], boxes[image, kept], rtol=1e-6, atol=1e-4)
        scores = decoded[image, kept, 4] * decoded[image, kept, 5:].max(axis=-1)
        np.testing.assert_allclose(detections.scores[image, :count], scores, rtol=1e-6)
        np.testing.assert_array_equal(detections.classes[image, :count], decoded[image, kept, 5:].argmax(axis=-1))
        assert not detections.boxes[image, count:].any()
        assert not detections.scores[image, count:].any()
        assert (detections.classes[image, count:] == -1).all()


@pytest.mark.parametrize("case", REFERENCE["names"])
def test_keeps_the_rows_of_the_original(case):
    _, score_threshold, iou_threshold, class_agnostic = REFERENCE[f"{case}/args"].tolist()
    detections = jitted_postprocess(
        jnp.asarray(REFERENCE[f"{case}/pred"]),
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        class_agnostic=bool(class_agnostic),
    )
    for image in range(2):
        expected = REFERENCE[f"{case}/out{image}"]
        valid = np.asarray(detections.valid[image])
        assert valid.sum() == len(expected)
        np.testing.assert_allclose(detections.boxes[image, valid], expected[:, :4], atol=1e-4)
        np.testing.assert_allclose(detections.scores[image, valid], expected[:, 4] * expected[:, 5], rtol=1e-6)
        np.testing.assert_array_equal(detections.classes[image, valid], expected[:, 6])


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize(("num_anchors", "num_classes", "score_steps"), [(700, 3, 0), (400, 1, 10), (5, 2, 0)])
def test_equals_brute_force_with_ties_and_over_several_tiles(num_anchors, num_classes, score_steps, class_agnostic):
    rng = np.random.default_rng(num_anchors)
    decoded = make_decoded(rng, 3, num_anchors, num_classes, score_steps=score_steps)
    decoded[1, :, 4] = 0.0  # an image without detections
    settings = {"score_threshold": 0.2, "iou_threshold": 0.5, "max_detections": 300}
    detections = jitted_postprocess(jnp.asarray(decoded), class_agnostic=class_agnostic, **settings)
    assert_equals_twin(detections, decoded, class_agnostic=class_agnostic, **settings)


@pytest.mark.slow
def test_a_thousand_random_sets_equal_brute_force():
    """With ties, equal boxes, empty and full sets, and finally all 8400 anchors of 640 px."""
    rng = np.random.default_rng(0)
    settings = {"score_threshold": 0.5, "max_detections": 300}
    for num_images, num_anchors in [(33, 300)] * 30 + [(10, 8400)]:
        decoded = make_decoded(rng, num_images, num_anchors, 3, spread=1000.0, score_steps=int(rng.integers(0, 20)))
        equal = rng.integers(0, num_anchors, (2, num_anchors // 4))
        decoded[:, equal[0]] = decoded[:, equal[1]]
        decoded[0, :, 4] = 0.0
        decoded[1, :, 4:] = 1.0
        iou_threshold, class_agnostic = float(rng.uniform(0.1, 1.0)), bool(rng.integers(0, 2))
        detections = jitted_postprocess(
            jnp.asarray(decoded), iou_threshold=iou_threshold, class_agnostic=class_agnostic, **settings
        )
        for image in range(num_images):
            kept = greedy(decoded[image], iou_threshold=iou_threshold, class_agnostic=class_agnostic, **settings)
            assert int(detections.valid[image].sum()) == len(kept)
            boxes = numpy_twins.corners(decoded[image, kept, :4])
            np.testing.assert_allclose(detections.boxes[image, : len(kept)], boxes, rtol=1e-6, atol=1e-4)


def greedy(decoded, score_threshold, iou_threshold, class_agnostic, max_detections):
    """`numpy_twins.suppress` for many boxes: compares each kept box with all remaining ones at once."""
    scores, classes = decoded[:, 4] * decoded[:, 5:].max(axis=1), decoded[:, 5:].argmax(axis=1)
    boxes = numpy_twins.corners(decoded[:, :4])
    left = np.argsort(-scores, kind="stable")
    left, kept = left[scores[left] >= np.float32(score_threshold)], []
    while len(left) and len(kept) < max_detections:
        best, left = left[0], left[1:]
        kept.append(int(best))
        rivals = class_agnostic | (classes[left] == classes[best])
        left = left[~(rivals & (numpy_twins.iou(boxes[best][None], boxes[left]) > np.float32(iou_threshold)))]
    return kept


def test_long_chains_of_suppression_are_resolved_to_their_end():
    # Each box overlaps only its neighbours, so every second one is kept, whatever the tiles.
    decoded = np.zeros((1, 500, 6), np.float32)
    decoded[0, :, 0], decoded[0, :, 2:4] = np.arange(500) * 4, 10.0
    decoded[0, :, 4:] = np.linspace(1.0, 0.5, 500)[:, None]
    detections = jitted_postprocess(jnp.asarray(decoded), iou_threshold=0.3)
    assert int(detections.valid.sum()) == 250
    np.testing.assert_allclose(detections.boxes[0, :250, 0], np.arange(0, 500, 2) * 4 - 5)


def test_the_best_are_kept_when_there_are_too_many():
    decoded = make_decoded(np.random.default_rng(2), 2, 300, 4, spread=2000.0)
    settings = {"score_threshold": 0.01, "iou_threshold": 0.65, "class_agnostic": False, "max_detections": 7}
    detections = jitted_postprocess(jnp.asarray(decoded), **settings)
    assert detections.valid.all()
    assert_equals_twin(detections, decoded, **settings)


def test_boxes_at_the_thresholds_are_kept():
    decoded = np.zeros((1, 100, 7), np.float32)
    decoded[0, :2] = [[2, 2, 4, 4, 0.5, 1, 0], [2, 1, 4, 2, 0.25, 1, 0]]  # IoU exactly 0.5
    for iou_threshold, score_threshold, expected in ((0.5, 0.25, 2), (0.499, 0.25, 1), (0.5, 0.251, 1)):
        settings = {"score_threshold": score_threshold, "iou_threshold": iou_threshold, "max_detections": 50}
        detections = jitted_postprocess(jnp.asarray(decoded), class_agnostic=False, **settings)
        assert int(detections.valid.sum()) == expected


def test_thresholds_can_be_traced_so_that_changing_them_does_not_recompile():
    decoded = make_decoded(np.random.default_rng(3), 1, 100, 2)
    traces = []

    @functools.partial(jax.jit, static_argnames="max_detections")
    def traced_postprocess(decoded, **settings):
        traces.append(decoded)
        return postprocess(decoded, **settings)

    for score, iou, agnostic in ((0.1, 0.5, False), (0.4, 0.25, True)):
        settings = {"score_threshold": score, "iou_threshold": iou, "class_agnostic": agnostic, "max_detections": 50}
        assert_equals_twin(traced_postprocess(jnp.asarray(decoded), **settings), decoded, **settings)
    assert len(traces) == 1


def test_nan_predictions_are_dropped():
    decoded = make_decoded(np.random.default_rng(4), 1, 100, 2)
    broken, expected = decoded.copy(), decoded.copy()
    broken[0, ::2, 4], expected[0, ::2, 4] = np.nan, 0.0
    settings = {"score_threshold": 0.1, "iou_threshold": 0.5, "class_agnostic": False, "max_detections": 50}
    assert_equals_twin(jitted_postprocess(jnp.asarray(broken), **settings), expected, **settings)


@pytest.mark.parametrize("settings", [{"max_detections": 0}, {"iou_threshold": 0.0}, {"iou_threshold": 65}])
def test_invalid_settings_are_rejected_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        postprocess(jnp.zeros((1, 21, 6)), **settings)


@pytest.mark.parametrize(("num_anchors", "max_detections", "score_steps"), [(300, 40, 0), (300, 300, 5), (21, 50, 3)])
def test_the_best_of_an_end_to_end_network_equal_a_sort(num_anchors, max_detections, score_steps):
    decoded = make_decoded(np.random.default_rng(5), 3, num_anchors, 4, score_steps=score_steps)
    decoded[1, :, 4] = 0.0  # an image without detections
    decoded[0, ::3, 4] = np.nan
    keep_classes = np.array([True, True, False, True])
    detections = jitted_best(
        jnp.asarray(decoded), score_threshold=0.2, max_detections=max_detections, keep_classes=jnp.asarray(keep_classes)
    )
    for image in range(3):
        scores, classes = decoded[image, :, 4] * decoded[image, :, 5:].max(axis=1), decoded[image, :, 5:].argmax(axis=1)
        good = [place for place in range(num_anchors) if scores[place] >= np.float32(0.2) and classes[place] != 2]
        best = sorted(good, key=lambda place: -scores[place])[:max_detections]  # a stable sort: the first of equals
        count = len(best)
        assert detections.valid[image].tolist() == [True] * count + [False] * (max_detections - count)
        np.testing.assert_array_equal(detections.scores[image, :count], scores[best])
        np.testing.assert_array_equal(detections.classes[image, :count], classes[best])
        np.testing.assert_array_equal(detections.boxes[image, :count], numpy_twins.corners(decoded[image, best, :4]))
        assert not detections.boxes[image, count:].any() and not detections.scores[image, count:].any()
        assert (detections.classes[image, count:] == -1).all()


def test_the_best_of_none_are_rejected():
    with pytest.raises(ValueError, match="max_detections must be at least 1; got 0"):
        best_detections(jnp.zeros((1, 21, 6)), max_detections=0)


def test_decoded_output_holds_boxes_in_px_and_probabilities():
    raw = jax.random.normal(jax.random.key(0), (2, 42, 8)).astype(jnp.bfloat16)
    decoded = decode(raw, image_size=(32, 64))
    assert decoded.dtype == jnp.float32
    # The first cell of the second row of the finest level, and the last cell of the coarsest.
    t = np.asarray(raw.astype(jnp.float32))
    np.testing.assert_allclose(
        decoded[0, 8, :4], np.r_[t[0, 8, 0], t[0, 8, 1] + 1, np.exp(t[0, 8, 2:4])] * 8, rtol=1e-5
    )
    np.testing.assert_allclose(
        decoded[1, 41, :4], np.r_[t[1, 41, 0] + 1, t[1, 41, 1], np.exp(t[1, 41, 2:4])] * 32, rtol=1e-5
    )
    np.testing.assert_allclose(decoded[..., 4:], 1 / (1 + np.exp(-t[..., 4:])), rtol=1e-5)
