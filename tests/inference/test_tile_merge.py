"""Two tiles of 100 px that overlap by 20 px, in an image of 180x100 px, which is the first region."""

import numpy as np
import pytest

from yolox_jax.inference.tile_merge import merge_regions

WHOLE, LEFT, RIGHT = 0, 1, 2
REGIONS = np.array([[0, 0, 180, 100], [0, 0, 100, 100], [80, 0, 180, 100]])


def kept(*found, class_agnostic=False):
    """The numbers of those kept, best first, of (box, score, class, region)."""
    boxes, scores, classes, regions = zip(*found, strict=True)
    return merge_regions(
        np.array(boxes, np.float32),
        np.array(scores, np.float32),
        np.array(classes, np.int32),
        np.array(regions),
        REGIONS,
        iou_threshold=0.5,
        class_agnostic=class_agnostic,
    ).tolist()


@pytest.mark.parametrize("region", [WHOLE, RIGHT])
def test_a_cut_box_yields_to_the_whole_object_in_another_region_whatever_the_scores(region):
    cut, whole = ([85, 20, 101, 40], 0.9, 0, LEFT), ([85, 20, 140, 41], 0.3, 0, region)
    assert kept(cut, whole) == [1]
    assert kept(whole, cut) == [0]


def test_only_what_the_tile_shows_of_a_cut_box_must_be_in_the_whole_object():
    assert kept(([84, 20, 170, 40], 0.9, 0, LEFT), ([84, 20, 112, 40], 0.3, 0, RIGHT)) == [1]


def test_a_cut_box_that_no_other_region_holds_stays():
    cut = ([60, 20, 100, 40], 0.9, 0, LEFT)
    assert kept(cut, ([80, 20, 140, 40], 0.8, 0, RIGHT)) == [0, 1], "the other is cut too"
    assert kept(cut, ([90, 20, 140, 60], 0.8, 0, WHOLE)) == [0, 1], "the other holds a quarter of it"
    assert kept(cut, ([60, 20, 140, 40], 0.8, 1, WHOLE)) == [0, 1], "the other is of another class"
    assert kept(cut, ([60, 20, 140, 40], 0.8, 1, WHOLE), class_agnostic=True) == [1]


def test_a_box_that_a_border_touches_but_does_not_cut_competes_by_score():
    touching, whole = ([60, 20, 99, 40], 0.9, 0, LEFT), ([61, 20, 101, 40], 0.3, 0, WHOLE)
    assert kept(touching, whole) == [0]


def test_a_border_of_the_image_cuts_nothing_that_a_tile_could_hold():
    at_edge, around = ([0, 20, 20, 40], 0.9, 0, LEFT), ([0, 10, 60, 60], 0.8, 0, WHOLE)
    assert kept(at_edge, around) == [0, 1]


def test_a_small_object_inside_a_large_one_stays():
    assert kept(([40, 20, 50, 40], 0.5, 0, LEFT), ([10, 0, 120, 90], 0.9, 0, WHOLE)) == [1, 0]


def test_one_object_found_in_several_regions_is_kept_once_with_its_best_score():
    boxes = [[82, 10, 97, 40], [82, 11, 97, 40], [83, 10, 97, 41]]
    found = [(box, score, 0, region) for box, score, region in zip(boxes, (0.5, 0.7, 0.6), (0, 1, 2), strict=True)]
    assert kept(*found) == [1]


def test_boxes_of_one_region_are_left_as_the_network_gave_them():
    assert kept(([10, 10, 30, 30], 0.9, 0, LEFT), ([10, 10, 31, 30], 0.8, 0, LEFT)) == [0, 1]


def test_between_regions_suppression_is_that_of_a_plain_twin():
    rng = np.random.default_rng(0)
    corners = rng.uniform(20, 60, (60, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 15, (60, 2))], axis=1).astype(np.float32)
    scores, classes = rng.permutation(60).astype(np.float32) / 60, rng.integers(0, 2, 60)
    regions = np.arange(60) % 2  # nothing is near a border of a tile
    expected: list[int] = []
    for index in np.argsort(-scores).tolist():
        for other in expected:
            sides = np.minimum(boxes[index, 2:], boxes[other, 2:]) - np.maximum(boxes[index, :2], boxes[other, :2])
            shared = sides.clip(0).prod()
            union = sum((boxes[one, 2:] - boxes[one, :2]).prod() for one in (index, other)) - shared
            if classes[index] == classes[other] and regions[index] != regions[other] and shared / union > 0.5:
                break
        else:
            expected.append(index)
    assert kept(*zip(boxes, scores, classes, regions, strict=True)) == expected
    assert 30 < len(expected) < 60
    assert kept(([0, 0, 1, 1], 0.5, 0, WHOLE)) == [0]
