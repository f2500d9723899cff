"""Finds the image of each annotation file of Pascal VOC."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from yolox_jax.data.dataset import DataError
from yolox_jax.data.image_formats import ALL_IMAGE_SUFFIXES
from yolox_jax.data.sources.checks import ErrorHandler, check_images_exist
from yolox_jax.data.sources.foreign_paths import OTHER_SPELLING
from yolox_jax.data.sources.remarks import RemarkKind, Remarks
from yolox_jax.data.sources.voc_lists import is_left_by_system, name_key, spellings
from yolox_jax.data.sources.voc_xml import Annotation
from yolox_jax.text import counted

BY_FILE_NAME = RemarkKind(
    "images found by <filename>",
    "warning",
    "There is no image of the name of the XML file, so the image that it gives in <filename> is used. Rename one of "
    "them, because other programs go by the name.",
)
SIZE_OF_IMAGE = RemarkKind(
    "XML files without the size of the image",
    "warning",
    "Their size is missing or 0. It is read from the images, after their EXIF rotation.",
)


def find_images(
    folder: Path,
    annotations: Mapping[str, Annotation],
    names: Sequence[str],
    setting: str,
    errors: ErrorHandler,
    remarks: Remarks,
) -> dict[str, Path]:
    """Find the images of annotation files: those of the same name, whatever their suffix.

    Of several such images, the one that the file gives in <filename> is taken. If there is none, the image given there
    is taken, unless it has an annotation file of its own or several files give it.

    Args:
        folder: holds the images.
        annotations: the content of all annotation files by name.
        names: which of them to find the images of.
        setting: prefix of the settings named in errors.
        errors: what to do about images that are missing, or of which there are several.
        remarks: receives which images were found by <filename>.

    Returns:
        The path of each image by name. A missing one is `name.*`, which does not exist.

    Raises:
        DataError: images are missing, or there are several of one name and <filename> gives neither.
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for entry in sorted(folder.iterdir()):
        if entry.suffix.lower() in ALL_IMAGE_SUFFIXES and not is_left_by_system(entry.name):
            by_name[_without_suffix(entry.name)].append(entry.name)
    by_spelling = spellings(by_name)
    found: dict[str, str | None] = {}
    for name in names:
        with errors:
            other = by_spelling.get(name.casefold(), name)  # the same name with other upper and lower case
            spelling = name if name in by_name or other in annotations else other
            found[name] = _image(name, spelling, annotations, by_name, folder)
    claims = Counter(found.values())
    paths: dict[str, Path] = {}
    for name, file in found.items():
        stem = _without_suffix(file) if file else name
        if file is None or (stem != name and claims[file] > 1):
            paths[name] = folder / f"{name}.*"
            continue
        paths[name] = folder / file
        if stem != name:
            kind = OTHER_SPELLING if stem.casefold() == name.casefold() else BY_FILE_NAME
            remarks.add(kind, f"{name}.xml: {folder / file}")
    with errors:
        way_out = f"check {setting}.images, or remove these entries from the annotations"
        check_images_exist({path: f"{name}.xml" for name, path in paths.items()}, "ImageSets/Main", way_out)
    return paths


def _image(
    name: str, spelling: str, annotations: Mapping[str, Annotation], by_name: Mapping[str, list[str]], folder: Path
) -> str | None:
    """Return the file name of the image of an XML file; None if it is missing. `spelling` is its name for images."""
    given = annotations[name].file_name
    files = by_name.get(spelling, [])
    if not files and _without_suffix(given) not in annotations:
        files = by_name.get(_without_suffix(given), by_name.get(name_key(given), []))
    if len(files) <= 1:
        return files[0] if files else None
    if given in files:
        return given
    says = f"<filename> is {given!r}" if given else "it has no <filename>"
    raise DataError(
        f"{name}.xml could belong to {' or '.join(files)} in {folder}, and {says}. Remove all but one of them, or "
        "correct <filename>.",
        kind="several images of the same name",
    )


def _without_suffix(file: str) -> str:
    return name_key(file.rpartition(".")[0])


def with_sizes_of_images(
    annotations: Mapping[str, Annotation], paths: Mapping[str, Path], remarks: Remarks
) -> tuple[dict[str, Annotation], tuple[str, ...]]:
    """Read the sizes that annotation files lack from their images.

    Args:
        annotations: the content of annotation files by name.
        paths: their images.
        remarks: receives which sizes were read.

    Returns:
        The annotations of all images in `paths`, with sizes, and warnings. An unreadable image keeps no objects, and
        loading reports it as `data.broken_images` says.
    """
    lacking = [name for name in paths if annotations[name].size is None]
    sized = {name: annotations[name] for name in paths}
    if not lacking:
        return sized, ()
    from yolox_jax.data.header import image_sizes  # imports OpenCV

    unreadable = []
    for name, size in zip(lacking, image_sizes([paths[name] for name in lacking]), strict=True):
        if size is None:
            unreadable.append(paths[name])
            sized[name] = dataclasses.replace(
                annotations[name], size=(1, 1), numbers=[], names=[], boxes_xyxy=[], difficult=[]
            )
        else:
            remarks.add(SIZE_OF_IMAGE, f"{name}.xml: the size of {paths[name]} is {size[1]}x{size[0]} px")
            sized[name] = dataclasses.replace(annotations[name], size=size)
    if not unreadable:
        return sized, ()
    images = counted(len(unreadable), "image")
    return sized, (f"ignored the boxes of {images} that cannot be read (first: {unreadable[0]})",)
