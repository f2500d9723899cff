"""Checks of annotations that read no image; they take a second or two for 100,000 images."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from yolox_jax.config import DataConfig
from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.data.doctor.finding import BOTH, MAX_CASES, Case, Finding, Level, Split, finding_if_any
from yolox_jax.data.doctor.imbalance import rare_classes
from yolox_jax.data.sources.checks import leaves_out_difficult
from yolox_jax.text import counted

FINEST_STRIDE_PX = 8
"""Cell size of the finest grid."""
MANY_SMALL = 0.2
"""Share of boxes smaller than a cell above which the finding is a warning."""
MANY_NARROW = 0.01
"""Share of boxes of extreme aspect ratio above which they are a warning; COCO has one in a thousand."""
MANY_BACKGROUND = 0.5
"""Share of images without objects above which they are a warning: the original's training collapses there."""
LISTED_TWICE = "images listed more than once"
MANY_LEFT_OUT = 0.1
"""Share of annotations marked as crowds or to be ignored above which they are a warning; COCO has one in a hundred."""
SHARED = "leakage: same image files in train and val"
SHARED_ADVICE = "Scores on images seen in training are too high. Remove them from one of the two splits."


class BoxTable(NamedTuple):
    """All boxes of a dataset."""

    boxes_xyxy: Float[np.ndarray, "N 4"]
    """In px of their image."""
    classes: Int[np.ndarray, " N"]
    owners: Int[np.ndarray, " N"]
    """Index of the image in `Dataset.records`."""
    sides: Float[np.ndarray, "N 2"]
    """Width and height in px at the input size."""

    @property
    def shorter(self) -> Float[np.ndarray, " N"]:
        """The shorter side in px at the input size."""
        return self.sides.min(axis=1, initial=np.inf)


def tabulate(dataset: Dataset, input_size: tuple[int, int]) -> BoxTable:
    """Return all boxes of a dataset; images are resized to fit `input_size` (height, width in px)."""
    records = dataset.records
    owners = np.repeat(np.arange(len(records)), [len(record.boxes) for record in records])
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(record.boxes for record in records)])
    classes = np.concatenate([np.zeros(0, np.int32), *(record.classes for record in records)])
    ratios = np.array([min(input_size[0] / record.height, input_size[1] / record.width) for record in records])
    return BoxTable(boxes, classes, owners, (boxes[:, 2:] - boxes[:, :2]) * ratios[owners][:, None])


def sizes_to_train_on(dataset: Dataset, config: DataConfig) -> Float[np.ndarray, "N 2"]:
    """Return width and height in px at the input size of the boxes that training does not ignore as too small."""
    table = tabulate(dataset, config.input_size)
    return table.sides[table.shorter > config.augment.min_final_side_px]


def cheap_findings(train_set: Dataset, val_set: Dataset, config: DataConfig) -> list[Finding]:
    """Check the annotations of the training and validation set, without reading an image.

    Args:
        train_set: the training set.
        val_set: the validation set.
        config: input size, maximum number of boxes and augmentation.
    """
    return [
        *findings_of_split(train_set, "train", config),
        *findings_of_split(val_set, "val", config),
        *findings_between(train_set, val_set),
    ]


def findings_of_split(dataset: Dataset, split: Split, config: DataConfig) -> list[Finding]:
    """Check the annotations of one dataset; `config` as for `cheap_findings`."""
    table = tabulate(dataset, config.input_size)
    return [
        *_repeated_images(dataset, split),
        *_repeated_boxes(dataset, table, split),
        *(_crowded(dataset, config.max_boxes) if split == "train" else []),
        *(_too_small(dataset, table, config) if split == "train" else []),
        *_small(dataset, table, split, config),
        *_narrow(dataset, table, split, config),
        *_background(dataset, split),
        *_left_out(dataset, split, config),
        *(rare_classes(dataset, config) if split == "train" else []),
    ]


def _repeated_images(dataset: Dataset, split: Split) -> list[Finding]:
    first: dict[str, Record] = {}
    repeated = [
        record
        for record in dataset.records
        if first.setdefault(f"{record.path.absolute()} {record.key}", record) is not record
    ]
    advice = "They count twice. Merge their entries, or remove all but one."
    return finding_if_any(
        LISTED_TWICE, (split,), "warning", advice, [Case(str(record.path), (record,)) for record in repeated]
    )


