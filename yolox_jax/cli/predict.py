"""`yolox-jax predict`: draws what a network finds in images, and writes it down."""

import collections
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from yolox_jax.cli.progress import show_progress
from yolox_jax.config import ConfigError
from yolox_jax.files import ensure_writable_folder

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclasses.dataclass(frozen=True)
class PredictArguments:
    """Draw the objects found in images on copies of them, and list them in detections.json."""

    sources: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="IMAGE|FOLDER", help_behavior_hint="(one or more)"),
    ]
    """Images, or folders whose images are taken (jpg, jpeg, png, bmp, webp)."""
    weights: Path
    """Weights: .pth, .safetensors, .npz, a run directory, or the name of published ones, such as yolox_s, which are
    fetched at their first use."""
    output: Path
    """Folder for the drawn images and detections.json. Made if missing; its files of the same names are replaced."""
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
    input_size: tuple[int, int] | None = None
    """Height and width of the network input in px, multiples of 32. By default the size stored with the weights, else
    the one at which their variant was published."""


def main(argv: list[str]) -> None:
    """Predicts; `argv` is the command line after `predict`."""
    arguments = tyro.cli(PredictArguments, args=argv, prog="yolox-jax predict", config=(tyro.conf.FlagCreatePairsOff,))
    paths = find_images(arguments.sources)
    _prepare_output(arguments.output, paths)
    # Here, so that the help and wrong flags are answered before jax is loaded.
    from yolox_jax.cli.compilation import keep_compiled
    from yolox_jax.cli.published import fetch_if_published
    from yolox_jax.detector import Detector
    from yolox_jax.prediction import predict_images

    keep_compiled()
    detector = Detector(
        weights=fetch_if_published(arguments.weights),
        input_size=arguments.input_size,
        score_threshold=arguments.score_threshold,
        iou_threshold=arguments.iou_threshold,
        class_agnostic=arguments.class_agnostic,
        max_detections=arguments.max_detections,
        batch_size=min(arguments.batch_size, len(paths)),
    )
    with show_progress("images") as on_progress:
        entries = predict_images(detector, paths, arguments.output, on_progress=on_progress)
    listing = arguments.output / "detections.json"
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    listing.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    left_out = len(paths) - len(entries)
    if not entries:
        raise ConfigError(f"none of the {left_out} images could be read; each is named above")
    num_detections = sum(len(entry["detections"]) for entry in entries)
    print(
        f"{num_detections} detections in {len(entries)} images; drawings and {listing.name} are in {arguments.output}"
    )
    if left_out:
        print(f"{left_out} of {len(paths)} images could not be read and were left out")


def find_images(sources: Sequence[Path]) -> list[Path]:
    """List the image files among the sources and in the folders among them, each folder in order of names.

    Raises:
        ConfigError: if a source is no image or folder of images, or two images have the same name.
    """
    paths: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if path.suffix.lower() in EXTENSIONS and path.is_file())
            if not inside:
                raise ConfigError(f"the folder {source} holds no images ({', '.join(EXTENSIONS)})")
            paths += inside
        elif source.is_file() and source.suffix.lower() in EXTENSIONS:
            paths.append(source)
        else:
            missing = "" if source.exists() else "; there is no such file"
            raise ConfigError(
                f"{source} is not an image or folder{missing}. Images end in {', '.join(EXTENSIONS)}; videos and "
                "cameras cannot be read yet"
            )
    if not paths:
        raise ConfigError("give at least one image or folder of images")
    repeated = [name for name, count in collections.Counter(path.name for path in paths).items() if count > 1]
    if repeated:
        raise ConfigError(
            f"{len(repeated)} names, such as {repeated[0]}, appear more than once among the images, but the output "
            "holds one image a name: give these sources in separate runs"
        )
    return paths


def _prepare_output(folder: Path, images: Sequence[Path]) -> None:
    """Make the output folder and see that it can be written to without touching an original."""
    originals = {path.resolve() for path in images}
    for path in images:
        if (folder / path.name).resolve() in originals:
            raise ConfigError(f"--output {folder} would overwrite the original {path}: choose another folder")
    ensure_writable_folder(folder, "--output")
