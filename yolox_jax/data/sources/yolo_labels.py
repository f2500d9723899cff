"""Finds the label file of each image of a YOLO dataset."""

from collections.abc import Sequence
from pathlib import Path

from yolox_jax.data.sources.foreign_paths import Folders
from yolox_jax.data.sources.remarks import RemarkKind, Remarks

LABELS_IN_OTHER_SPELLING = RemarkKind(
    "label folders in another spelling",
    "warning",
    "They differ in upper and lower case. Name the folders images and labels, because other programs may find no "
    "labels.",
)


def label_path(image: Path) -> Path:
    """Return the label file of an image: the last folder `images` becomes `labels`, the suffix `.txt`."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        parts[max(place for place, part in enumerate(parts[:-1]) if part == "images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def find_labels(images: Sequence[Path], remarks: Remarks) -> list[Path]:
    """Return the label files of images.

    Those that `label_path` names come first. Otherwise the folders may have another spelling, such as `Images` and
    `Labels`, if only one folder can be meant.

    Args:
        images: the image files.
        remarks: receives the folders in another spelling.
    """
    folders = Folders()
    others = {folder: _other_folder(folder, folders) for folder in {image.parent for image in images}}
    for folder, other in sorted(others.items()):
        if other is not None:
            remarks.add(LABELS_IN_OTHER_SPELLING, f"{folder}: the labels are in {other}")
    labels = []
    for image in images:
        label, other = label_path(image), others[image.parent]
        labels.append(other / label.name if other is not None and not label.exists() else label)
    return labels


def _other_folder(images: Path, folders: Folders) -> Path | None:
    """Return the folder of the labels where it is not that of `label_path`; None if there is none, or several."""
    places = [place for place, part in enumerate(images.parts) if part.casefold() == "images"]
    if not places:
        return None
    above, below = Path(*images.parts[: places[-1]]), images.parts[places[-1] + 1 :]
    names = [name for name in folders.names(above) if name.casefold() == "labels"]
    found = folders.subfolder(above, (names[0], *below)) if len(names) == 1 else None
    return None if found is None or not found.is_dir() or found == label_path(images / "any").parent else found
