"""Planted annotation faults, and which suspects show them."""

import copy
from collections import Counter

from label_suspects import faults_shown
from planted_faults import iou, plant
from scored_sets import dataset_of
from yolox_jax.data.dataset import Dataset
from yolox_jax.evaluation.results import from_results
from yolox_jax.evaluation.suspects import Suspect, SuspectKind


def objects() -> Dataset:
    return dataset_of(
        [(image, image % 3, [100.0 * place, 200.0, 80.0, 60.0]) for image in range(1, 11) for place in range(6)],
        list(range(1, 11)),
    )


def test_faults_of_every_kind_are_planted_in_different_annotations_and_follow_from_the_seed() -> None:
    dataset = objects()
    before = copy.deepcopy(dataset.ground_truth)
    content, faults = plant(dataset, 0.1, seed=0)
    assert dataset.ground_truth == before
    assert (content, faults) == plant(dataset, 0.1, seed=0) != plant(dataset, 0.1, seed=1)
    assert Counter(fault.kind for fault in faults) == dict.fromkeys(SuspectKind, 6)

    was = {entry["id"]: entry for entry in before["annotations"]}
    now = {entry["id"]: entry for entry in content["annotations"]}
    ids = [fault.annotation_id for fault in faults if fault.annotation_id is not None]
    assert len(set(ids)) == len(ids) == 18
    changed = {key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}
    assert changed == set(ids) | (was.keys() - now.keys()) and len(changed) == 24
    for fault in faults:
        if fault.kind == SuspectKind.MISPLACED:
            assert 0.2 <= iou(now[fault.annotation_id]["bbox"], was[fault.annotation_id]["bbox"]) <= 0.6
        if fault.kind == SuspectKind.SPURIOUS:
            others = [entry["bbox"] for entry in before["annotations"] if entry["image_id"] == fault.image_id]
            assert max(iou(fault.bbox, other) for other in others) == 0


def test_a_suspect_shows_the_fault_of_its_annotation_or_the_object_left_without_one() -> None:
    dataset = objects()
    content, faults = plant(dataset, 0.1, seed=0)
    for entry in content["annotations"]:
        entry["source_id"] = entry["id"]
    faulty = Dataset(**{**vars(dataset), "ground_truth": content})
    found = from_results(
        [{"image_id": fault.image_id, "category_id": 1, "bbox": list(fault.bbox), "score": 0.9} for fault in faults]
    )
    place_of = {entry["id"]: place for place, entry in enumerate(content["annotations"])}
    for number, fault in enumerate(faults):
        place = place_of.get(fault.annotation_id)
        suspect = Suspect(SuspectKind(fault.kind), 1.0, fault.image_id, place, number if place is None else None, None)
        assert faults_shown(suspect, faults, faulty, found) == {number}
    sound = next(place for key, place in place_of.items() if key not in {fault.annotation_id for fault in faults})
    image = content["annotations"][sound]["image_id"]
    assert faults_shown(Suspect(SuspectKind.SPURIOUS, 1.0, image, sound, None, None), faults, faulty, found) == set()
