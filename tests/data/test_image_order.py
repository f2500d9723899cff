"""The order of the images: repeat factors as published, kept by the draws, in epochs of one length."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from yolox_jax.data.dataset import Record
from yolox_jax.data.image_order import ImageOrder


def _records(*classes: list[int]) -> list[Record]:
    return [
        Record(Path(f"{n}.jpg"), n, 64, 64, np.zeros((len(labels), 4), np.float32), np.array(labels, np.int32))
        for n, labels in enumerate(classes)
    ]


# Of 40 images, all but two have class 0, eight have class 1 and one has class 2 (twice); one is background.
RECORDS = _records(*[[0]] * 30, *[[0, 1, 1]] * 8, [2, 2], [])


@pytest.mark.parametrize("threshold", [0.0, 0.001, 0.1, 0.5, 1.0])
def test_repeat_factors_are_those_of_the_paper_for_the_rarest_class_of_an_image(threshold: float) -> None:
    expected = []
    for record in RECORDS:
        frequencies = [np.mean([label in other.classes for other in RECORDS]) for label in record.classes]
        expected.append(max([1.0, *(np.sqrt(threshold / frequency) for frequency in frequencies)]))
    np.testing.assert_allclose(ImageOrder(RECORDS, threshold).factors, expected)


def test_a_threshold_that_no_class_is_below_gives_the_order_without_repetition() -> None:
    plain, unused = ImageOrder(RECORDS, 0.0, seed=7), ImageOrder(RECORDS, 0.02, seed=7)
    for number in range(3):
        expected = np.random.default_rng((7, number)).permutation(len(RECORDS))
        for order in (plain, unused):
            np.testing.assert_array_equal(order.pass_at(number).order, expected)
            np.testing.assert_array_equal(order.pass_at(number).images, np.arange(len(RECORDS)))
            np.testing.assert_array_equal(order.pass_at(number).with_objects, np.arange(len(RECORDS) - 1))


def test_every_pass_has_one_length_and_shows_an_image_as_often_as_its_factor_on_average() -> None:
    order = ImageOrder(RECORDS, 0.5)
    counts = np.array([np.bincount(order.draw(number).order, minlength=len(RECORDS)) for number in range(4000)])
    assert (counts.sum(axis=1) == order.length).all() and order.length == round(order.factors.sum())
    assert ((counts == np.floor(order.factors)) | (counts == np.ceil(order.factors))).all()
    # Of 5.12 images, 5 are drawn.
    np.testing.assert_allclose(counts.mean(axis=0), order.factors, rtol=0.03)


def test_no_image_is_shown_twice_more_where_the_sum_of_the_fractions_is_rounded_up() -> None:
    """Three of twelve images have the fractions 0.90, 0.34 and 0.34, of whose sum of 1.58 two are drawn."""
    order = ImageOrder(_records([1], [2], [2], *[[0]] * 9), 0.3)
    counts = np.array([np.bincount(order.draw(number).order, minlength=12) for number in range(1000)])
    assert order.length == 14 and (counts.sum(axis=1) == 14).all() and counts.max() == 2
    assert counts[:, 0].mean() > 1.85 and counts[:, 1].mean() == pytest.approx(counts[:, 2].mean(), abs=0.06)


def test_passes_draw_anew_and_depend_on_seed_and_number_alone() -> None:
    draws = [tuple(np.sort(ImageOrder(RECORDS, 0.5, seed=3).draw(number).images)) for number in range(8)]
    assert len(set(draws)) > 4
    for number in (5, 0):
        np.testing.assert_array_equal(
            ImageOrder(RECORDS, 0.5, seed=3).pass_at(number).order, ImageOrder(RECORDS, 0.5, seed=3).draw(number).order
        )
    assert (ImageOrder(RECORDS, 0.5, seed=4).draw(0).order != ImageOrder(RECORDS, 0.5, seed=3).draw(0).order).any()


def test_partners_are_drawn_from_the_repeated_images() -> None:
    shown = ImageOrder(RECORDS, 0.5).pass_at(0)
    np.testing.assert_array_equal(np.sort(shown.order), shown.images)
    np.testing.assert_array_equal(shown.with_objects, shown.images[shown.images != 39])
    assert (shown.images == 38).sum() >= 4  # sqrt(0.5 / (1 / 40)) = 4.5


def test_images_without_any_object_are_shown_once() -> None:
    bare = [dataclasses.replace(record, boxes=record.boxes[:0], classes=record.classes[:0]) for record in RECORDS]
    assert ImageOrder(bare, 1.0).length == len(RECORDS)
    assert not len(ImageOrder(bare, 1.0).pass_at(0).with_objects)
