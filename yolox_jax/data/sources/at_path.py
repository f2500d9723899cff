"""Finds out which datasets are at a path: a YOLO data.yaml, a COCO JSON file, or a folder of a known layout."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from yolox_jax.config import ConfigError, DatasetConfig
from yolox_jax.data.sources.coco_images import image_folder, image_names
from yolox_jax.files import expand_home

ROBOFLOW = "_annotations.coco.json"
"""Annotations beside the images, as Roboflow exports them."""
VAL_NAMES = ("val", "valid", "validation")
"""What programs call the validation split, the most common name first."""
_KNOWN = (
    "a data.yaml (YOLO), the folders Annotations and JPEGImages (VOC), COCO JSON files here or in annotations/, or "
    f"train/{ROBOFLOW} (Roboflow)"
)
_FLAGS = "pass the paths with --data.train.format, --data.train.images and --data.train.annotations"


class DatasetsAt(NamedTuple):
    """The datasets at a path."""

    train: DatasetConfig
    val: DatasetConfig | None
    """None if there is no validation split."""


def datasets_at(path: str | Path, *, train_images: str = "", val_images: str = "") -> DatasetsAt:
    """Find the training and the validation dataset at a path.

    The path is one of

    - a data.yaml of the YOLO format, or a folder that holds one;
    - a COCO JSON file. With `train` in its name or folder, a file that has `val`, `valid` or `validation` instead is
      the validation split. The images are looked for beside the file and in the usual folders;
    - a folder with COCO JSON files, in it or in its subfolder annotations;
    - the folder of a Roboflow export in COCO format, with train/_annotations.coco.json;
    - a VOC folder, with Annotations and JPEGImages;
    - a folder that holds nothing but one subfolder of the above, as unpacked archives do.

    Only names are read, and of a JSON file the first names of images. Opening the datasets checks their content.

    Args:
        path: a file or folder.
        train_images: the folder of the training images of a COCO file, where it is known.
        val_images: the same of the validation images.

    Raises:
        ConfigError: nothing known is at the path, it could be several datasets, or the images cannot be found.
    """
    path = expand_home(path)
    if path.is_dir():
        return _in_folder(path, train_images, val_images)
    if not path.is_file():
        raise ConfigError(f"{path} does not exist. Pass a data.yaml, a COCO JSON file, or the folder of a dataset.")
    if path.suffix.lower() in (".yaml", ".yml"):
        return _yolo(path)
    if path.suffix.lower() == ".json":
        return _coco(path, _val_beside(path), train_images, val_images)
    archive = path.suffix.lower() in (".zip", ".tar", ".tgz", ".gz", ".rar", ".7z")
    what = "an archive; unpack it and pass the folder" if archive else "neither a data.yaml nor a COCO JSON file"
    raise ConfigError(f"{path} is {what}. For other datasets, {_FLAGS}.")


def _in_folder(folder: Path, train_images: str, val_images: str) -> DatasetsAt:
    kinds = _recognised(folder)
    if not kinds:
        inner = [child for child in _visible_folders(folder) if _recognised(child)]
        if len(inner) == 1:
            return _in_folder(inner[0], train_images, val_images)
        if inner:
            raise ConfigError(f"{folder} holds several datasets: {_listed(inner)}. Pass one of them.")
        raise ConfigError(f"{folder} holds no dataset that is recognised. {_hint(folder)}")
    if len(kinds) > 1:
        raise ConfigError(
            f"{folder} holds annotations in several formats: {_listed(list(kinds.values()))}. Pass the data.yaml or "
            f"the JSON file that you mean; for VOC, pass --data.train.format voc --data.train.images {folder}."
        )
    ((kind, found),) = kinds.items()
    if kind == "yolo":
        return _yolo(found)
    if kind == "voc":
        return _voc(found)
    if kind == "roboflow":
        return _coco(found, _val_beside(found), train_images, val_images)
    return _coco_folder(found, train_images, val_images)


def _recognised(folder: Path) -> dict[str, Path]:
    """Return the formats of a folder, each with the file or folder that shows it."""
    kinds = {}
    if data_yaml := _data_yaml(folder):
        kinds["yolo"] = data_yaml
    if (folder / "Annotations").is_dir() and (folder / "JPEGImages").is_dir():
        kinds["voc"] = folder
    if (folder / "train" / ROBOFLOW).is_file():
        kinds["roboflow"] = folder / "train" / ROBOFLOW
    elif place := next((place for place in (folder, folder / "annotations") if _coco_files(place)), None):
        kinds["coco"] = place
    return kinds


def _data_yaml(folder: Path) -> Path | None:
    for name in ("data.yaml", "data.yml"):
        if (folder / name).is_file():
            return folder / name
    others = [path for path in _files(folder, ".yaml", ".yml") if {"names", "train"} <= _content(path).keys()]
    if len(others) > 1:
        raise ConfigError(f"{folder} holds several files like a data.yaml: {_listed(others)}. Pass one of them.")
    return others[0] if others else None


def _content(data_yaml: Path) -> dict[str, Any]:
    """Return the content of a data.yaml; nothing where it is invalid, which opening the dataset reports."""
    try:
        content = yaml.safe_load(data_yaml.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _yolo(data_yaml: Path) -> DatasetsAt:
    content = _content(data_yaml)
    train = DatasetConfig(format="yolo", annotations=str(data_yaml))
    split = next((name for name in VAL_NAMES if content.get(name)), None)
    val = DatasetConfig(format="yolo", annotations=str(data_yaml), split=split) if split else None
    return DatasetsAt(train, val)


def _voc(folder: Path) -> DatasetsAt:
    lists = {path.stem for path in _files(folder / "ImageSets" / "Main", ".txt")}
    # trainval contains val, so its counterpart is test, as in the VOC challenges.
    train, others = ("trainval", ("test",)) if "trainval" in lists and "train" not in lists else ("train", VAL_NAMES)
    val = next((name for name in others if name in lists), None)
    return DatasetsAt(
        DatasetConfig(format="voc", images=str(folder), split=train),
        DatasetConfig(format="voc", images=str(folder), split=val) if val else None,
    )


def _coco_folder(folder: Path, train_images: str, val_images: str) -> DatasetsAt:
    """Choose among the JSON files of a folder by their names."""
    files = _coco_files(folder)
    boxes = [path for path in files if path.stem.startswith("instances")]  # beside captions and keypoints
    train = [path for path in boxes or files if _val_names_of(path.stem)]
    chosen = train or [path for path in boxes or files if not _says_val(path.stem)] or files
    if len(chosen) != 1:
        raise ConfigError(f"{folder} holds several COCO JSON files: {_listed(files)}. Pass the one to train on.")
    return _coco(chosen[0], _val_beside(chosen[0]), train_images, val_images)


def _coco_files(folder: Path) -> list[Path]:
    return [path for path in _files(folder, ".json") if image_names(path, most=1)]


def _coco(train: Path, val: Path | None, train_images: str, val_images: str) -> DatasetsAt:
    return DatasetsAt(
        _coco_config(train, train_images, "--data.train.images"),
        _coco_config(val, val_images, "--data.val.images") if val else None,
    )


def _coco_config(annotations: Path, images: str, setting: str) -> DatasetConfig:
    folder = images or str(image_folder(annotations, setting))
    return DatasetConfig(format="coco", images=folder, annotations=str(annotations))


def _val_beside(train: Path) -> Path | None:
    """Return the file whose path has a name of the validation split where that of `train` has `train`."""
    folder = train.parent
    folders = [folder, *(folder.parent / name for name in _val_names_of(folder.name))]
    files = [train.name, *(f"{name}{train.suffix}" for name in _val_names_of(train.stem))]
    candidates = (folder / file for folder in folders for file in files)
    return next((path for path in candidates if path != train and path.is_file()), None)


def _val_names_of(name: str) -> list[str]:
    """Return the names of the validation split for one of the training split; empty if it is none.

    >>> _val_names_of("instances_train2017")
    ['instances_val2017', 'instances_valid2017', 'instances_validation2017']
    """
    match = re.search(r"(?<![a-z])train(?:ing)?(?![a-z])", name, re.IGNORECASE)
    return [f"{name[: match.start()]}{val}{name[match.end() :]}" for val in VAL_NAMES] if match else []


def _says_val(name: str) -> bool:
    return re.search(rf"(?<![a-z])({'|'.join(VAL_NAMES)}|test)(?![a-z])", name, re.IGNORECASE) is not None


def _hint(folder: Path) -> str:
    """Return what was looked for, and the way out for layouts that are not read."""
    if around := _dataset_around(folder):
        return f"It may be a part of {around}. Pass that instead."
    side_by_side = next((name for name in ("train", ".") if _files(folder / name, ".xml")), None)
    if side_by_side:
        return (
            f"{(folder / side_by_side).resolve()} holds XML files, perhaps beside their images, as Roboflow exports "
            "VOC. This is not supported: export as COCO or YOLO, or move the files into Annotations, JPEGImages and "
            "ImageSets/Main/train.txt."
        )
    if (folder / "labels").is_dir() or (folder / "train" / "labels").is_dir():
        lines = "\n  ".join([*_split_lines(folder), "names: [cat, dog]"])
        return (
            f"It has YOLO labels but no data.yaml. Write {folder / 'data.yaml'} with these lines, and your classes in "
            f"place of cat and dog:\n  {lines}"
        )
    return f"Looked for {_KNOWN}, there and in its subfolders. For other datasets, {_FLAGS}."


def _dataset_around(folder: Path) -> Path | None:
    """Return the data.yaml or the VOC folder that a folder is probably a part of."""
    named = folder if folder.name else folder.absolute()
    for parent in (named.parent, named.parent.parent):
        for name in ("data.yaml", "data.yml"):
            if (parent / name).is_file():
                return parent / name
        if (parent / "Annotations").is_dir() and (parent / "JPEGImages").is_dir():
            return parent
    return None


def _split_lines(folder: Path) -> list[str]:
    """Return the lines of a data.yaml for the folders of images that exist; the usual ones if there are none."""
    lines = []
    for split, names in (("train", ("train", "training")), ("val", VAL_NAMES)):
        places = [place for name in names for place in (f"images/{name}", f"{name}/images")]
        lines += [f"{split}: {place}" for place in places if (folder / place).is_dir()][:1]
    if not lines and (folder / "images").is_dir():
        return ["train: images"]
    return lines or ["train: images/train", "val: images/val"]


def _files(folder: Path, *endings: str) -> list[Path]:
    """Return the visible files of a folder with one of these endings, sorted; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in endings and not path.name.startswith(".") and path.is_file()
    )


def _visible_folders(folder: Path) -> list[Path]:
    hidden = (".", "__MACOSX")
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(hidden))


def _listed(paths: Sequence[Path], most: int = 5) -> str:
    return ", ".join(map(str, paths[:most])) + (", ..." if len(paths) > most else "")