def _repeated_boxes(dataset: Dataset, table: BoxTable, split: Split) -> list[Finding]:
    rows = np.column_stack([table.owners, table.classes, table.boxes_xyxy]).astype(np.float64)
    order = np.lexsort(rows.T[::-1])
    repeated = np.zeros(len(rows), bool)
    repeated[order[1:][(rows[order][1:] == rows[order][:-1]).all(axis=1)]] = True
    advice = "They have the same class and coordinates as another box of the image. Remove all but one."
    return _box_findings(dataset, table, repeated, np.zeros(len(rows)), "duplicate boxes", split, "warning", advice)


def _crowded(dataset: Dataset, max_boxes: int) -> list[Finding]:
    crowded = [record for record in dataset.records if len(record.boxes) > max_boxes]
    crowded.sort(key=lambda record: -len(record.boxes))
    kind = f"images with more objects than --data.max-boxes {max_boxes}"
    advice = (
        "Training ignores the smallest objects beyond the limit. Raise it above the number of objects in an image, and "
        "further for mosaics, which combine four."
    )
    cases = [Case(f"{record.path}: {len(record.boxes)} objects", (record,)) for record in crowded]
    return finding_if_any(kind, ("train",), "warning", advice, cases)


def _too_small(dataset: Dataset, table: BoxTable, config: DataConfig) -> list[Finding]:
    limit = config.augment.min_final_side_px
    advice = (
        f"At --data.input-size a side is at most {limit:g} px (--data.augment.min-final-side-px), so training ignores "
        "them unless a mosaic enlarges them. Remove them if they are mistakes; otherwise raise --data.input-size."
    )
    selected = table.shorter <= limit
    return _box_findings(
        dataset, table, selected, -table.shorter, "boxes too small to train on", "train", "warning", advice
    )


def _small(dataset: Dataset, table: BoxTable, split: Split, config: DataConfig) -> list[Finding]:
    selected = table.shorter < FINEST_STRIDE_PX
    if split == "train":  # smaller ones are in another finding
        selected &= table.shorter > config.augment.min_final_side_px
    share = float(selected.mean()) if len(selected) else 0.0
    advice = (
        f"At --data.input-size they are narrower than a cell of the finest grid and hard to detect ({100 * share:.1f} "
        "% of the boxes). If they matter, raise --data.input-size, or cut large images into tiles (--data.tile)."
    )
    kind = f"boxes with a side below {FINEST_STRIDE_PX} px"
    level: Level = "warning" if share > MANY_SMALL else "note"
    return _box_findings(dataset, table, selected, -table.shorter, kind, split, level, advice)


def _narrow(dataset: Dataset, table: BoxTable, split: Split, config: DataConfig) -> list[Finding]:
    limit = config.augment.max_aspect
    aspects = table.sides.max(axis=1, initial=0) / table.shorter
    advice = (
        f"One side is at least {limit:g} times the other, so training ignores them in mosaics "
        "(--data.augment.max-aspect). Correct them if they are mistakes, or raise the setting."
    )
    selected = aspects >= limit
    level: Level = "warning" if selected.sum() > MANY_NARROW * len(selected) else "note"
    return _box_findings(dataset, table, selected, aspects, "boxes of extreme aspect ratio", split, level, advice)


def _box_findings(
    dataset: Dataset,
    table: BoxTable,
    selected: Bool[np.ndarray, " N"],
    badness: Float[np.ndarray, " N"],
    kind: str,
    split: Split,
    level: Level,
    advice: str,
) -> list[Finding]:
    """Return the finding of the selected boxes, worst first."""
    places = np.flatnonzero(selected)
    worst = places[np.argsort(-badness[places], kind="stable")][:MAX_CASES]
    cases = [_case_of_box(dataset, table, place) for place in worst.tolist()]
    return finding_if_any(kind, (split,), level, advice, cases, count=len(places))


def _case_of_box(dataset: Dataset, table: BoxTable, place: int) -> Case:
    record = dataset.records[int(table.owners[place])]
    x1, y1, x2, y2 = map(float, table.boxes_xyxy[place])
    width, height = table.sides[place]
    text = (
        f"{record.path}: {dataset.class_names[int(table.classes[place])]} from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}), "
        f"{width:.1f}x{height:.1f} px at the input size"
    )
    return Case(text, (record,), ((x1, y1, x2, y2),))


def _background(dataset: Dataset, split: Split) -> list[Finding]:
    empty = [record for record in dataset.records if not len(record.boxes)]
    share = len(empty) / max(len(dataset.records), 1)
    advice = f"They are background ({100 * share:.1f} % of the images)."
    level: Level = "warning" if share > MANY_BACKGROUND else "note"
    if level == "warning":
        advice += " So few objects make training unstable. Remove some of these images, or annotate them."
    cases = [Case(str(record.path), (record,)) for record in empty]
    return finding_if_any("images without objects", (split,), level, advice, cases)


