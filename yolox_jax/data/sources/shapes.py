"""A generated dataset of shapes on flat and textured backgrounds, to try things out without a download."""

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

from yolox_jax.config import ConfigError

CLASS_NAMES = ("bar", "circle", "star", "triangle")
MIN_SIZE_PX, MEDIAN_SIZE_PX, MAX_SIZE_PX = 8.0, 64.0, 128.0
SIZE_SPREAD = 0.6
"""Standard deviation of the logarithm of sizes: nine in ten are larger than 30 px."""
MAX_OBJECTS = 8
MIN_VISIBLE = 0.3
"""An object is annotated if later ones leave at least this share of it visible."""
MIN_CONTRAST = 90.0
"""Distance of a shape's colour from those of the background and of other shapes, in BGR levels."""
JPEG_QUALITY = 95


def ensure_shapes(folder: Path, *, setting: str = "--data.images") -> None:
    """Generate 600 training and 100 validation images in `folder`, unless they exist. It takes seconds.

    Raises:
        ConfigError: the folder contains other files.
    """
    if all((folder / f"instances_{split}.json").is_file() for split in ("train", "val")):
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{setting}: {folder} contains other files. Pass a folder that is empty or does not exist.")
    generate_shapes(folder)


def generate_shapes(
    folder: Path, num_train: int = 600, num_val: int = 100, image_size: int = 256, seed: int = 0
) -> None:
    """Write a dataset in COCO layout: `images`, `instances_train.json` and `instances_val.json`.

    The same arguments give the same files. Everything is written to a temporary folder, which is renamed at the end, so
    that a killed run leaves no incomplete dataset.

    Args:
        folder: must be empty or not exist.
        num_train: number of training images.
        num_val: number of validation images.
        image_size: height and width of the images in px.
        seed: of all random choices.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (temporary / "images").mkdir()
        for split, count, stream in (("train", num_train, 0), ("val", num_val, 1)):
            content = _write_split(temporary / "images", split, count, image_size, (seed, stream))
            (temporary / f"instances_{split}.json").write_text(json.dumps(content))
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            # Another process was faster; its files are identical.
            if not (folder / "instances_val.json").is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_split(images: Path, split: str, count: int, size: int, seed: tuple[int, int]) -> dict[str, Any]:
    content: dict[str, Any] = {
        "info": {"description": "generated shapes"},
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES, start=1)],
    }
    for number in range(1, count + 1):
        picture, objects = draw_scene(np.random.default_rng((*seed, number)), size)
        name = f"{split}_{number:05d}.jpg"
        if not cv2.imwrite(str(images / name), picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise OSError(f"{images / name} could not be written; is the disk full?")
        content["images"].append({"id": number, "file_name": name, "height": size, "width": size})
        for label, (x1, y1, x2, y2) in objects:
            box = [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)]
            content["annotations"].append(
                {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": label + 1, "bbox": box,
                 "area": round(box[2] * box[3], 2), "iscrowd": 0}
            )  # fmt: skip
    return content


def draw_scene(rng: np.random.Generator, size: int) -> tuple[UInt8[np.ndarray, "H W 3"], list[tuple[int, list[float]]]]:
    """Draw one image: a background, then two to eight shapes, later ones over earlier ones.

    Returns:
        The picture, and class and full extent (x1, y1, x2, y2 in px) of each shape that is sufficiently visible.
    """
    picture, colours = _background(rng, size)
    owner = np.full((size, size), -1, np.int16)
    areas, objects = [], []
    for number in range(int(rng.integers(2, MAX_OBJECTS + 1))):
        label = int(rng.integers(len(CLASS_NAMES)))
        points = _outline(rng, label, size)
        colour = _distinct_colour(rng, colours)
        colours.append(colour)
        window, inside = _paint(picture, points, colour)
        owner[window][inside] = number
        areas.append(int(inside.sum()))
        objects.append((label, [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]))
    visible = [(owner == number).sum() >= MIN_VISIBLE * area for number, area in enumerate(areas)]
    return picture, [found for found, seen in zip(objects, visible, strict=True) if seen]


def _background(rng: np.random.Generator, size: int) -> tuple[UInt8[np.ndarray, "H W 3"], list[np.ndarray]]:
    """A flat, graded, striped, chequered or cloudy picture, and the two colours it is made of."""
    # Neither dark nor bright nor saturated as a whole, as photographs are not: of small batches of such images, one
    # would rule the statistics of batch norm, and the running ones would fit none.
    first = (rng.uniform(90, 165) + rng.uniform(-25, 25, 3)).astype(np.float32)
    second = np.clip(first + rng.uniform(-50, 50, 3).astype(np.float32), 0, 255)
    share = _PATTERNS[rng.integers(len(_PATTERNS))](rng, size).astype(np.float32)
    strength = int(rng.integers(1, 14))
    noise = rng.integers(-strength, strength, (3, size, size), np.int8, endpoint=True)
    planes = [start + (end - start) * share for start, end in zip(first, second, strict=True)]
    picture = cv2.merge(
        [np.clip(plane + grain, 0, 255).astype(np.uint8) for plane, grain in zip(planes, noise, strict=True)]
    )
    return picture, [first, second]


def _flat(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "H W"]:
    return np.zeros((size, size))


def _along(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "H W"]:
    """Distance along a random direction, 0..1 across the picture."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    return (x * math.cos(angle) + y * math.sin(angle)) / math.sqrt(2) + 0.5


