"""`yolox-jax predict`: detects objects in images, videos and camera streams."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from yolox_jax.cli.parsing import parse
from yolox_jax.cli.progress import show_rate
from yolox_jax.cli.published import WeightsPath, fetch_if_published
from yolox_jax.cli.tiles import Tile, read_tile
from yolox_jax.config import ConfigError
from yolox_jax.config.inference_checks import check_counts, check_input_size, check_scales, check_thresholds
from yolox_jax.files import check_writable_folder, ensure_writable_folder
from yolox_jax.text import counted, shortened

MOST_SOURCES_LISTED = 20
MOST_CLASSES_LISTED = 10

if TYPE_CHECKING:
    import collections

    from yolox_jax.inference.input.frames import Frames
    from yolox_jax.inference.predict import Outcome


LIST_FLAGS = ("--save", "--classes", "--scales")
"""Flags that take all words up to the next flag, also sources."""


@dataclasses.dataclass(frozen=True)
class PredictArguments:
    """What to detect, and where to save it."""

    sources: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="IMAGE|FOLDER|PATTERN|VIDEO|CAMERA", help_behavior_hint="(one or more)"),
    ]
    """Images, folders of images or videos, patterns such as 'photos/*.jpg', videos, camera numbers, or URLs of images,
    videos and streams (rtsp://...). Press Ctrl-C to stop a camera or stream."""
    weights: WeightsPath
    """A .pth, .safetensors or .npz file, a run directory, or the name of published weights, such as yolox_s."""
    output: Path
    """Output folder, created if it does not exist. Existing files of the same names are replaced."""
    save: tuple[Literal["drawings", "json", "jsonl", "yolo", "crops"], ...] = ("drawings", "json")
    """What to save. drawings: images or videos with boxes. json: detections.json. jsonl: detections.jsonl, one line per
    image. yolo: labels/NAME.txt with class, centre, width and height as fractions of the image, and score. crops: the
    content of each box, crops/CLASS/NAME_0.jpg."""
    classes: tuple[str, ...] = ()
    """Names or indices of the classes to detect. All by default."""
    score_threshold: float = 0.25
    """Minimum score of a detection."""
    iou_threshold: float = 0.45
    """IoU threshold of non-maximum suppression."""
    class_agnostic: bool = False
    """Also suppress overlapping boxes of different classes."""
    nms: bool | None = None
    """Insist on non-maximum suppression, or on an end-to-end network, which works without. By default, it is used if
    the network needs it."""
    max_detections: int = 1000
    """Maximum number of detections per image."""
    batch_size: int = 8
    """Images per call of the network; with --tile, tiles per call."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Compute dtype of the network."""
    flip: bool = False
    """Test-time augmentation: also detect in the mirrored image. Takes twice as long."""
    scales: tuple[float, ...] = (1.0,)
    """Test-time augmentation: detect at these factors of the input size."""
    tile: Tile = None
    """For small objects in large images: detect in overlapping tiles of each image as well as in the whole, and merge
    the detections. The longer side of a tile in px of the image, or auto for that of the network's input. Images no
    larger than a tile are not cut."""
    overlap: float = 0.2
    """Smallest overlap of neighbouring tiles, as a fraction of their sides."""
    track: Literal["bytetrack"] | None = None
    """Follow objects through videos, cameras and streams, and give each an id, in drawings and JSON. Needs the package
    trackers: pip install 'yolox-jax[track]'."""
    input_size: tuple[int, int] | None = None
    """Height and width of the network input in px, multiples of 32. By default, the size stored with the weights, or
    else the published size of their variant."""


def main(argv: list[str]) -> None:
    """Predicts; `argv` is the command line after `predict`."""
    try:
        arguments = parse(
            PredictArguments,
            argv,
            prog="yolox-jax predict",
            description="Detect objects in images, videos and camera streams; save drawings and a list of detections.",
        )
    except SystemExit as stop:
        if stop.code and (hint := _hint_at_order(argv)):
            print(hint, file=sys.stderr)
        raise
    if not arguments.sources:
        raise ConfigError(f"pass at least one image, folder, video or camera. {_hint_at_order(argv)}".rstrip())
    _check(arguments)
    tile = read_tile(arguments.tile, arguments.overlap, argv)
    # Imported here, so that --help and errors in flags do not wait for OpenCV and jax.
    from yolox_jax.inference.input.sources import open_all
    from yolox_jax.inference.output_checks import check_output_files, check_trackable

    sources = [opened for source in arguments.sources for opened in open_all(source)]
    if arguments.track is not None:
        check_trackable(sources, arguments.track)
    check_output_files(arguments.output, sources, arguments.save)
    check_writable_folder(arguments.output, "--output")
    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.inference.detector import Detector
    from yolox_jax.inference.predict import Outcome, predict

    keep_compiled()
    totals = [source.total for source in sources]
    detector = Detector(
        weights=fetch_if_published(arguments.weights),
        input_size=arguments.input_size,
        score_threshold=arguments.score_threshold,
        iou_threshold=arguments.iou_threshold,
        class_agnostic=arguments.class_agnostic,
        nms=arguments.nms,
        keep_classes=arguments.classes or None,
        max_detections=arguments.max_detections,
        precision=arguments.precision,
        flip=arguments.flip,
        scales=arguments.scales,
        tile=tile,
        overlap=arguments.overlap,
        batch_size=arguments.batch_size
        if tile is not None
        else min(arguments.batch_size, max(1, sum(total or arguments.batch_size for total in totals))),
    )
    ensure_writable_folder(arguments.output, "--output")
    detector.warm_up(1 if tile is None and any(source.is_live for source in sources) else detector.batch_size)
    outcome, is_ended = Outcome(), False
    try:
        with show_rate("images") as on_progress:
            predict(
                detector,
                sources,
                arguments.output,
                save=arguments.save,
                track=arguments.track,
                on_progress=on_progress,
                outcome=outcome,
            )
    except KeyboardInterrupt:
        if not any(source.is_live for source in sources):
            _report(outcome, sources, arguments)
            raise
        is_ended = True
    _report(outcome, sources, arguments)
    if not outcome.images and outcome.unreadable:
        raise ConfigError(f"none of the {outcome.unreadable} images could be read; see the warnings above")
    if not outcome.images and not is_ended:
        raise ConfigError(f"{', '.join(arguments.sources)}: no frames to read")


def _counts(classes: "collections.Counter[str]") -> str:
    """Numbers by class, the most frequent first: `3 person, 1 bus`."""
    return shortened([f"{count} {name}" for name, count in classes.most_common()], MOST_CLASSES_LISTED)


def _name_of(source: "Frames") -> str:
    if len(source.paths) > 1:
        return f"{counted(len(source.paths), 'image')} in {source.paths[0].parent}"
    return str(source.paths[0]) if source.paths else source.name


def _hint_at_order(argv: Sequence[str]) -> str:
    """What to do if a flag took the sources; empty if no flag could."""
    flag = next((word for word in argv if word in LIST_FLAGS), None)
    if flag is None:
        return ""
    return (
        f"{flag} takes all words up to the next flag. Put images, folders and videos first: "
        f"yolox-jax predict photo.jpg {flag} ..."
    )


def _check(arguments: PredictArguments) -> None:
    """Checks the arguments that can be checked before anything is loaded."""
    check_thresholds(arguments.score_threshold, arguments.iou_threshold)
    check_counts(arguments.batch_size, arguments.max_detections)
    check_scales(arguments.scales)
    if arguments.input_size is not None:
        check_input_size(arguments.input_size)


def _report(outcome: "Outcome", sources: Sequence["Frames"], arguments: PredictArguments) -> None:
    if 1 < len(sources) <= MOST_SOURCES_LISTED:
        for source, classes in zip(sources, outcome.classes_by_source, strict=False):  # not all after Ctrl-C
            print(f"{_name_of(source)}: {_counts(classes) or 'no detections'}")
    rate = outcome.images / outcome.seconds if outcome.seconds else 0.0
    detections, images = counted(outcome.detections, "detection"), counted(outcome.images, "image")
    by_class = f" ({_counts(outcome.classes)})" if outcome.detections else ""
    print(f"{detections} in {images}{by_class}, {rate:.1f} images/s")
    print(f"saved {', '.join(arguments.save)} to {arguments.output}")
    if outcome.unreadable:
        total = outcome.images + outcome.unreadable
        print(f"{outcome.unreadable} of {counted(total, 'image')} could not be read and were skipped")
