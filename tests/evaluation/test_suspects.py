"""Suspects among annotations with planted faults, by a detector whose detections are made up."""

import dataclasses

import hotcoco
import numpy as np
import pytest

from planted_faults import Fault, iou, plant
from scored_sets import CATEGORY_IDS, dataset_of, result_of
from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.results import ScoredBoxes, from_results
from yolox_jax.evaluation.suspects import Suspect, SuspectKind, find_suspects, usual_threshold

IMAGES = range(1, 9)
THRESHOLD = 0.4


def grid_of_objects() -> Dataset:
    """Eight images of 640x480 px with twelve objects of three classes each, apart from each other."""
    rng = np.random.default_rng(0)
    objects = [
        (image, int(rng.integers(3)), [160.0 * column + 20, 160.0 * row + 20, *rng.uniform(40, 110, 2).tolist()])
        for image in IMAGES
        for row in range(3)
        for column in range(4)
    ]
    return dataset_of(objects, list(IMAGES))


def perfect(dataset: Dataset, seed: int = 1) -> ScoredBoxes:
    """Every object, with a high score, and much that no detector is sure of."""
    rng = np.random.default_rng(seed)
    annotations = dataset.ground_truth["annotations"]
    sure = [
        {**{key: entry[key] for key in ("image_id", "category_id", "bbox")}, "score": float(rng.uniform(0.7, 1))}
        for entry in annotations
    ]
    unsure = [
        {
            "image_id": int(rng.choice(IMAGES)),
            "category_id": int(rng.choice(CATEGORY_IDS)),
            "bbox": [*rng.uniform(0, 400, 2).tolist(), *rng.uniform(20, 90, 2).tolist()],
            "score": float(rng.uniform(0.01, 0.09)),
        }
        for _ in range(300)
    ]
    return from_results([*unsure, *sure])


def suspects_of(dataset: Dataset, found: ScoredBoxes) -> list[Suspect]:
    return find_suspects(dataset, found, image_ids=IMAGES, score_threshold=THRESHOLD)


def shows(suspect: Suspect, fault: Fault, faulty: Dataset, found: ScoredBoxes) -> bool:
    """Whether a suspect is this fault, of this kind."""
    if (suspect.kind, suspect.image_id) != (fault.kind, fault.image_id):
        return False
    if suspect.annotation is not None:
        return faulty.ground_truth["annotations"][suspect.annotation]["id"] == fault.annotation_id
    return iou(found.boxes_xywh[suspect.detection], fault.bbox) > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_planted_faults_of_every_kind_are_found_and_nothing_else_is(seed: int) -> None:
    clean = grid_of_objects()
    content, faults = plant(clean, 0.1, seed)
    faulty = dataclasses.replace(clean, ground_truth=content)
    found = perfect(clean)
    suspects = suspects_of(faulty, found)
    assert {fault.kind for fault in faults} == set(SuspectKind)
    assert len(suspects) == len(faults)
    assert all(any(shows(suspect, fault, faulty, found) for suspect in suspects) for fault in faults)


def test_perfect_annotations_have_no_suspects() -> None:
    clean = grid_of_objects()
    assert suspects_of(clean, perfect(clean)) == []
    assert suspects_of(dataset_of([], list(IMAGES)), from_results([])) == []


def test_the_ranking_does_not_depend_on_the_order_of_annotations_and_detections() -> None:
    clean = grid_of_objects()
    content, _ = plant(clean, 0.1, 3)
    found = perfect(clean)
    suspects = suspects_of(dataclasses.replace(clean, ground_truth=content), found)
    scores = [suspect.score for suspect in suspects]
    assert scores == sorted(scores, reverse=True) and 0 < min(scores) <= max(scores) <= 1

    order = np.random.default_rng(0).permutation(len(found.scores))
    shuffled = ScoredBoxes(*(array[order] for array in found))
    backwards = {**content, "annotations": content["annotations"][::-1]}
    again = suspects_of(dataclasses.replace(clean, ground_truth=backwards), shuffled)
    last = len(content["annotations"]) - 1
    same = [
        dataclasses.replace(
            suspect,
            annotation=None if suspect.annotation is None else last - suspect.annotation,
            detection=None if suspect.detection is None else int(order[suspect.detection]),
        )
        for suspect in again
    ]
    assert {dataclasses.astuple(one) for one in same} == {dataclasses.astuple(one) for one in suspects}


def box(x: float, width: float = 40) -> list[float]:
    return [x, 0.0, width, 40.0]


def one_image(objects: list[tuple[int, list[float]]], results: list[tuple[int, list[float], float]]) -> list[Suspect]:
    """Suspects of an image; objects are (class, box), detections (class, box, score)."""
    dataset = dataset_of([(1, *item) for item in objects], [1])
    found = from_results([result_of(1, *item) for item in results])
    return find_suspects(dataset, found, image_ids=[1], score_threshold=THRESHOLD)


