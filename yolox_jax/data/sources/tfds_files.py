"""Data sets of TensorFlow Datasets as they lie on disk: found, checked, and read at random, without TensorFlow.

They are opened from their folder alone. `tfds.builder` runs the code that once generated a data set instead, and that
of COCO needs TensorFlow; it would also take a newer version of the code for a missing data set.
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

FORMAT = "array_record"
ExampleParser = Callable[[bytes], Mapping[str, Any]]


def check_installed(setting: str) -> None:
    """Fail if what reads ArrayRecord files is missing.

    Raises:
        ConfigError: naming the extra to install.
    """
    try:
        import tensorflow_datasets  # noqa: F401
        from array_record.python import array_record_data_source  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{setting}.format tfds needs the package tensorflow-datasets ({error}): pip install 'yolox-jax[tfds]'. "
            "TensorFlow itself is not needed"
        ) from error


def open_builder(name: str, data_dir: Path | None, setting: str) -> Any:
    """Open a prepared data set; nothing is downloaded.

    Args:
        name: such as `voc`, `coco/2017` or `coco/2017:1.1.0`; without a version, the newest prepared one.
        data_dir: folder of the prepared data sets; None for the library's own.
        setting: prefix of the settings named in errors, such as `--data.train`.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        ConfigError: it is not prepared, or not as ArrayRecord; the message tells how to prepare it.
    """
    import tensorflow_datasets as tfds

    if data_dir is not None and not data_dir.is_dir():
        raise ConfigError(
            f"{setting}.images: the folder {data_dir} does not exist. Pass the folder of the prepared datasets."
        )
    root = data_dir or Path(tfds.core.constants.DATA_DIR).expanduser()
    folder = _find_folder(name, root, setting)
    try:
        builder = tfds.builder_from_directory(os.fspath(folder))
        formats = sorted(known.value for known in builder.info.available_file_formats())
        if FORMAT in formats:
            return tfds.builder_from_directory(os.fspath(folder), file_format=FORMAT)
    except Exception as error:  # the library raises what its parsers raise
        raise ConfigError(
            f"{setting}.annotations: {folder} cannot be opened: {error}. {_how_to_prepare(name, root)}"
        ) from error
    raise ConfigError(
        f"{setting}.annotations: {name} is prepared in {folder} as {', '.join(formats)}, which cannot be read at "
        f"random. Convert it once: tfds convert_format --dataset_version_dir={folder} --out_file_format={FORMAT}. Or "
        f"prepare it in another folder and name that as {setting}.images. {_how_to_prepare(name, '...')}"
    )


def _find_folder(name: str, root: Path, setting: str) -> Path:
    """Folder of the newest version of a data set that fits its name."""
    dataset, _, version = name.partition(":")
    base = root / dataset
    found = _versions(base) or _versions(base / _default_config(base))
    fitting = [folder for folder in found if fnmatch.fnmatchcase(folder.name, version or "*")]
    if fitting:
        return fitting[-1]
    patterns = ("*/*/features.json", "*/*/*/features.json")
    prepared = sorted(path.parent.relative_to(root) for pattern in patterns for path in root.glob(pattern))
    names = [f"{folder.parent.as_posix()}:{folder.name}" for folder in prepared]
    there = f" (there are {', '.join(names[:10])}{', ...' if len(names) > 10 else ''})" if names else ""
    raise ConfigError(
        f"{setting}.annotations: {name} is not prepared in {root}{there}; {setting}.images names the folder of the "
        f"prepared data sets. {_how_to_prepare(name, root)}"
    )


def _versions(folder: Path) -> list[Path]:
    """Prepared versions, oldest first."""
    found = {}
    for path in folder.glob("*/features.json"):
        numbers = path.parent.name.split(".")
        if all(number.isdecimal() for number in numbers):
            found[tuple(map(int, numbers))] = path.parent
    return [found[key] for key in sorted(found)]


def _default_config(folder: Path) -> str:
    try:
        return str(json.loads((folder / ".config" / "metadata.json").read_bytes())["default_config_name"])
    except (OSError, ValueError, KeyError):
        return ""


def _how_to_prepare(name: str, root: Path | str) -> str:
    return (
        f"To prepare it once: tfds build {name} --file_format={FORMAT} --data_dir={root}, or in Python "
        f'tfds.builder("{name}", data_dir="{root}", file_format="{FORMAT}").download_and_prepare(). For that the code '
        "of some data sets, COCO among them, needs TensorFlow; reading them does not"
    )


def check_features(builder: Any, setting: str) -> tuple[str, ...]:
    """Check that a data set is one of boxes in images, and return the names of its classes.

    Raises:
        ConfigError: it is not; the message lists the features that it has.
    """
    import tensorflow_datasets as tfds

    def part(whole: Any, key: str) -> Any:
        return whole[key] if isinstance(whole, tfds.features.FeaturesDict) and key in whole else None

    features = builder.info.features
    image, objects = part(features, "image"), getattr(part(features, "objects"), "feature", None)
    box, label = part(objects, "bbox"), part(objects, "label")
    sound = (
        isinstance(image, tfds.features.Image)
        and image.np_dtype == np.uint8
        and isinstance(box, tfds.features.BBoxFeature)
        # Earlier versions of the library wrote no format, because there was this one only.
        and (box.bbox_format is None or box.bbox_format.name == "REL_YXYX")
        and isinstance(label, tfds.features.ClassLabel)
    )
    if not sound:
        raise ConfigError(
            f"{setting}.annotations: {builder.info.full_name} is no data set of boxes in images: it needs the "
            "features image (Image, uint8) and objects (a sequence with bbox, ymin, xmin, ymax, xmax as fractions, and "
            f"label, a ClassLabel), but has {features}"
        )
    return tuple(label.names)


def find_split(builder: Any, split: str, setting: str) -> str:
    """The split that a setting means: `val` is `validation` where there is no `val`.

    Raises:
        ConfigError: there is no such split; the message lists those there are.
        DataError: data files of it are missing.
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
            f"{missing[0]}{', ...' if len(missing) > 1 else ''}. Was the folder copied whole?"
        )
    return split


