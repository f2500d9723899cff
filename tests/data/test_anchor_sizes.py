"""Clustering of box sizes into anchor boxes, against a loop and against planted clusters."""

from pathlib import Path

import numpy as np
import pytest

from yolox_jax.config import DatasetConfig
from yolox_jax.config.assignment import YOLOV3_ANCHORS
from yolox_jax.data import anchor_sizes
from yolox_jax.data.anchor_sizes import Anchors, Sizes, by_level, cluster_sizes, measure_fit
from yolox_jax.data.dataset import DataError
from yolox_jax.data.doctor.annotations import tabulate
from yolox_jax.data.sources import open_dataset

PLANTED = ((8.0, 20.0), (20.0, 8.0), (30.0, 30.0), (30.0, 90.0), (90.0, 32.0), (80.0, 80.0))


def random_sizes(count: int, seed: int = 0) -> Sizes:
    return np.exp(np.random.default_rng(seed).uniform(np.log(4), np.log(400), (count, 2)))


def planted_sizes(each: int = 40) -> Sizes:
    """Boxes within 10 % of the planted sizes, in a random order."""
    rng = np.random.default_rng(5)
    sizes = np.repeat(np.array(PLANTED), each, axis=0) * rng.uniform(0.9, 1.1, (each * len(PLANTED), 2))
    return rng.permutation(sizes)


def slow_iou(size: tuple[float, float], anchor: tuple[float, float]) -> float:
    """IoU of two boxes centred at the origin, from their corners."""
    rights = [min(a / 2, b / 2) for a, b in zip(size, anchor, strict=True)]
    lefts = [max(-a / 2, -b / 2) for a, b in zip(size, anchor, strict=True)]
    intersection = (rights[0] - lefts[0]) * (rights[1] - lefts[1])
    return intersection / (size[0] * size[1] + anchor[0] * anchor[1] - intersection)


def slow_fit(sizes: Sizes, anchors: Anchors) -> tuple[float, float, list[int]]:
    """Mean best IoU, share of boxes below 0.5, and the nearest anchor box of each box."""
    best, nearest = [], []
    for width, height in sizes.tolist():
        ious = [slow_iou((width, height), anchor) for anchor in anchors]
        best.append(max(ious))
        nearest.append(ious.index(max(ious)))
    return sum(best) / len(best), sum(iou < 0.5 for iou in best) / len(best), nearest


