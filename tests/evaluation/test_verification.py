"""The comparison of an exported file with its weights."""

import numpy as np
import pytest

from yolox_jax.evaluation.verification import Differences, Found, Tolerance, Verification, compare

TOLERANCE = Tolerance(box_px=0.5, score=0.01, changed=0.0)


def found(*rows: tuple[float, ...]) -> Found:
    """Detections from rows of x1, y1, x2, y2, score, class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Found(table[:, :4], table[:, 4], table[:, 5].astype(np.int32))


BOTH = found((0, 0, 20, 20, 0.9, 0), (100, 0, 140, 40, 0.5, 1))


def test_equal_detections_do_not_differ_in_whatever_order() -> None:
    swapped = Found(*(array[::-1] for array in BOTH))
    assert compare(BOTH, swapped, 0.25, TOLERANCE) == (0.0, 0.0, 0, 0, 0)


def test_largest_differences_are_in_px_of_the_network_input() -> None:
    moved = found((0, 0, 20, 24, 0.9, 0), (100, 0, 140, 40, 0.48, 1))
    assert compare(BOTH, moved, 0.25, TOLERANCE, 0.1) == pytest.approx((0.4, 0.02, 1, 0, 0), abs=1e-6)
    assert compare(BOTH, moved, 0.25, TOLERANCE, 1.0) == pytest.approx((4.0, 0.02, 2, 0, 0), abs=1e-6)


@pytest.mark.parametrize(
    ("theirs", "lost", "gained"),
    [
        (found((0, 0, 20, 20, 0.9, 0)), 1, 0),
        (found((0, 0, 20, 20, 0.9, 1), (100, 0, 140, 40, 0.5, 1)), 1, 1),  # another class
        (found((0, 0, 20, 20, 0.9, 0), (100, 0, 140, 40, 0.5, 1), (101, 0, 140, 40, 0.4, 1)), 0, 1),
        (found((0, 0, 20, 20, 0.9, 0), (100, 0, 140, 40, 0.5, 1), (50, 50, 60, 60, 0.255, 1)), 0, 0),  # by rounding
        (found((0, 0, 20, 20, 0.9, 0), (100, 0, 140, 40, 0.5, 1), (50, 50, 60, 60, np.nan, 1)), 0, 1),
        (found(), 2, 0),
    ],
)
def test_detections_without_a_partner_are_lost_or_gained(theirs: Found, lost: int, gained: int) -> None:
    assert compare(BOTH, theirs, 0.25, TOLERANCE)[3:] == (lost, gained)


def test_each_detection_has_one_partner() -> None:
    ours = found((0, 0, 20, 20, 0.9, 0), (1, 0, 21, 20, 0.8, 0))
    theirs = found((1, 0, 21, 20, 0.8, 0), (0, 0, 20, 20, 0.9, 0))
    assert compare(ours, theirs, 0.25, TOLERANCE) == (0.0, 0.0, 0, 0, 0)


def test_a_score_that_is_no_number_is_a_difference() -> None:
    broken = Found(BOTH.boxes, np.array([0.9, np.nan], np.float32), BOTH.classes)
    assert compare(BOTH, broken, 0.25, TOLERANCE)[2:] == (1, 0, 0)


def test_changed_detections_are_a_share_of_those_of_both() -> None:
    differences = {"a.png": Differences(0.0, 0.0, 0, 2, 6)}
    verification = Verification(TOLERANCE, differences, 2, None, (1.0, 1.0))
    assert verification.changed == 1.0 and not verification.agrees
