"""Writes the anchors assigned to the objects of some images, as pictures and JSON.

They are those under one or two sets of weights, or under several rules.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolox_jax.config import AssignmentConfig
from yolox_jax.config.assignment import AssignmentRule
from yolox_jax.data.training_images import TrainingImage
from yolox_jax.files import null_if_not_finite, write_json
from yolox_jax.inference.picture_files import write_picture
from yolox_jax.models.yolox import YOLOX
from yolox_jax.report.assigned_anchors import (
    RULES_WITH_COSTS,
    AssignedAnchor,
    AssignedObject,
    ImageAssignment,
    assigned_anchors,
)
from yolox_jax.report.assignment_figures import change_of, summary_of
from yolox_jax.report.assignment_panels import RULE_TITLES, Panel, caption_of_rule, draw_rules, draw_weights
from yolox_jax.structures import padded_targets


@dataclasses.dataclass(frozen=True)
class AssignmentOfImages:
    """The anchors assigned to the objects of some images under one set of weights and one rule."""

    weights: str
    """Path or name of the weights."""
    rule: AssignmentRule
    images: list[ImageAssignment]
    borrowed_boxes: bool
    """Whether the anchor boxes are those of COCO, because the network has none and the rule needs them."""

    def all_objects(self) -> list[AssignedObject]:
        """The objects of all images."""
        return list(itertools.chain.from_iterable(image.objects for image in self.images))


@dataclasses.dataclass(frozen=True)
class AssignmentReport:
    """The figures of an assignment, and how they change from the first weights to the second."""

    summaries: dict[str, dict[str, float]]
    """By weights, or by rule; see `summary_of`."""
    change: dict[str, int] | None
    """See `change_of`; None but for two sets of weights."""


def assign_images(
    model: YOLOX, weights: str, images: Sequence[TrainingImage], config: AssignmentConfig
) -> AssignmentOfImages:
    """Assigns anchors to the objects of each image, one image at a time, so that any number fits on the device.

    Args:
        model: The network, in evaluation mode.
        weights: Path or name of its weights, for the report.
        images: The images and their objects.
        config: The rule and its settings.
    """
    max_boxes = max(1, *(len(one.boxes) for one in images))
    found = []
    for one in images:
        targets = padded_targets([one.boxes], [one.classes], max_boxes)
        found += assigned_anchors(model, one.image[None], targets, config)
    return AssignmentOfImages(weights, config.rule, found, config.rule == "yolov3" and not model.anchor_boxes)


def write_assignment_report(
    folder: Path,
    images: Sequence[TrainingImage],
    assignments: Sequence[AssignmentOfImages],
    class_names: Sequence[str],
    *,
    by_rule: bool = False,
) -> AssignmentReport:
    """Writes a picture of each image and assignment.json.

    Args:
        folder: Where to write; it must exist.
        images: The images and their objects.
        assignments: One or two sets of weights; the second is compared with the first. Or several rules.
        class_names: Names of all classes.
        by_rule: Whether the assignments are those of the same weights under several rules.
    """
    for index, one in enumerate(images):
        if by_rule:
            picture = draw_rules(one, [_panel_of_rule(found, index) for found in assignments], class_names)
        else:
            picture = draw_weights(one, [_panel_of_weights(found, index) for found in assignments], class_names)
        write_picture(folder / f"{one.name}.png", picture)
    named = {found.rule if by_rule else found.weights: found for found in assignments}
    is_change = len(assignments) == 2 and not by_rule
    report = AssignmentReport(
        {name: summary_of(found.images, has_costs=found.rule in RULES_WITH_COSTS) for name, found in named.items()},
        change_of(*(found.all_objects() for found in assignments)) if is_change else None,
    )
    document = {
        "summary": report.summaries,
        **({"change": report.change} if report.change else {}),
        "images": _images_as_json(images, named, class_names),
    }
    write_json(folder / "assignment.json", null_if_not_finite(document))
    return report


def _panel_of_weights(found: AssignmentOfImages, index: int) -> Panel:
    return Panel(f"{found.weights}: {RULE_TITLES[found.rule]}", found.rule, found.images[index])


def _panel_of_rule(found: AssignmentOfImages, index: int) -> Panel:
    image = found.images[index]
    caption = caption_of_rule(found.rule, image, borrowed_boxes=found.borrowed_boxes)
    return Panel(caption, found.rule, image)


def _images_as_json(
    images: Sequence[TrainingImage], named: dict[str, AssignmentOfImages], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """For each image and object, the anchors assigned to it under each set of weights or rule."""

    def entry(thing: AssignedObject) -> dict[str, Any]:
        anchors = [_anchor_as_json(anchor) for anchor in thing.anchors]
        return {"dynamic_k": thing.dynamic_k, "candidates": thing.candidates, "anchors": anchors}

    first = next(iter(named.values()))
    return [
        {
            "name": one.name,
            "objects": [
                {
                    "class": class_names[thing.class_index],
                    "box": list(thing.box),
                    "assigned": {name: entry(found.images[index].objects[number]) for name, found in named.items()},
                }
                for number, thing in enumerate(first.images[index].objects)
            ],
        }
        for index, one in enumerate(images)
    ]


def _anchor_as_json(anchor: AssignedAnchor) -> dict[str, Any]:
    """All fields that the network has. A cost stands there for every rule, null where the rule has none."""
    optional = ("box_of_cell", "anchor_box", "selected")
    return {name: value for name, value in anchor._asdict().items() if value is not None or name not in optional}
