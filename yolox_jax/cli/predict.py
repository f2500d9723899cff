"""`yolox-jax predict`: draws what a network finds in images, videos and cameras, and writes it down."""

import collections
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from yolox_jax.cli.progress import show_rate
from yolox_jax.config import ConfigError
from yolox_jax.config.inference_checks import check_counts, check_input_size, check_scales, check_thresholds
from yolox_jax.files import ensure_writable_folder
from yolox_jax.text import counted

if TYPE_CHECKING:
    from yolox_jax.inference.input.frames import Frames
    from yolox_jax.inference.predict import Outcome, Save


@dataclasses.dataclass(frozen=True)
class PredictArguments:
    """Draw the objects found in images, videos and cameras on copies of them, and list them in detections.json."""

    sources: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="IMAGE|FOLDER|PATTERN|VIDEO|CAMERA", help_behavior_hint="(one or more)"),
    ]
    """Images, folders of images, patterns such as 'photos/*.jpg', videos, the number of a camera, or the address of a
    stream (rtsp://...). Ctrl-C ends a camera."""
    weights: Path
    """Weights: .pth, .safetensors, .npz, a run directory, or the name of a published network, such as yolox_s."""
    output: Path
    """Folder for what is saved. Made if missing; its files of the same names are replaced."""
    save: tuple[Literal["drawings", "json", "jsonl", "yolo", "crops"], ...] = ("drawings", "json")
    """drawings: images, or a video, with boxes. json: detections.json. jsonl: detections.jsonl, a line an image. yolo:
    labels/NAME.txt with class, centre, width and height as shares of the image, and score. crops: what lies in the
    boxes, crops/CLASS/NAME_0.jpg."""
    classes: tuple[str, ...] = ()
    """Names or indices of the classes to look for; not given: all."""
    score_threshold: float = 0.25
    """Detections below this score are left out."""
    iou_threshold: float = 0.45
    """Of two boxes that overlap more than this, the better is kept."""
    class_agnostic: bool = False
    """Let boxes of different classes suppress each other."""
    max_detections: int = 1000
    """Most detections an image."""
    batch_size: int = 8
    """Images a call of the network."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the network computes in."""
    flip: bool = False
    """Test-time augmentation: see each image mirrored as well; takes twice the time."""
    scales: tuple[float, ...] = (1.0,)
    """Test-time augmentation: see each image at these factors of the input size."""
    input_size: tuple[int, int] | None = None
    """Height and width of the network input in px, multiples of 32. By default the size stored with the weights, else
    the one at which their variant was published."""


def main(argv: list[str]) -> None:
    """Predicts; `argv` is the command line after `predict`."""
    arguments = tyro.cli(PredictArguments, args=argv, prog="yolox-jax predict", config=(tyro.conf.FlagCreatePairsOff,))
    _check(arguments)
    # Here, so that the help and wrong flags are answered before OpenCV and jax are loaded.
    from yolox_jax.inference.input.frames import is_endless, open_frames

    sources = [open_frames(source) for source in arguments.sources]
    _prepare_output(arguments.output, sources, arguments.save)
    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.cli.published import fetch_if_published
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
        keep_classes=arguments.classes or None,
        max_detections=arguments.max_detections,
        precision=arguments.precision,
        flip=arguments.flip,
        scales=arguments.scales,
        batch_size=min(arguments.batch_size, max(1, sum(total or arguments.batch_size for total in totals))),
    )
    detector.warm_up(1 if any(source.is_live for source in sources) else detector.batch_size)
    outcome, is_ended = Outcome(), False
    try:
        with show_rate("images") as on_progress:
            predict(detector, sources, arguments.output, save=arguments.save, on_progress=on_progress, outcome=outcome)
    except KeyboardInterrupt:
        if not any(is_endless(source) for source in arguments.sources):
            _report(outcome, arguments)
            raise
        is_ended = True
    _report(outcome, arguments)
    if not outcome.images and outcome.unreadable:
        raise ConfigError(f"no image could be read, of {outcome.unreadable}; each is named above")
    if not outcome.images and not is_ended:
        raise ConfigError(f"{', '.join(arguments.sources)}: there was no frame to look at")


def _check(arguments: PredictArguments) -> None:
    """What can be refused before anything is loaded."""
    if not arguments.sources:
        raise ConfigError("give at least one image, folder, video or camera")
    check_thresholds(arguments.score_threshold, arguments.iou_threshold)
    check_counts(arguments.batch_size, arguments.max_detections)
    check_scales(arguments.scales)
    if arguments.input_size is not None:
        check_input_size(arguments.input_size)


def _prepare_output(folder: Path, sources: Sequence["Frames"], save: Sequence["Save"]) -> None:
    """Make the output folder and see that it can be written to without touching what is there of the sources."""
    from yolox_jax.data.sources.yolo_txt import label_path

    images = [path for source in sources if source.rate is None for path in source.paths]
    videos = [source.name for source in sources if source.rate is not None]
    # Labels and crops have the names of their images without the endings.
    drawings = [path.name for path in images] + [f"{name}.mp4" for name in videos] if "drawings" in save else []
    stems = [path.stem for path in images] + videos if "yolo" in save or "crops" in save else []
    _check_names(drawings)
    _check_names(stems)
    originals = {path.resolve(): path for source in sources for path in source.paths}
    for name in drawings:
        if (original := originals.get((folder / name).resolve())) is not None:
            raise ConfigError(f"--output {folder} would overwrite the original {original}: choose another folder")
    for path in images if "yolo" in save else []:
        labels = folder / "labels" / f"{path.stem}.txt"
        if labels.exists() and labels.resolve() == label_path(path.resolve()):
            raise ConfigError(
                f"--output {folder} would overwrite {labels}, the annotations of {path}: choose another folder"
            )
    ensure_writable_folder(folder, "--output")


def _check_names(names: Sequence[str]) -> None:
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    if repeated:
        raise ConfigError(
            f"names appear more than once among the sources, such as {repeated[0]}, but the output holds one file a "
            "name: give these sources in separate runs"
        )


def _report(outcome: "Outcome", arguments: PredictArguments) -> None:
    rate = outcome.images / outcome.seconds if outcome.seconds else 0.0
    found, images = counted(outcome.detections, "detection"), counted(outcome.images, "image")
    saved = f"{', '.join(arguments.save)} {'is' if len(arguments.save) == 1 else 'are'} in {arguments.output}"
    print(f"{found} in {images}, {rate:.1f} images/s; {saved}")
    if outcome.unreadable:
        total = outcome.images + outcome.unreadable
        print(f"{outcome.unreadable} of {counted(total, 'image')} could not be read; left out")