def _stripes(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "H W"]:
    return 0.5 + 0.5 * np.sin(_along(rng, size) * rng.uniform(10, 120))


def _chequers(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "H W"]:
    y, x = np.mgrid[0:size, 0:size] // int(rng.integers(6, 40))
    return ((x + y) % 2).astype(np.float64)


def _clouds(rng: np.random.Generator, size: int) -> Float64[np.ndarray, "H W"]:
    coarse = rng.uniform(0, 1, (int(rng.integers(4, 24)),) * 2)
    return np.clip(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)


_PATTERNS = (_flat, _along, _stripes, _chequers, _clouds)


def _distinct_colour(rng: np.random.Generator, others: list[np.ndarray]) -> Float64[np.ndarray, "3"]:
    """Of random colours, the first that is far enough from all others, else the farthest."""
    candidates = rng.uniform(0, 255, (32, 3))
    distance = np.linalg.norm(candidates[:, None] - np.stack(others), axis=-1).min(axis=1)
    far = distance > MIN_CONTRAST
    return candidates[far.argmax() if far.any() else distance.argmax()]


def _outline(rng: np.random.Generator, label: int, image_size: int) -> Float64[np.ndarray, "P 2"]:
    """Corners of a shape, wholly inside the picture."""
    limits = (MIN_SIZE_PX, min(MAX_SIZE_PX, image_size / 2))
    size = float(np.clip(MEDIAN_SIZE_PX * math.exp(SIZE_SPREAD * rng.normal()), *limits))
    points = _UNIT_OUTLINES[CLASS_NAMES[label]]
    turn = math.radians(rng.uniform(-15, 15))
    points = points @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    low, high = points.min(axis=0), points.max(axis=0)
    points = (points - low) * size / (high - low).max()
    return points + rng.uniform(0, image_size - points.max(axis=0))


def _polygon(angles_deg: np.ndarray, radii: np.ndarray | float = 1.0) -> Float64[np.ndarray, "P 2"]:
    angles = np.radians(angles_deg)
    return np.stack([np.sin(angles), -np.cos(angles)], axis=1) * np.reshape(radii, (-1, 1))


_UNIT_OUTLINES = {
    "bar": _polygon(np.array([68.0, 112, 248, 292])),
    "circle": _polygon(np.arange(0, 360, 5.0)),
    "star": _polygon(np.arange(0, 360, 36.0), np.tile([1.0, 0.42], 5)),
    "triangle": _polygon(np.array([0.0, 120, 240])),
}

SUPERSAMPLING = 4
"""Outlines are filled at this multiple of the resolution, because OpenCV fills shapes one px too large on each side."""


def _paint(
    picture: UInt8[np.ndarray, "H W 3"], points: Float64[np.ndarray, "P 2"], colour: Float64[np.ndarray, "3"]
) -> tuple[tuple[slice, slice], Bool[np.ndarray, "h w"]]:
    """Fill a shape; returns the rows and columns around it, and which pixels there it fills for the most part."""
    left, top = np.floor(points.min(axis=0)).astype(int)
    right, bottom = np.ceil(points.max(axis=0)).astype(int)
    fine = np.zeros(((bottom - top) * SUPERSAMPLING, (right - left) * SUPERSAMPLING), np.float32)
    corners = np.round((points - (left, top)) * SUPERSAMPLING - 0.5).astype(np.int32)
    cv2.fillPoly(fine, [corners], 1.0)
    share = cv2.resize(fine, (int(right - left), int(bottom - top)), interpolation=cv2.INTER_AREA)
    window = (slice(top, bottom), slice(left, right))
    blended = picture[window] * (1 - share[..., None]) + colour * share[..., None]
    picture[window] = np.round(blended).astype(np.uint8)
    return window, share > 0.5
