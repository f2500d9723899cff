"""Compares an exported file with its weights and prints how they differ, for the commands that do so."""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolox_jax.cli.progress import show_progress
from yolox_jax.cli.published import fetch_if_published
from yolox_jax.cli.terminal import say
from yolox_jax.files import write_json
from yolox_jax.text import counted

if TYPE_CHECKING:
    from yolox_jax.data.dataset import Dataset
    from yolox_jax.data.pixel_format import PixelFormat
    from yolox_jax.evaluation.verification import NamedImage, Verification
    from yolox_jax.export.onnx_runner import Runtime

MOST_IMAGES = 200
"""Images to compare on, unless another number is given."""


def verify(
    path: Path,
    weights: str,
    images: "ImagesToCompare",
    *,
    runtime: "Runtime" = "onnxruntime",
    tolerances: tuple[float | None, float | None, float | None] = (None, None, None),
    output: Path | None = None,
) -> int:
    """Compares, prints the differences, and returns the exit code: 1 unless the file detects what its weights detect.

    Args:
        path: The exported file.
        weights: A path, or the name of published weights.
        images: What to compare on.
        runtime: What runs an ONNX file.
        tolerances: Fields of `Tolerance`; None for that of the precision of the file.
        output: JSON file to write.

    Raises:
        ConfigError: The file, weights or images do not fit each other.
    """
    # Imported here, so that --help and errors in flags do not wait for jax.
    from yolox_jax.evaluation.verification import TOLERANCES, Tolerance, detector_like, verify_exported
    from yolox_jax.export.exported import open_exported

    file = open_exported(path, runtime=runtime)
    detector = detector_like(file, fetch_if_published(weights), path)
    usual = TOLERANCES[file.metadata["precision"]]
    tolerance = Tolerance(*(ours if one is None else one for one, ours in zip(tolerances, usual, strict=True)))
    with show_progress("images") as on_progress:
        verification = verify_exported(
            file, detector, images.read(detector.pixels, on_progress), dataset=images.dataset, tolerance=tolerance
        )
    if output is not None:
        write_json(output, _to_json(verification))
    counts = f"{counted(len(verification.differences), 'image')}, {counted(verification.num_detections, 'detection')}"
    in_runtime = {"openvino": " in OpenVINO", "tensorrt": " in TensorRT"}.get(runtime, "")
    print(f"{path}{in_runtime} beside {weights}: {counts}")
    _print(verification)
    return 0 if verification.agrees else 1


@dataclasses.dataclass(frozen=True)
class ImagesToCompare:
    """The images of a dataset, or image files."""

    dataset: "Dataset | None"
    paths: tuple[Path, ...] = ()

    @classmethod
    def at(cls, path: Path, *, flag: str, limit: int = MOST_IMAGES) -> "ImagesToCompare":
        """Finds images at a path.

        Args:
            path: A dataset or images.
            flag: Where the path was given.
            limit: Maximum number of images, spread evenly; 0 for all.

        Raises:
            ConfigError: There is neither a dataset nor an image.
        """
        from yolox_jax.inference.input.given_images import find_images

        return cls(*find_images(path, flag=flag, limit=limit, split="val"))

    def read(self, format: "PixelFormat", on_progress: Callable[[int, int], None]) -> Iterator["NamedImage"]:
        """Reads one image after the other; those that cannot be read in the format are left out with a warning."""
        from yolox_jax.data.image import BrokenImage, load_image, read_image
        from yolox_jax.evaluation.verification import NamedImage

        records = self.dataset.records if self.dataset is not None else (None,) * len(self.paths)
        paths = [record.path for record in self.dataset.records] if self.dataset is not None else self.paths
        for number, (record, path) in enumerate(zip(records, paths, strict=True)):
            try:
                if record is None:
                    pixels = read_image(path, format)
                else:
                    pixels = load_image(dataclasses.replace(record, pixels=format))
            except BrokenImage as error:
                say(f"left out: {error.path} {error.why}", sys.stderr)
            else:
                yield NamedImage(str(path), pixels, None if record is None else record.image_id)
            on_progress(number + 1, len(paths))


def _print(verification: "Verification") -> None:
    """Prints the differences, and what is allowed."""
    totals, allowed = verification.totals, verification.tolerance
    print(f"  largest difference of a box: {totals.box_px:.4f} px of the network input")
    print(f"  largest difference of a score: {totals.score:.6f}")
    print(
        f"  changed detections: {100 * verification.changed:.2f} % ({totals.lost} lost, {totals.gained} gained, "
        f"{totals.moved} by more than {allowed.box_px:g} px or {allowed.score:g}); {100 * allowed.changed:g} % allowed"
    )
    if verification.aps is not None:
        print("  AP at the thresholds of the file: {:.4f} of the weights, {:.4f} of the file".format(*verification.aps))
    print("  time of an image: {:.1f} ms in the weights, {:.1f} ms in the file".format(*verification.milliseconds))
    if verification.agrees:
        print("the file detects what its weights detect")
    elif not verification.num_compared:
        print(
            "nothing was compared, because neither detects anything in these images: use images with objects, or "
            "export with a lower --score-threshold"
        )
    else:
        print(f"the file DIFFERS from its weights, most in {Path(verification.worst_image).name}")


def _to_json(verification: "Verification") -> dict[str, Any]:
    return {
        "agrees": verification.agrees,
        "tolerance": verification.tolerance._asdict(),
        "num_detections": verification.num_detections,
        **verification.totals._asdict(),
        "changed": verification.changed,
        "AP": None if verification.aps is None else dict(zip(("weights", "file"), verification.aps, strict=True)),
        "milliseconds": dict(zip(("weights", "file"), verification.milliseconds, strict=True)),
        "images": {name: differences._asdict() for name, differences in verification.differences.items()},
    }
