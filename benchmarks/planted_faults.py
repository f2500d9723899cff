"""Plants annotation faults in a dataset, and remembers where."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from yolox_jax.data.dataset import Dataset

SHIFT = (0.15, 0.45)
"""How far a box is moved along each axis, relative to its side."""
SHIFTED_IOU = (0.2, 0.6)
"""IoU of a moved box, clipped to the image, with where it was."""
MOST_TRIES = 200

Annotation = dict[str, Any]
"""An annotation in COCO's format."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One planted fault."""

    kind: str
    """What `yolox-jax data suspects` calls it."""
    image_id: int
    annotation_id: int | None
    """The faulty annotation; None for an object whose annotation was removed."""
    bbox: tuple[float, ...]
    """Left, top, width and height in px: where the object is, or for an added annotation where it says there is
    one."""


def plant(dataset: Dataset, share: float, seed: int) -> tuple[dict[str, Any], list[Fault]]:
    """Return annotations with faults in COCO layout, and the faults. The dataset itself is not changed.

    Of the objects, a share each has its annotation removed, its class replaced by another one, and its box moved. As
    many annotations are added where there is nothing. No annotation has two faults.

    Args:
        dataset: the annotations to take as correct.
        share: number of faults of each kind, relative to the number of objects; below a third.
        seed: seed of all choices.
    """
    rng = np.random.default_rng(seed)
    content = copy.deepcopy(dataset.ground_truth)
    objects = [entry for entry in content["annotations"] if not entry["iscrowd"]]
    sizes = {row["id"]: (row["width"], row["height"]) for row in content["images"]}
    count = round(share * len(objects))
    removed, swapped, shifted = (
        [objects[index] for index in part] for part in np.split(rng.permutation(len(objects))[: 3 * count], 3)
    )
    faults = [Fault("missing", entry["image_id"], None, tuple(entry["bbox"])) for entry in removed]
    faults += [_swap(entry, dataset.category_ids, rng) for entry in swapped]
    faults += [_shift(entry, sizes[entry["image_id"]], rng) for entry in shifted]
    next_id = 1 + max(entry["id"] for entry in content["annotations"])
    added = _add(count, content["annotations"], sizes, next_id, rng)
    gone = {entry["id"] for entry in removed}
    content["annotations"] = [entry for entry in content["annotations"] if entry["id"] not in gone] + added
    faults += [Fault("spurious", entry["image_id"], entry["id"], tuple(entry["bbox"])) for entry in added]
    return content, faults


def write_faulty(path: Path, content: dict[str, Any], faults: list[Fault]) -> None:
    """Write the annotations, with the faults beside them, which no reader of COCO files looks at."""
    path.write_text(json.dumps({**content, "faults": [dataclasses.asdict(fault) for fault in faults]}))


def _swap(entry: Annotation, category_ids: tuple[int, ...], rng: np.random.Generator) -> Fault:
    entry["category_id"] = int(rng.choice([other for other in category_ids if other != entry["category_id"]]))
    return Fault("wrong-class", entry["image_id"], entry["id"], tuple(entry["bbox"]))


def _shift(entry: Annotation, size: tuple[int, int], rng: np.random.Generator) -> Fault:
    box = entry["bbox"]
    for _ in range(MOST_TRIES):
        move = rng.uniform(*SHIFT, 2) * rng.choice([-1, 1], 2) * box[2:]
        corners = np.array([*(box[:2] + move), *(box[:2] + move + box[2:])]).clip(0, [*size, *size])
        moved = [*corners[:2].tolist(), *(corners[2:] - corners[:2]).tolist()]
        if SHIFTED_IOU[0] <= iou(box, moved) <= SHIFTED_IOU[1]:
            entry["bbox"], entry["area"] = moved, moved[2] * moved[3]
            return Fault("misplaced", entry["image_id"], entry["id"], tuple(box))
    raise ValueError(f"no place for annotation {entry['id']}: {box} in an image of {size} px")


def _add(
    count: int,
    annotations: list[Annotation],
    sizes: dict[int, tuple[int, int]],
    first_id: int,
    rng: np.random.Generator,
) -> list[Annotation]:
    """Annotations of the size and class of others, in random images, that touch no other."""
    added: list[Annotation] = []
    for _ in range(count * MOST_TRIES):
        if len(added) == count:
            return added
        like = annotations[rng.integers(len(annotations))]
        image_id = int(rng.choice(list(sizes)))
        room = np.array(sizes[image_id]) - like["bbox"][2:]
        box = [*(rng.uniform(0, 1, 2) * room).round().tolist(), *like["bbox"][2:]]
        others = [entry["bbox"] for entry in [*annotations, *added] if entry["image_id"] == image_id]
        if not any(iou(box, other) > 0 for other in others):
            added.append({**like, "id": first_id + len(added), "image_id": image_id, "bbox": box})
    raise ValueError(f"no free place for {count} annotations after {len(added)}")


def iou(one: Any, other: Any) -> float:
    """Intersection over union of two boxes (left, top, width, height)."""
    one, other = np.asarray(one, float), np.asarray(other, float)
    corner = np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    width, height = np.maximum(corner - np.maximum(one[:2], other[:2]), 0)
    shared = width * height
    return float(shared / (one[2] * one[3] + other[2] * other[3] - shared))
