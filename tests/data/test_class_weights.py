"""Weights of classes: those of scikit-learn where nothing is clipped, with a mean of 1 over the objects of an epoch."""

from pathlib import Path

import numpy as np
import pytest

from yolox_jax.config import Config, ConfigError, LossConfig
from yolox_jax.config.checks import check_config
from yolox_jax.data.class_weights import class_weights
from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.data.image_order import ImageOrder


def dataset(*labels: list[int], names: tuple[str, ...] = ("cat", "dog", "a=b")) -> Dataset:
    records = tuple(
        Record(Path(f"{n}.jpg"), n, 64, 64, np.zeros((len(classes), 4), np.float32), np.array(classes, np.int32))
        for n, classes in enumerate(labels)
    )
    return Dataset("pets", names, tuple(range(1, len(names) + 1)), records, {"annotations": []}, ())


PETS = dataset([0, 0, 0], [0, 0, 1], [], [0, 1, 2])
"""Six cats, two dogs and one of the third class."""
COUNTS = np.array([6, 2, 1])


def test_balanced_weights_are_those_of_scikit_learn_unless_the_limit_has_an_effect() -> None:
    plain = class_weights(LossConfig(class_weights=("balanced",)), PETS)
    np.testing.assert_allclose(plain, COUNTS.sum() / (3 * COUNTS), rtol=1e-12)
    limited = np.array(class_weights(LossConfig(class_weights=("balanced",), balanced_limit=4.0), PETS))
    np.testing.assert_allclose(limited / limited[0], [1, 3, 4], rtol=1e-12)
    np.testing.assert_allclose((limited * COUNTS).sum() / COUNTS.sum(), 1, rtol=1e-12)


def test_classes_without_objects_count_for_nothing() -> None:
    loss = LossConfig(class_weights=("balanced",))
    weights = class_weights(loss, dataset([0, 0, 0, 1], names=("cat", "dog", "yak")))
    np.testing.assert_allclose(weights[:2], [4 / (2 * 3), 4 / 2], rtol=1e-12)
    assert np.isfinite(weights[2])
    assert class_weights(loss, dataset([], [])) == (1.0, 1.0, 1.0)


def test_objects_of_repeated_images_count_as_often_as_an_epoch_shows_them() -> None:
    factors = ImageOrder(PETS.records, 1.0).factors
    shown = [3 * factors[0] + 2 * factors[1] + factors[3], factors[1] + factors[3], factors[3]]
    weights = class_weights(LossConfig(class_weights=("balanced",)), PETS, repeat_threshold=1.0)
    np.testing.assert_allclose(weights, np.sum(shown) / (3 * np.array(shown)), rtol=1e-12)
    assert factors[3] > 1


def test_given_weights_keep_their_ratios_and_get_a_mean_of_1_over_the_objects() -> None:
    weights = class_weights(LossConfig(class_weights=("dog=3", "a=b=1.5")), PETS)
    np.testing.assert_allclose(weights, np.array([1, 3, 1.5]) * 9 / (6 + 2 * 3 + 1.5), rtol=1e-12)
    for ones in (("cat=1",), ("cat=7", "dog=7", "a=b=7")):
        assert class_weights(LossConfig(class_weights=ones), PETS) == (1.0, 1.0, 1.0)
    assert class_weights(LossConfig(), PETS) is None


def test_a_class_that_the_training_set_lacks_is_named_with_those_that_it_has() -> None:
    with pytest.raises(ConfigError, match=r"pets has no class 'dgo'; did you mean dog\? It has cat, dog, a=b"):
        class_weights(LossConfig(class_weights=("cat=2", "dgo=3")), PETS)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (("dog",), "--loss.class-weights dog: pass NAME=WEIGHT"),
        (("=2",), "--loss.class-weights =2: pass NAME=WEIGHT"),
        (("balanced", "dog=2"), "--loss.class-weights balanced: pass NAME=WEIGHT .* or `balanced` alone"),
        (("dog=two",), "dog=two: the weight must be a number above 0"),
        (("dog=0",), "dog=0: the weight must be a number above 0"),
        (("dog=inf",), "dog=inf: the weight must be a number above 0"),
        (("dog=2", "dog=3"), "names 'dog' twice"),
    ],
)
def test_malformed_weights_are_refused_with_what_to_write(entries: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config(Config(loss=LossConfig(class_weights=entries)))
