"""Figures of label assignment: counts of anchors and means, and what changes from one network to another."""

import math
from collections.abc import Sequence

import numpy as np

from yolox_jax.report.assigned_anchors import AssignedObject, ImageAssignment


def summary_of(images: Sequence[ImageAssignment], *, has_costs: bool) -> dict[str, float]:
    """Count objects, objects without anchors and anchors per level; average the IoU and cost of the anchors.

    The averages are NaN if there are no anchors. `ignored` is there if the rule ignores predictions, and `mean_cost` if
    it has costs.
    """
    objects = [thing for image in images for thing in image.objects]
    anchors = [anchor for thing in objects for anchor in thing.anchors]
    ignored = [image.ignored for image in images if image.ignored is not None]
    costs = [anchor.cost for anchor in anchors if anchor.cost is not None]
    strides = sorted({stride for image in images for stride in image.strides})
    per_level = {f"stride_{stride}": sum(anchor.stride == stride for anchor in anchors) for stride in strides}
    return {
        "objects": len(objects),
        "without_anchors": sum(not thing.anchors for thing in objects),
        "anchors": len(anchors),
        "anchors_per_object": len(anchors) / max(len(objects), 1),
        **per_level,
        **({"ignored": sum(ignored)} if ignored else {}),
        "mean_iou": _mean([anchor.iou for anchor in anchors]),
        **({"mean_cost": _mean(costs)} if has_costs else {}),
    }


def change_of(before: Sequence[AssignedObject], after: Sequence[AssignedObject]) -> dict[str, int]:
    """Compare the assignment of the same objects under two sets of weights.

    Args:
        before: objects of one or several images.
        after: the same objects in the same order, under the second weights.

    Returns:
        Counts of matches (pairs of an anchor and an object): `kept`, `gained` and `lost`. Counts of objects: with
        different anchors (`objects_changed`), without anchors only after (`objects_left_without`), and without anchors
        only before (`objects_no_longer_without`).
    """
    pairs = [
        ({anchor.place for anchor in old.anchors}, {anchor.place for anchor in new.anchors})
        for old, new in zip(before, after, strict=True)
    ]
    return {
        "kept": sum(len(old & new) for old, new in pairs),
        "gained": sum(len(new - old) for old, new in pairs),
        "lost": sum(len(old - new) for old, new in pairs),
        "objects_changed": sum(old != new for old, new in pairs),
        "objects_left_without": sum(bool(old) and not new for old, new in pairs),
        "objects_no_longer_without": sum(not old and bool(new) for old, new in pairs),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
