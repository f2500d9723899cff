"""Finds, checks and reads prepared datasets of TensorFlow Datasets, with random access and without TensorFlow.

Datasets are opened from their folder. `tfds.builder` would run the code that generated the dataset, which needs
TensorFlow for COCO, and would report a dataset as missing if that code has a newer version.
"""

import fnmatch
import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolox_jax.config import ConfigError
from yolox_jax.data.dataset import DataError
from yolox_jax.files import expand_home

FORMAT = "array_record"
ExampleParser = Callable[[bytes], Mapping[str, Any]]


def check_installed(setting: str) -> None:
    """Check that the packages that read ArrayRecord files are installed.

    Raises:
        ConfigError: they are not; the message names the extra to install.
    """
    try:
        import tensorflow_datasets  # noqa: F401
        from array_record.python import array_record_data_source  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{setting}.format tfds needs the package tensorflow-datasets ({error}): pip install 'yolox-jax[tfds]'. "
            "TensorFlow itself is not needed."
        ) from error


def open_builder(name: str, data_dir: Path | None, setting: str) -> Any:
    """Open a prepared dataset; nothing is downloaded.

    Args:
        name: such as `voc`, `coco/2017` or `coco/2017:1.1.0`; without a version, the newest prepared one.
        data_dir: folder of the prepared datasets; None for the default of the library.
        setting: prefix of the settings named in errors, such as `--data.train`.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        ConfigError: it is not prepared, or not as ArrayRecord; the message says how to prepare it.
    """
    import tensorflow_datasets as tfds

    if data_dir is not None and not data_dir.is_dir():
        raise ConfigError(
            f"{setting}.images: the folder {data_dir} does not exist. Pass the folder of the prepared datasets."
        )
    root = data_dir or expand_home(tfds.core.constants.DATA_DIR)
    folder = _find_folder(name, root, setting)
    try:
        builder = tfds.builder_from_directory(os.fspath(folder))
        formats = sorted(known.value for known in builder.info.available_file_formats())
        if FORMAT in formats:
            return tfds.builder_from_directory(os.fspath(folder), file_format=FORMAT)
    except Exception as error:  # the library passes on the exceptions of its parsers
        raise ConfigError(
            f"{setting}.annotations: {folder} cannot be opened: {error}. {_how_to_prepare(name, root)}"
        ) from error
    raise ConfigError(
        f"{setting}.annotations: {name} is prepared in {folder} as {', '.join(formats)}, which has no random "
        f"access. Convert it once: tfds convert_format --dataset_version_dir={folder} --out_file_format={FORMAT}. Or "
        f"prepare it in another folder and pass that as {setting}.images. {_how_to_prepare(name, '...')}"
    )


def _find_folder(name: str, root: Path, setting: str) -> Path:
    """Return the folder of the newest version that matches the name of a dataset."""
    dataset, _, version = name.partition(":")
    base = root / dataset
    versions = _versions(base) or _versions(base / _default_config(base))
    matching = [folder for folder in versions if fnmatch.fnmatchcase(folder.name, version or "*")]
    if matching:
        return matching[-1]
    patterns = ("*/*/features.json", "*/*/*/features.json")
    prepared = sorted(path.parent.relative_to(root) for pattern in patterns for path in root.glob(pattern))
    names = [f"{folder.parent.as_posix()}:{folder.name}" for folder in prepared]
    available = f" (available: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''})" if names else ""
    raise ConfigError(
        f"{setting}.annotations: {name} is not prepared in {root}{available}. {setting}.images is the folder of the "
        f"prepared datasets. {_how_to_prepare(name, root)}"
    )


def _versions(folder: Path) -> list[Path]:
    """Return the folders of the prepared versions, oldest first."""
    versions = {}
    for path in folder.glob("*/features.json"):
        numbers = path.parent.name.split(".")
        if all(number.isdecimal() for number in numbers):
            versions[tuple(map(int, numbers))] = path.parent
    return [versions[key] for key in sorted(versions)]


def _default_config(folder: Path) -> str:
    try:
        return str(json.loads((folder / ".config" / "metadata.json").read_bytes())["default_config_name"])
    except (OSError, ValueError, KeyError):
        return ""


def _how_to_prepare(name: str, root: Path | str) -> str:
    return (
        f"To prepare it once: tfds build {name} --file_format={FORMAT} --data_dir={root}, or in Python "
        f'tfds.builder("{name}", data_dir="{root}", file_format="{FORMAT}").download_and_prepare(). '
        "Preparing some datasets, such as COCO, needs TensorFlow; reading them does not."
    )


