"""What changes from one assignment to another."""

from yolox_jax.report.assigned_anchors import AssignedAnchor, AssignedObject
from yolox_jax.report.assignment_figures import change_of


def thing(*places: int) -> AssignedObject:
    anchors = tuple(AssignedAnchor(place, 8, 0, place, 8.0 * place, 4.0, 0.5, 1.0) for place in places)
    return AssignedObject(0, (0, 0, 9, 9), 3, 9, anchors)


def test_matches_kept_gained_and_lost_are_counted_by_object():
    before = [thing(1, 2, 9), thing(3), thing(), thing(7)]
    # The second object takes an anchor of the first, which is a loss and a gain.
    after = [thing(1), thing(2, 3), thing(5), thing()]
    assert change_of(before, after) == {
        "kept": 2,
        "gained": 2,
        "lost": 3,
        "objects_changed": 4,
        "objects_left_without": 1,
        "objects_no_longer_without": 1,
    }
    same = change_of(before, before)
    assert same.pop("kept") == 5 and not any(same.values())
