"""The objects detected in one image, and their conversion to the formats of other programs."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from yolox_jax.data.image import BrokenImage
from yolox_jax.data.letterbox import fitted_size
from yolox_jax.inference.draw import draw_detections
from yolox_jax.inference.input.images import to_picture_array
from yolox_jax.inference.options import class_indices
from yolox_jax.inference.picture_files import encode_picture, write_picture

TABLE_HEADER = ("class", "score", "x1", "y1", "x2", "y2")
NOTEBOOK_SIDE_PX = 1024
"""Longest side of the picture that a notebook shows."""


class Detection(NamedTuple):
    """One detected object."""

    class_name: str
    score: float
    """Objectness times class probability."""
    box: Float[np.ndarray, "4"]
    """x1, y1, x2, y2 in pixels of the image."""
    class_index: int
    track_id: int | None = None
    """The object's number in a video that is tracked; None if the tracker does not follow it."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ImageDetections:
    """Objects detected in one image, best first. `print` shows a table, a notebook the image with boxes.

    `found[0]` is a `Detection`. A slice, a mask or a list of indices selects several: `found[found.scores > 0.5]`.
    """

    boxes: Float[np.ndarray, "N 4"]
    """x1, y1, x2, y2 in pixels of the image. A box can extend beyond the image."""
    scores: Float[np.ndarray, " N"]
    """Objectness times class probability."""
    classes: Int[np.ndarray, " N"]
    """Class index."""
    class_names: tuple[str, ...]
    """Class name of each detection."""
    image_size: tuple[int, int] = (0, 0)
    """Height and width of the image in px; zeros if it could not be read."""
    error: str | None = None
    """Why the image file could not be read."""
    all_class_names: tuple[str, ...] = ()
    """Names of all classes of the network, by index."""
    source: Any = None
    """The image as it was passed: a path, an array or a PIL image; the pixels of a URL. None for images that are not
    kept: frames of a video, camera or stream, and arrays, PIL images and URLs from a generator."""
    track_ids: Int[np.ndarray, " N"] | None = None
    """The object's number in a video that is tracked (`yolox_jax.inference.tracking`), the same in all frames, or -1 if
    the tracker does not follow it; None without a tracker."""

    def __len__(self) -> int:
        return len(self.scores)

    def __str__(self) -> str:
        if self.error is not None:
            return self.error
        rows = [
            (name, f"{score:.3f}", *(f"{value:.1f}" for value in box))
            for name, score, box in zip(self.class_names, self.scores, self.boxes, strict=True)
        ]
        widths = [max(len(row[column]) for row in [TABLE_HEADER, *rows]) for column in range(len(TABLE_HEADER))]
        return "\n".join(
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in [TABLE_HEADER, *rows]
        )

    def __repr__(self) -> str:
        if self.error is not None:
            return f"ImageDetections(error={self.error!r})"
        counts = ", ".join(f"{count} {name}" for name, count in self.counts().items()) or "no detections"
        place = f" in {self.source}" if isinstance(self.source, str | Path) else ""
        return f"ImageDetections({counts}{place}, {self.image_size[1]}x{self.image_size[0]} px)"

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int | np.integer) -> Detection: ...
    @overload
    def __getitem__(
        self, index: slice | Sequence[int] | Bool[np.ndarray, " N"] | Int[np.ndarray, " M"]
    ) -> "ImageDetections": ...
    def __getitem__(self, index: Any) -> "Detection | ImageDetections":
        if isinstance(index, int | np.integer):
            return Detection(
                self.class_names[index],
                float(self.scores[index]),
                self.boxes[index],
                int(self.classes[index]),
                self._track_id(index),
            )
        kept = np.arange(len(self))[list(index) if isinstance(index, tuple) else index]
        return dataclasses.replace(
            self,
            boxes=self.boxes[kept],
            scores=self.scores[kept],
            classes=self.classes[kept],
            class_names=tuple(self.class_names[number] for number in kept),
            track_ids=None if self.track_ids is None else self.track_ids[kept],
        )

    def _track_id(self, index: int | np.integer) -> int | None:
        return None if self.track_ids is None or self.track_ids[index] < 0 else int(self.track_ids[index])

    def filter(self, *, score: float = 0.0, classes: Sequence[str | int] | None = None) -> "ImageDetections":
        """Return the detections with at least this score and of these classes.

        Args:
            score: minimum score.
            classes: names or indices; by default all.

        Raises:
            ConfigError: the network does not have one of the classes.
        """
        keep = self.scores >= score
        if classes is not None and (len(self) or self.all_class_names):
            listed = [classes] if isinstance(classes, str | int) else classes
            keep &= np.isin(self.classes, class_indices(listed, self._names_by_index()))
        return self[keep]

    def counts(self) -> dict[str, int]:
        """Number of detections of each class that was found, the most frequent first."""
        return dict(collections.Counter(self.class_names).most_common())

    def plot(self, image: Any = None) -> UInt8[np.ndarray, "H W 3"]:
        """Draw the boxes with class names and scores on a copy of the image.

        Args:
            image: the image to draw on, by default `source`. Pass the frame for detections in a video.

        Returns:
            BGR, as `cv2.imwrite` and `cv2.imshow` take it. For matplotlib: `plt.imshow(found.plot()[..., ::-1])`.

        Raises:
            ValueError: the image is not known, or has another size than the one of the detections.
            BrokenImage: the file of the image cannot be read.
        """
        image = self.source if image is None else image
        if image is None:
            raise ValueError(
                self.error
                or "these detections do not hold their image: those of videos, cameras, streams and generators are not "
                "kept. Pass it: found.plot(image), or found.plot(frame.image)"
            )
        pixels = to_picture_array(image)
        if pixels.shape[:2] != self.image_size:
            raise ValueError(
                f"the image has {pixels.shape[1]}x{pixels.shape[0]} px, but the detections are of one with "
                f"{self.image_size[1]}x{self.image_size[0]} px"
            )
        return self._draw(pixels, 1.0)

    def save(self, path: str | Path, image: Any = None) -> None:
        """Write the image with boxes in the format of the suffix of `path`; its folder is created if needed.

        Args:
            path: the file, such as `out/street.jpg`.
            image: as for `plot`.

        Raises:
            PictureError: pictures cannot be written in the format of the suffix.
            ValueError, BrokenImage: as `plot`.
        """
        drawn = self.plot(image)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, drawn)

    def _repr_png_(self) -> bytes | None:
        """The picture that a notebook shows; None if the image is not known or can no longer be read."""
        if self.source is None:
            return None
        try:
            image = to_picture_array(self.source)
        except (BrokenImage, OSError, ValueError):
            return None
        if image.shape[:2] != self.image_size:
            return None
        height, width = image.shape[:2]
        scale = 1.0
        if max(height, width) > NOTEBOOK_SIDE_PX:  # reduced before drawing, so that labels stay legible
            (height, width), scale = fitted_size((height, width), (NOTEBOOK_SIDE_PX, NOTEBOOK_SIDE_PX))
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return encode_picture(".png", self._draw(image, scale))

    def _draw(self, image: UInt8[np.ndarray, "H W 3"], scale: float) -> UInt8[np.ndarray, "H W 3"]:
        boxes = self.boxes * np.float32(scale)
        return draw_detections(
            image,
            boxes,
            self.scores,
            self.classes,
            all_class_names=self._names_by_index(),
            track_ids=self.track_ids,
        )

    def _names_by_index(self) -> Sequence[str]:
        """The names of all classes; of detections that were made without them, the names of those found."""
        if self.all_class_names or not len(self):
            return self.all_class_names
        names = dict(zip(self.classes.tolist(), self.class_names, strict=True))
        return [names.get(index, f"class {index}") for index in range(max(names) + 1)]

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dict of plain values per detection, for JSON or a data frame: class, class_index, score, box_xyxy in px.

        In a video that is tracked also `track_id`, which is None for a detection that the tracker does not follow.
        """
        rows = zip(self.class_names, self.classes, self.scores, self.boxes, strict=True)
        return [
            {
                "class": name,
                "class_index": int(index),
                "score": round(float(score), 4),
                "box_xyxy": [round(float(value), 2) for value in box],
                **({} if self.track_ids is None else {"track_id": self._track_id(number)}),
            }
            for number, (name, index, score, box) in enumerate(rows)
        ]

    def to_coco(self, image_id: int | str, category_ids: list[int] | None = None) -> list[dict[str, Any]]:
        """COCO results: one dict per detection with image_id, category_id, bbox (x, y, width, height in px) and score.

        Args:
            image_id: ID of this image in the annotations.
            category_ids: ID of each class, if it is not the class index. COCO's own go from 1 to 90.
        """
        sides = np.concatenate([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], axis=1)
        return [
            {
                "image_id": image_id,
                "category_id": int(index) if category_ids is None else category_ids[index],
                "bbox": [float(value) for value in box],
                "score": float(score),
            }
            for index, score, box in zip(self.classes, self.scores, sides, strict=True)
        ]

    def to_supervision(self) -> Any:
        """Convert to a `supervision.Detections`, for the trackers, zones and annotators of that package.

        Raises:
            ModuleNotFoundError: the package supervision is not installed.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("to_supervision needs a package: pip install supervision") from error

        return supervision.Detections(
            xyxy=self.boxes.astype(np.float32),
            confidence=self.scores.astype(np.float32),
            class_id=self.classes.astype(int),
            tracker_id=None if self.track_ids is None else self.track_ids.astype(int),
            data={"class_name": np.array(self.class_names, dtype=str)},
        )
