"""The objects detected in one image, and their conversion to the formats of other programs."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from yolox_jax.structures import Detections

TABLE_HEADER = ("class", "score", "x1", "y1", "x2", "y2")


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDetections:
    """Objects detected in one image, best first. `print` shows a table."""

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

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dict of plain values per detection, for JSON or a data frame: class, class_index, score, box_xyxy in px."""
        rows = zip(self.class_names, self.classes, self.scores, self.boxes, strict=True)
        return [
            {
                "class": name,
                "class_index": int(index),
                "score": round(float(score), 4),
                "box_xyxy": [round(float(value), 2) for value in box],
            }
            for name, index, score, box in rows
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
            data={"class_name": np.array(self.class_names, dtype=str)},
        )


def no_detections(error: str) -> ImageDetections:
    """The detections of an image that could not be read."""
    return ImageDetections(
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        classes=np.zeros(0, np.int32),
        class_names=(),
        error=error,
    )


def unpack_detections(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], detections: Detections, class_names: Sequence[str]
) -> list[ImageDetections]:
    """Wait for the detections of a batch, and split them by image.

    Args:
        images: the images of the batch, without padding.
        detections: with boxes in pixels of the images.
        class_names: one per class.
    """
    boxes, scores, classes, valid = (np.asarray(array) for array in detections)
    # Weights of a run that diverged can give infinite boxes.
    keep = valid & np.isfinite(boxes).all(axis=-1)
    return [
        ImageDetections(
            boxes=boxes[index][keep[index]],
            scores=scores[index][keep[index]],
            classes=classes[index][keep[index]],
            class_names=tuple(class_names[label] for label in classes[index][keep[index]]),
            image_size=(image.shape[0], image.shape[1]),
        )
        for index, image in enumerate(images)
    ]