def test_scores_are_confidence_times_contradiction() -> None:
    (missing,) = one_image([(0, box(0))], [(0, box(0), 0.9), (1, box(30), 0.8)])
    assert missing.kind is SuspectKind.MISSING
    assert missing.score == pytest.approx(0.8 * (1 - (10 / 70) / 0.5))

    (wrong,) = one_image([(0, box(0))], [(1, box(0), 0.9), (0, box(2), 0.3)])
    assert (wrong.kind, wrong.annotation, wrong.detection, wrong.iou) == (SuspectKind.WRONG_CLASS, 0, 0, 1)
    assert wrong.score == pytest.approx(0.9 * (1 - 0.3))

    (misplaced,) = one_image([(0, box(0))], [(0, box(20), 0.9)])
    assert misplaced.kind is SuspectKind.MISPLACED
    assert misplaced.score == pytest.approx(0.9 * (1 - (1 / 3) / 0.7))

    # Half of the objects of this class are found.
    (spurious,) = one_image([(0, box(0)), (0, box(100))], [(0, box(0), 0.9), (1, box(100), 0.02)])
    assert (spurious.kind, spurious.annotation, spurious.detection) == (SuspectKind.SPURIOUS, 1, None)
    assert spurious.score == pytest.approx(0.5 * (1 - 0.02 / 0.1))


def test_a_detector_that_finds_none_of_a_class_calls_none_of_it_spurious() -> None:
    assert one_image([(0, box(0)), (1, box(100))], [(0, box(0), 0.9)]) == []


def test_neighbours_duplicates_and_hesitation_are_no_suspects() -> None:
    two = [(0, box(0)), (0, box(30))]
    assert one_image(two, [(0, box(0), 0.9), (0, box(30), 0.8), (0, box(4), 0.7)]) == []
    assert one_image(two, [(0, box(0), 0.9), (0, box(30), 0.3)]) == [], "seen, but not with confidence"
    assert one_image(two[:1], [(0, box(0), 0.9), (1, box(0), 0.8)]) == [], "its own class is seen too"


def test_a_second_detection_of_an_object_takes_no_annotation_beside_it() -> None:
    twice = [(0, box(0), 0.9), (0, box(4), 0.7)]
    assert one_image([(0, box(0)), (0, box(24))], twice) == []
    assert one_image([(0, box(0)), (1, box(5))], twice) == []


def test_of_two_annotations_of_one_object_the_one_left_is_suspect() -> None:
    (spurious,) = one_image([(0, box(0)), (0, box(5)), (0, box(100))], [(0, box(0), 0.9), (0, box(100), 0.9)])
    assert (spurious.kind, spurious.annotation) == (SuspectKind.SPURIOUS, 1)


@pytest.mark.parametrize("mark", ["iscrowd", "ignore"])
def test_crowds_and_ignored_annotations_are_no_suspects_and_explain_detections(mark: str) -> None:
    dataset = dataset_of([(1, 0, box(0)), (1, 0, box(100, 200))], [1])
    dataset.ground_truth["annotations"][1][mark] = 1
    found = from_results([result_of(1, 0, box(0), 0.9), result_of(1, 0, box(150), 0.9), result_of(1, 1, box(400), 0.9)])
    (missing,) = find_suspects(dataset, found, image_ids=[1], score_threshold=THRESHOLD)
    assert (missing.kind, missing.detection) == (SuspectKind.MISSING, 2)


def test_only_images_that_the_detector_saw_are_searched() -> None:
    clean = grid_of_objects()
    seen = from_results([result for result in perfect(clean).to_results() if result["image_id"] in (2, 3)])
    assert find_suspects(clean, seen, image_ids=[2, 3], score_threshold=THRESHOLD) == []
    also_unread = find_suspects(clean, seen, image_ids=[2, 3, 4], score_threshold=THRESHOLD)
    assert [(suspect.kind, suspect.image_id) for suspect in also_unread] == [(SuspectKind.SPURIOUS, 4)] * 12
    shares = [suspect.score for suspect in also_unread]
    assert 0.5 < min(shares) < max(shares) < 0.8, "of these images, a third of the annotations is not found"


@pytest.mark.parametrize("seed", range(3))
def test_wrong_classes_and_missing_annotations_are_those_of_hotcoco(seed: int, capfd: pytest.CaptureFixture) -> None:
    clean = grid_of_objects()
    content, _ = plant(clean, 0.15, seed)
    found = ScoredBoxes(*(array[-len(clean.ground_truth["annotations"]) :] for array in perfect(clean)))
    suspects = suspects_of(dataclasses.replace(clean, ground_truth=content), found)
    ours = {
        kind: {
            found.scores[suspect.detection]
            for suspect in suspects
            if suspect.kind is kind and suspect.detection is not None
        }
        for kind in (SuspectKind.WRONG_CLASS, SuspectKind.MISSING)
    }

    truth = hotcoco.COCO(content)
    evaluator = hotcoco.COCOeval(truth, truth.load_res(found.to_results()), "bbox")
    evaluator.evaluate()
    errors = evaluator.image_diagnostics(0.5, THRESHOLD)["label_errors"]
    theirs = {
        kind: {error["dt_score"] for error in errors if error["type"] == name}
        for kind, name in ((SuspectKind.WRONG_CLASS, "wrong_label"), (SuspectKind.MISSING, "missing_annotation"))
    }
    assert ours == theirs and all(ours.values())


def test_the_usual_threshold_has_the_best_f1_but_trusts_every_score_from_one_half() -> None:
    clean = grid_of_objects()
    found = perfect(clean)
    assert usual_threshold(clean, from_results([]), image_ids=IMAGES) == 0.5
    assert usual_threshold(clean, found, image_ids=IMAGES) == 0.5
    hesitant = found._replace(scores=0.3 * found.scores)
    assert usual_threshold(clean, hesitant, image_ids=IMAGES) == 0.3 * found.scores[-96:].min()


def test_an_object_beside_an_annotation_that_is_not_seen_is_missing_and_no_place_for_it() -> None:
    (missing,) = one_image([(0, box(0))], [(0, box(28), 0.9)])
    assert missing.kind is SuspectKind.MISSING
