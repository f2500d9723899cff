"""Prepares tiny datasets as TensorFlow Datasets does, without TensorFlow."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def prepare(
    folder: Path,
    splits: dict[str, list[dict[str, Any]]],
    *,
    left_out: tuple[str, ...] = (),
    features: Any = None,
    version: str = "1.0.0",
    config: str = "",
) -> None:
    """Prepare a dataset named tiny as ArrayRecord.

    Args:
        folder: folder that contains all datasets.
        splits: examples of each split, made with `example`.
        left_out: names of features to leave out.
        features: features to use instead of the default ones.
        version: version of the dataset.
        config: name of its config, if any.
    """
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config, version=VERSION)] if config else []

        def _info(self) -> Any:
            described = features or _features(left_out)
            return tfds.core.DatasetInfo(builder=self, features=described, disable_shuffling=True)

        def _split_generators(self, download_manager: Any) -> Any:
            return {split: enumerate(entries) for split, entries in splits.items()}

        def _generate_examples(self) -> Any:
            raise NotImplementedError

    Tiny(data_dir=folder, file_format="array_record").download_and_prepare()


def _features(left_out: tuple[str, ...]) -> Any:
    import tensorflow_datasets as tfds

    objects = {
        "bbox": tfds.features.BBoxFeature(),
        "label": tfds.features.ClassLabel(names=["apple", "kite"]),
        "area": np.int64,
        "is_crowd": np.bool_,
        "is_difficult": np.bool_,
    }
    features = {
        "image": tfds.features.Image(),
        "image/filename": tfds.features.Text(),
        "image/id": np.int64,
        # Of no use here, and not to be decoded for nothing: examples have no image in it.
        "thumbnail": tfds.features.Image(),
        "objects": tfds.features.Sequence({key: objects[key] for key in objects if key not in left_out}),
    }
    return tfds.features.FeaturesDict({key: features[key] for key in features if key not in left_out})


def example(content: bytes, *boxes: tuple[float, ...], number: int = 0, **marks: list[bool]) -> dict[str, Any]:
    """An image with boxes ymin, xmin, ymax, xmax as fractions, labels 0, 1, 0, ..."""
    objects = [
        {
            "bbox": np.array(box, np.float32),
            "label": place % 2,
            "area": 0,
            **{mark: marks.get(mark, [False] * len(boxes))[place] for mark in ("is_crowd", "is_difficult")},
        }
        for place, box in enumerate(boxes)
    ]
    return {
        "image": io.BytesIO(content),
        "image/filename": f"{number}.jpg",
        "image/id": 10 + number,
        "thumbnail": io.BytesIO(b"no image"),
        "objects": objects,
    }


def picture(seed: int = 0, width: int = 64, height: int = 48) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def without(entry: dict[str, Any], *keys: str) -> dict[str, Any]:
    objects = [{key: value for key, value in thing.items() if key not in keys} for thing in entry["objects"]]
    return {key: value for key, value in (entry | {"objects": objects}).items() if key not in keys}