def describe_files(builder: Any, split: str) -> str:
    """A digest of the names, sizes and times of the files that a split is read from."""
    folder = Path(builder.data_dir)
    files = sorted({Path(path) for path in builder.info.splits[split].filepaths})
    files += [folder / name for name in ("dataset_info.json", "features.json")]
    described = json.dumps([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files])
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def stored_examples(builder: Any, split: str) -> Sequence[bytes]:
    """Random access to the serialized examples of a split."""
    import tensorflow_datasets as tfds

    source: Sequence[bytes] = builder.as_data_source(
        split=split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    return source


def example_parser(builder: Any, keys: Sequence[str], object_keys: Sequence[str] = ()) -> ExampleParser:
    """What takes the features that are wanted and there out of a serialized example; the image stays encoded.

    Args:
        builder: the data set.
        keys: features of the image.
        object_keys: features of its objects; they come as lists, one entry an object.
    """
    import tensorflow_datasets as tfds

    features = builder.info.features
    wanted = {key: features[key] for key in keys if key in features}
    if object_keys:
        inner = features["objects"].feature
        wanted["objects"] = tfds.features.Sequence({key: inner[key] for key in object_keys if key in inner})
    parser, decoders = tfds.features.FeaturesDict(wanted), {"image": tfds.decode.SkipDecoding()}
    return lambda example: parser.deserialize_example_np(example, decoders=decoders)


class TfdsArchive:
    """The encoded images of a split in its ArrayRecord files, opened on first use in each process."""

    def __init__(self, folder: Path, split: str, files: str) -> None:
        """Does not open anything yet.

        Args:
            folder: of one version of a prepared data set, which holds its features.json.
            split: such as `train` or `validation[:10%]`; positions count from its beginning.
            files: their digest, of `describe_files`.
        """
        self.folder, self.split, self.files = folder, split, files
        self._lock = threading.Lock()
        self._opened: tuple[Sequence[bytes], ExampleParser] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return TfdsArchive, (self.folder, self.split, self.files)

    def __repr__(self) -> str:
        return f"TfdsArchive({self.folder}, {self.split}, {self.files})"

    def read(self, position: int) -> bytes:
        """The encoded image at `position`.

        Raises:
            OSError: it cannot be read.
        """
        try:
            examples, parse = self._open()
            content: bytes = parse(examples[position])["image"]
        except Exception as error:  # the library raises RuntimeError, and what its parsers raise
            raise OSError(f"example {position} of {self.split} in {self.folder}: {error}") from error
        return content

    def _open(self) -> tuple[Sequence[bytes], ExampleParser]:
        with self._lock:
            if self._opened is None:
                import tensorflow_datasets as tfds

                builder = tfds.builder_from_directory(os.fspath(self.folder), file_format=FORMAT)
                self._opened = stored_examples(builder, self.split), example_parser(builder, ["image"])
            return self._opened