def test_fit_agrees_with_a_loop_over_boxes_and_anchors() -> None:
    sizes = random_sizes(200)
    fit = measure_fit(sizes, YOLOV3_ANCHORS)
    mean, below, nearest = slow_fit(sizes, YOLOV3_ANCHORS)
    assert fit.mean_best_iou == pytest.approx(mean, abs=1e-12)
    assert fit.share_below == pytest.approx(below) and 0 < below < 1
    assert fit.nearest.tolist() == nearest
    assert fit.level_shares == pytest.approx([sum(n // 3 == level for n in nearest) / 200 for level in range(3)])


def test_boxes_of_the_size_of_an_anchor_fit_perfectly() -> None:
    fit = measure_fit(np.array(YOLOV3_ANCHORS), YOLOV3_ANCHORS)
    assert fit.mean_best_iou == 1 and fit.nearest.tolist() == list(range(9))
    assert fit.levels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_planted_clusters_are_found() -> None:
    anchors = cluster_sizes(planted_sizes(), 6, seed=0)
    np.testing.assert_allclose(sorted(anchors), sorted(PLANTED), rtol=0.05)


def test_anchors_are_sorted_by_area_and_split_over_the_levels() -> None:
    anchors = cluster_sizes(random_sizes(500), 9, seed=0)
    areas = [width * height for width, height in anchors]
    assert areas == sorted(areas) and len(set(anchors)) == 9
    assert all(round(side, 1) == side > 0 for anchor in anchors for side in anchor)
    levels = by_level(anchors)
    assert [len(level) for level in levels] == [3, 3, 3] and sum(levels, ()) == anchors


def test_clustering_beats_random_boxes_and_anchors_of_other_data() -> None:
    sizes = random_sizes(800)
    reached = measure_fit(sizes, cluster_sizes(sizes, 9, seed=0)).mean_best_iou
    drawn = tuple(map(tuple, sizes[np.random.default_rng(1).choice(len(sizes), 9, replace=False)].tolist()))
    assert reached > measure_fit(sizes, YOLOV3_ANCHORS).mean_best_iou + 0.02
    assert reached > measure_fit(sizes, drawn).mean_best_iou + 0.02
    # No small change of a centre is much better: the result is close to a local optimum.
    anchors = np.array(cluster_sizes(sizes, 9, seed=0))
    for place in np.ndindex(anchors.shape):
        for factor in (0.95, 1.05):
            changed = anchors.copy()
            changed[place] *= factor
            assert measure_fit(sizes, tuple(map(tuple, changed.tolist()))).mean_best_iou < reached + 0.002


def test_the_seed_alone_decides() -> None:
    sizes = random_sizes(300)
    first, again, other = (cluster_sizes(sizes, 12, seed=seed) for seed in (3, 3, 4))
    assert first == again != other


def test_duplicates_weigh_as_often_as_they_occur() -> None:
    sizes = np.repeat([[10.0, 10.0], [100.0, 100.0], [200.0, 50.0], [11.0, 10.0]], [5000, 2, 1, 3], axis=0)
    anchors = cluster_sizes(sizes, 3, seed=0)
    assert anchors == ((10.0, 10.0), (100.0, 100.0), (200.0, 50.0))


def test_as_many_distinct_sizes_as_anchors_are_all_returned() -> None:
    sizes = np.repeat(np.array(PLANTED), [1, 500, 3, 3, 1, 200], axis=0)
    assert sorted(cluster_sizes(sizes, 6, seed=0)) == sorted(PLANTED)


def test_the_centre_of_a_skewed_cluster_lies_where_most_of_its_boxes_are() -> None:
    sizes = np.repeat([[10.0, 12.0], [40.0, 60.0]], [60, 40], axis=0)
    assert cluster_sizes(sizes, 1, seed=0) == ((10.0, 12.0),)


def test_a_cluster_without_boxes_gets_the_box_that_fits_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    """All centres start at the median of all boxes: two of the clusters are empty."""
    monkeypatch.setattr(anchor_sizes, "_initial_centres", lambda sizes, count, rng: np.full((count, 2), 50.0))
    sizes = np.repeat([[10.0, 10.0], [50.0, 50.0], [400.0, 60.0]], 4, axis=0)
    assert cluster_sizes(sizes, 3, seed=0) == ((10.0, 10.0), (50.0, 50.0), (400.0, 60.0))


def test_too_few_distinct_sizes_are_refused() -> None:
    sizes = np.repeat([[10.0, 10.0], [10.01, 10.0], [20.0, 10.0]], 50, axis=0)
    with pytest.raises(DataError, match=r"150 boxes have only 2 distinct sizes .* 3 anchor boxes.*smaller --count"):
        cluster_sizes(sizes, 3, seed=0)


def test_of_many_boxes_a_part_is_clustered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchor_sizes, "MOST_CLUSTERED", 60)
    sizes = planted_sizes(each=200)
    anchors = cluster_sizes(sizes, 6, seed=0)
    fit = measure_fit(np.array(PLANTED), anchors)
    assert sorted(fit.nearest.tolist()) == list(range(6)) and fit.best_ious.min() > 0.85
    assert anchors == cluster_sizes(sizes, 6, seed=0)


def test_a_drawn_part_with_too_few_distinct_sizes_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchor_sizes, "MOST_CLUSTERED", 10)
    sizes = np.concatenate([np.full((10_000, 2), 20.0), np.array(PLANTED)])
    assert set(cluster_sizes(sizes, 6, seed=0)) == {(20.0, 20.0)}


def test_on_coco_the_fit_is_that_of_the_published_anchors(shared: Path) -> None:
    """YOLOv3's anchor boxes were clustered on all of COCO; at 640 px they fit these 100 images nearly as well."""
    folder = shared / "data/coco_val2017_100"
    dataset = open_dataset(DatasetConfig(images=f"{folder}/images", annotations=f"{folder}/instances.json"))
    sizes = tabulate(dataset, (640, 640)).sides
    published = measure_fit(sizes, YOLOV3_ANCHORS).mean_best_iou
    clustered = measure_fit(sizes, cluster_sizes(sizes, 9, seed=0)).mean_best_iou
    assert published <= clustered < published + 0.02
