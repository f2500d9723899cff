"""The objects of an image during augmentation."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32


class Objects(NamedTuple):
    """Boxes and their classes."""

    boxes: Float32[np.ndarray, "N 4"]
    """x1, y1, x2, y2 in px."""
    classes: Int32[np.ndarray, " N"]

    def keep(self, kept: Bool[np.ndarray, " N"]) -> "Objects":
        """Return the objects for which `kept` is true."""
        return Objects(self.boxes[kept], self.classes[kept])

    def joined(self, others: "Objects") -> "Objects":
        """Return these objects, followed by the others."""
        return Objects(np.concatenate([self.boxes, others.boxes]), np.concatenate([self.classes, others.classes]))

    def mirrored(self, width: int) -> "Objects":
        """Return the objects of the image, `width` px wide, mirrored left to right."""
        boxes = self.boxes.copy()
        boxes[:, [0, 2]] = width - self.boxes[:, [2, 0]]
        return self._replace(boxes=boxes)