def check_features(builder: Any, setting: str) -> tuple[str, ...]:
    """Check that a dataset has images with boxes, and return the names of its classes.

    Raises:
        ConfigError: it does not; the message lists the features that it has.
    """
    import tensorflow_datasets as tfds

    def part(whole: Any, key: str) -> Any:
        return whole[key] if isinstance(whole, tfds.features.FeaturesDict) and key in whole else None

    features = builder.info.features
    image, objects = part(features, "image"), getattr(part(features, "objects"), "feature", None)
    box, label = part(objects, "bbox"), part(objects, "label")
    valid = (
        isinstance(image, tfds.features.Image)
        and image.np_dtype == np.uint8
        and isinstance(box, tfds.features.BBoxFeature)
        # Earlier versions of the library wrote no format, because this was the only one.
        and (box.bbox_format is None or box.bbox_format.name == "REL_YXYX")
        and isinstance(label, tfds.features.ClassLabel)
    )
    if not valid:
        raise ConfigError(
            f"{setting}.annotations: {builder.info.full_name} is not a dataset of images with boxes. It needs the "
            "features image (Image, uint8) and objects (a sequence with bbox, ymin, xmin, ymax, xmax as fractions, and "
            f"label, a ClassLabel), but has {features}"
        )
    return tuple(label.names)


def find_split(builder: Any, split: str, setting: str) -> str:
    """Return the name of a split; `val` means `validation` if there is no `val`.

    Raises:
        ConfigError: the split does not exist; the message lists the available ones.
        DataError: data files of the split are missing.
    """
    known = list(builder.info.splits)
    if split == "val" and "val" not in known and "validation" in known:
        split = "validation"
    try:
        files = [Path(path) for path in builder.info.splits[split].filepaths]
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ConfigError(
            f"{setting}.split is {split!r}, but {builder.info.full_name} has the splits {', '.join(known)}, and parts "
            f"of them such as {known[0] if known else 'train'}[:10%]: {str(error).splitlines()[0]}"
        ) from error
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(files)} data files of {builder.info.full_name}, split {split}, do not exist: "
            f"{missing[0]}{', ...' if len(missing) > 1 else ''}. Was the folder copied completely?"
        )
    return split


def describe_files(builder: Any, split: str) -> str:
    """Return a digest of the names, sizes and times of the files of a split."""
    folder = Path(builder.data_dir)
    files = sorted({Path(path) for path in builder.info.splits[split].filepaths})
    files += [folder / name for name in ("dataset_info.json", "features.json")]
    described = json.dumps([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files])
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def stored_examples(builder: Any, split: str) -> Sequence[bytes]:
    """Return the serialized examples of a split, with random access."""
    import tensorflow_datasets as tfds

    source: Sequence[bytes] = builder.as_data_source(
        split=split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    return source


def example_parser(builder: Any, keys: Sequence[str], object_keys: Sequence[str] = ()) -> ExampleParser:
    """Return a function that extracts features from a serialized example, and leaves the image encoded.

    Features that the dataset does not have are skipped.

    Args:
        builder: of the dataset.
        keys: features of the image.
        object_keys: features of its objects; each becomes a list with one entry per object.
    """
    import tensorflow_datasets as tfds

    features = builder.info.features
    selected = {key: features[key] for key in keys if key in features}
    if object_keys:
        inner = features["objects"].feature
        selected["objects"] = tfds.features.Sequence({key: inner[key] for key in object_keys if key in inner})
    parser, decoders = tfds.features.FeaturesDict(selected), {"image": tfds.decode.SkipDecoding()}
    return lambda example: parser.deserialize_example_np(example, decoders=decoders)


class TfdsArchive:
    """The encoded images of a split in its ArrayRecord files, which each process opens on first use."""

    def __init__(self, folder: Path, split: str, files: str) -> None:
        """Create the archive without opening files.

        Args:
            folder: of one version of a prepared dataset; it contains features.json.
            split: such as `train` or `validation[:10%]`; positions count from its start.
            files: their digest, from `describe_files`.
        """
        self.folder, self.split, self.files = folder, split, files
        self._lock = threading.Lock()
        self._opened: tuple[Sequence[bytes], ExampleParser] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return TfdsArchive, (self.folder, self.split, self.files)

    def __repr__(self) -> str:
        return f"TfdsArchive({self.folder}, {self.split}, {self.files})"

    def read(self, position: int) -> bytes:
        """Return the encoded image at `position`.

        Raises:
            OSError: it cannot be read.
        """
        try:
            examples, parse = self._open()
            content: bytes = parse(examples[position])["image"]
        except Exception as error:  # the library raises RuntimeError, and the exceptions of its parsers
            raise OSError(f"example {position} of {self.split} in {self.folder}: {error}") from error
        return content

    def _open(self) -> tuple[Sequence[bytes], ExampleParser]:
        with self._lock:
            if self._opened is None:
                import tensorflow_datasets as tfds

                builder = tfds.builder_from_directory(os.fspath(self.folder), file_format=FORMAT)
                self._opened = stored_examples(builder, self.split), example_parser(builder, ["image"])
            return self._opened
