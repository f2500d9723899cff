"""Checks, before anything is predicted, the sources, and that output files neither collide nor overwrite them."""

import collections
from collections.abc import Sequence
from pathlib import Path

from yolox_jax.config import ConfigError
from yolox_jax.data.sources.yolo_labels import label_path
from yolox_jax.inference.input.frames import Frames
from yolox_jax.inference.output_files import drawing_name
from yolox_jax.inference.tracking import TrackingMethod, check_installed


def check_output_files(folder: Path, sources: Sequence[Frames], save: Sequence[str]) -> None:
    """Checks the files that `predict` would write.

    Args:
        folder: The output folder.
        sources: Images, videos and cameras.
        save: What `predict` saves, such as `drawings` or `yolo`.

    Raises:
        ConfigError: Two sources would share an output file, or a source or its annotations would be overwritten.
    """
    images = [path for source in sources if source.rate is None for path in source.paths]
    images += [Path(source.name) for source in sources if source.rate is None and not source.paths]
    videos = [source.name for source in sources if source.rate is not None]
    # Labels and crops are named after their images, without the suffix.
    drawings = [drawing_name(path.name) for path in images] + [f"{name}.mp4" for name in videos]
    drawings = drawings if "drawings" in save else []
    stems = [path.stem for path in images] + videos if "yolo" in save or "crops" in save else []
    _check_unique(drawings)
    _check_unique(stems)
    originals = {path.resolve(): path for source in sources for path in source.paths}
    for name in drawings:
        if (original := originals.get((folder / name).resolve())) is not None:
            raise ConfigError(f"--output {folder} would overwrite the original {original}; choose another folder")
    for path in images if "yolo" in save else []:
        labels = folder / "labels" / f"{path.stem}.txt"
        if labels.exists() and labels.resolve() == label_path(path.resolve()):
            raise ConfigError(
                f"--output {folder} would overwrite {labels}, the annotations of {path}; choose another folder"
            )


def check_trackable(sources: Sequence[Frames], method: TrackingMethod) -> None:
    """Checks that objects can be followed through the sources.

    Raises:
        ConfigError: The package trackers is not installed, or a source is not a video, camera or stream.
    """
    check_installed(method)
    for source in sources:
        if source.rate is None:
            raise ConfigError(
                f"--track {method} follows objects through the frames of a video, camera or stream, but "
                f"{source.paths[0] if source.paths else source.name} is an image. Leave out --track, or pass "
                "videos alone"
            )


def _check_unique(names: Sequence[str]) -> None:
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    if repeated:
        raise ConfigError(
            f"several sources have the same name, such as {repeated[0]}, and would overwrite each other's output. "
            "Predict them in separate runs"
        )