def _left_out(dataset: Dataset, split: Split, config: DataConfig) -> list[Finding]:
    """Count the annotations that are in the ground truth, but are not trained on because of a mark."""
    annotations = dataset.ground_truth["annotations"]
    crowds = [entry for entry in annotations if entry["iscrowd"]]
    ignored = [entry for entry in annotations if "ignore" in entry and not entry["iscrowd"]]
    effect = "They are not trained on. If they are objects, "
    crowd_kind, crowd_advice = "crowds (iscrowd: 1)", f"{effect}set iscrowd to 0."
    configs = (config.train, *config.more_train) if split == "train" else (config.val, *config.more_val)
    if any(map(leaves_out_difficult, configs)):
        crowd_kind, crowd_advice = "difficult objects and crowds", f"{effect}set --data.{split}.difficult to use."
    findings = []
    for kind, entries, advice in (
        (crowd_kind, crowds, crowd_advice),
        ("annotations to be ignored (ignore: 1)", ignored, f"{effect}set ignore to 0."),
    ):
        level: Level = "warning" if len(entries) > MANY_LEFT_OUT * len(annotations) else "note"
        cases = _cases_of_annotations(dataset, entries[:MAX_CASES])
        findings += finding_if_any(kind, (split,), level, advice, cases, count=len(entries))
    return findings


def _cases_of_annotations(dataset: Dataset, entries: list[dict[str, Any]]) -> list[Case]:
    whole = {record.image_id: record for record in dataset.records if record.tile is None}
    files = {row["id"]: row["file_name"] for row in dataset.ground_truth["images"]}
    names = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
    cases = []
    for entry in entries:
        record, (x, y, width, height) = whole.get(entry["image_id"]), map(float, entry["bbox"])
        box = (x, y, x + width, y + height)
        path = files[entry["image_id"]] if record is None else record.path
        text = f"{path}: {names[entry['category_id']]} from ({x:g}, {y:g}) to ({box[2]:g}, {box[3]:g})"
        cases.append(Case(text) if record is None else Case(text, (record,), (box,)))
    return cases


def findings_between(train_set: Dataset, val_set: Dataset) -> list[Finding]:
    """Compare two datasets: classes that one of them lacks, and images that both have."""
    train, val = count_boxes(train_set), count_boxes(val_set)
    left_out = _count_left_out(train_set)
    never = [
        Case(
            f"{name} ({counted(left_out[name], 'annotation')} left out as crowds or ignored)"
            if left_out[name]
            else name
        )
        for name in train
        if not train[name] and not val.get(name)
    ]
    untrained = [Case(name) for name in val if val[name] and not train.get(name)]
    untested = [Case(name) for name in train if train[name] and not val.get(name)]
    advice_never = (
        "The network has outputs for them that learn nothing. Annotate them, or list the other classes in "
        "--data.classes."
    )
    advice_untrained = "They are evaluated but not trained, so their AP will be 0. Add training images of them."
    advice_untested = "They have no AP and do not count in the mean. Add validation images of them if they matter."
    return [
        *finding_if_any("classes without any box", BOTH, "warning", advice_never, never),
        *finding_if_any("classes with boxes only in val", BOTH, "warning", advice_untrained, untrained),
        *finding_if_any("classes with boxes only in train", BOTH, "note", advice_untested, untested),
        *_shared_images(train_set, val_set),
    ]


def count_boxes(dataset: Dataset) -> dict[str, int]:
    """Return the number of boxes by class name."""
    counts = dict.fromkeys(dataset.class_names, 0)
    classes = np.concatenate([np.zeros(0, np.int32), *(record.classes for record in dataset.records)])
    for index, count in enumerate(np.bincount(classes).tolist()):
        counts[dataset.class_names[index]] += count
    return counts


def _count_left_out(dataset: Dataset) -> Counter[str]:
    """Return the number of annotations that are not trained on because of a mark, by class name."""
    names = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
    annotations = dataset.ground_truth["annotations"]
    return Counter(names[entry["category_id"]] for entry in annotations if entry["iscrowd"] or "ignore" in entry)


def _shared_images(train_set: Dataset, val_set: Dataset) -> list[Finding]:
    trained = {same_image(record): record for record in train_set.records}
    pairs = [(trained[same_image(record)], record) for record in val_set.records if same_image(record) in trained]
    return finding_if_any(SHARED, BOTH, "warning", SHARED_ADVICE, [Case(str(pair[0].path), pair) for pair in pairs])


def same_image(record: Record) -> tuple[Path, int]:
    """Return a key that is equal for entries of the same image file, or of the same image in an archive."""
    return record.path.absolute(), record.position
