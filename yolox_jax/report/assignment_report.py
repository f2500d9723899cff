"""Writes the anchors assigned to the objects of some images under one or two sets of weights, as pictures and JSON."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolox_jax.config import AssignmentConfig
from yolox_jax.data.training_images import TrainingImage
from yolox_jax.files import null_if_not_finite, write_json
from yolox_jax.inference.picture_files import write_picture
from yolox_jax.models.yolox import YOLOX
from yolox_jax.report.assigned_anchors import AssignedObject, assigned_anchors, change_of, summary_of
from yolox_jax.report.assignment_pictures import dots_of, draw_assignment, draw_legend, scale_of
from yolox_jax.structures import padded_targets


@dataclasses.dataclass(frozen=True)
class WeightsAssignment:
    """The anchors assigned to the objects of some images under one set of weights."""

    weights: str
    """Path or name of the weights."""
    objects: list[list[AssignedObject]]
    """The objects of each image."""

    def all_objects(self) -> list[AssignedObject]:
        """The objects of all images."""
        return list(itertools.chain.from_iterable(self.objects))


@dataclasses.dataclass(frozen=True)
class AssignmentReport:
    """The figures of an assignment, and how they change from the first weights to the second."""

    summaries: dict[str, dict[str, float]]
    """By weights; see `summary_of`."""
    change: dict[str, int] | None
    """See `change_of`; None for a single set of weights."""


def assign_images(
    model: YOLOX, weights: str, images: Sequence[TrainingImage], config: AssignmentConfig
) -> WeightsAssignment:
    """Assigns anchors to the objects of each image, one image at a time, so that any number fits on the device.

    Args:
        model: The network, in evaluation mode.
        weights: Path or name of its weights, for the report.
        images: The images and their objects.
        config: The settings of SimOTA.
    """
    max_boxes = max(1, *(len(one.boxes) for one in images))
    objects = []
    for one in images:
        targets = padded_targets([one.boxes], [one.classes], max_boxes)
        objects += assigned_anchors(model, one.image[None], targets, config)
    return WeightsAssignment(weights, objects)


def write_assignment_report(
    folder: Path,
    images: Sequence[TrainingImage],
    assignments: Sequence[WeightsAssignment],
    class_names: Sequence[str],
) -> AssignmentReport:
    """Writes a picture of each image and assignment.json.

    Args:
        folder: Where to write; it must exist.
        images: The images and their objects.
        assignments: One or two; the second is compared with the first.
        class_names: Names of all classes.
    """
    for index, one in enumerate(images):
        _write_picture(folder / f"{one.name}.png", one, index, assignments, class_names)
    report = AssignmentReport(
        {one.weights: summary_of(one.all_objects()) for one in assignments},
        change_of(*(one.all_objects() for one in assignments)) if len(assignments) == 2 else None,
    )
    document = {
        "summary": report.summaries,
        **({"change": report.change} if report.change else {}),
        "images": _images_as_json(images, assignments, class_names),
    }
    write_json(folder / "assignment.json", null_if_not_finite(document))
    return report


def _write_picture(
    path: Path,
    one: TrainingImage,
    index: int,
    assignments: Sequence[WeightsAssignment],
    class_names: Sequence[str],
) -> None:
    """Draws one panel per set of weights, side by side above a legend."""
    image = one.image[: one.content_size[0], : one.content_size[1]]
    panels = []
    for number, assignment in enumerate(assignments):
        objects = assignment.objects[index]
        dots = dots_of(objects, assignments[0].objects[index] if number else None)
        panels.append(draw_assignment(image, objects, dots, class_names, assignment.weights))
    picture = np.concatenate(panels, axis=1)
    legend = draw_legend(picture.shape[1], scale_of(image), compared=len(assignments) > 1)
    write_picture(path, np.concatenate([picture, legend]))


def _images_as_json(
    images: Sequence[TrainingImage], assignments: Sequence[WeightsAssignment], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """For each image and object, the anchors assigned to it under each set of weights."""

    def entry(thing: AssignedObject) -> dict[str, Any]:
        anchors = [anchor._asdict() for anchor in thing.anchors]
        return {"dynamic_k": thing.dynamic_k, "candidates": thing.candidates, "anchors": anchors}

    return [
        {
            "name": one.name,
            "objects": [
                {
                    "class": class_names[thing.class_index],
                    "box": list(thing.box),
                    "assigned": {
                        assignment.weights: entry(assignment.objects[index][number]) for assignment in assignments
                    },
                }
                for number, thing in enumerate(assignments[0].objects[index])
            ],
        }
        for index, one in enumerate(images)
    ]
