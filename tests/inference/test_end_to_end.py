"""A detector without non-maximum suppression."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpy_twins
from lively import lively_model
from roadmap_networks import SIZE, THRESHOLD, pictures, roadmap_model
from yolox_jax.config import ConfigError
from yolox_jax.inference.detector import Detector
from yolox_jax.models import ForwardOptions
from yolox_jax.models.one_to_one import fold_selection
from yolox_jax.postprocess import decode

SETTINGS = {"input_size": SIZE, "score_threshold": THRESHOLD, "max_detections": 200}


@pytest.fixture(scope="module")
def model():
    return roadmap_model("end_to_end")


@pytest.fixture(scope="module")
def detector(model):
    return Detector(model=model, **SETTINGS)


@pytest.fixture(scope="module")
def raw(model):
    """Of two pictures, with the logit of the branch."""
    model.eval()
    options = ForwardOptions(separate_one_to_one=True)
    return jax.jit(lambda images: model(images, options))(jnp.asarray(pictures(2), jnp.float32))


@dataclasses.dataclass(frozen=True)
class LastChannel:
    """Of the raw output."""

    def __call__(self, raw, weights, image_size):
        return weights[:, None] * raw[..., -1]


def test_the_best_predictions_are_the_detections_whatever_they_overlap(raw, detector):
    decoded = np.asarray(decode(fold_selection(raw), image_size=SIZE))
    ratios = np.array([1.0, 0.5], np.float32)
    found = detector.detect_batch(pictures(2), ratios)
    for image in range(2):
        scores = decoded[image, :, 4] * decoded[image, :, 5:].max(axis=1)
        best = np.argsort(-scores, kind="stable")
        best = best[scores[best] >= THRESHOLD]
        assert int(found.valid[image].sum()) == len(best) > 50
        np.testing.assert_allclose(found.scores[image, : len(best)], scores[best], rtol=1e-3)
        boxes = numpy_twins.corners(decoded[image, :, :4])
        np.testing.assert_allclose(found.boxes[image, :5], boxes[best[:5]] / ratios[image], rtol=1e-3, atol=0.01)
        overlaps = numpy_twins.iou(boxes[best][:, None], boxes[best])
        assert (np.triu(overlaps, 1) > detector.iou_threshold).any(), "suppression would have kept fewer"


def test_only_the_classes_to_keep_are_detected(model, detector):
    ratios = np.ones(2, np.float32)
    everything = detector.detect_batch(pictures(2), ratios)
    few = Detector(model=model, keep_classes=[1], **SETTINGS).detect_batch(pictures(2), ratios)
    for image in range(2):
        kept = np.asarray(everything.classes[image]) == 1
        assert 0 < kept.sum() < everything.valid[image].sum()
        assert int(few.valid[image].sum()) == kept.sum()
        np.testing.assert_array_equal(few.scores[image, : kept.sum()], everything.scores[image][kept])
        np.testing.assert_array_equal(few.boxes[image, : kept.sum()], everything.boxes[image][kept])


def test_a_function_of_the_raw_output_gets_the_logit_of_the_branch(raw, detector):
    weights, ratios = np.array([1.0, 2.0], np.float32), np.ones(2, np.float32)
    _, last = detector.network.detect(
        pictures(2), ratios, detector.thresholds(), max_detections=200, raw_function=LastChannel(), raw_inputs=weights
    )
    np.testing.assert_allclose(last, weights[:, None] * np.asarray(raw[..., -1]), rtol=1e-3, atol=1e-3)


def test_suppression_must_suit_the_network(model):
    Detector(model=model, input_size=SIZE, nms=False)
    with pytest.raises(ConfigError, match="nms asks for non-maximum suppression.*end-to-end.*Leave nms out"):
        Detector(model=model, input_size=SIZE, nms=True)
    plain = lively_model(1)
    Detector(model=plain, input_size=SIZE, nms=True)
    with pytest.raises(ConfigError, match=r"nms turns non-maximum suppression off.*trained with model\.end_to_end"):
        Detector(model=plain, input_size=SIZE, nms=False)


@pytest.mark.parametrize("views", [{"flip": True}, {"scales": (0.5, 1.0)}, {"scales": (1.5,)}])
def test_test_time_augmentation_is_refused(model, views):
    with pytest.raises(ConfigError, match=rf"{next(iter(views))} turns on test-time augmentation.*end-to-end"):
        Detector(model=model, input_size=SIZE, **views)


def test_it_says_that_it_is_end_to_end_and_refuses_weights_of_another_network(detector):
    assert "yolox_nano, end-to-end, input 64x96" in repr(detector)
    with pytest.raises(ValueError, match="3 classes, an end-to-end branch; .* a yolox_nano with 3 classes$"):
        detector.update(lively_model(1))
    with pytest.raises(ValueError, match=r"with 3 classes, a coupled head, 2 anchor boxes a cell \(10x13, 33x23, "):
        detector.update(roadmap_model("coupled_anchors"))
