"""Draws contact sheets: grids of thumbnails that show the problems of a dataset."""

import math
import textwrap
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from yolox_jax.data.channels import to_picture
from yolox_jax.data.dataset import Record
from yolox_jax.data.doctor.finding import Box, Finding
from yolox_jax.data.image import BrokenImage, cut_tile, decode_image
from yolox_jax.inference.draw import FONT, class_colour

CELL_PX, GAP_PX, LINE_PX, CAPTION_LINES = 320, 8, 16, 3
COLUMNS, MOST_CELLS = 4, 12
LETTERS_A_LINE = 50
AROUND = 5.0
"""Side of the crop around a small box, relative to the longer side of the box; at least `LEAST_PART_PX`."""
LEAST_PART_PX = 96
FARTHEST = 3
"""How far outside an image boxes are shown, relative to the sides of the image."""
BACKGROUND = (70, 70, 70)

Picture = UInt8[np.ndarray, "H W 3"]
View = UInt8[np.ndarray, "320 320 3"]
"""A square of `CELL_PX`."""
Cell = UInt8[np.ndarray, "h w 3"]
"""A view with its caption."""


def draw_contact_sheet(finding: Finding) -> Picture | None:
    """Draw the first cases of a finding side by side: the boxes concerned in yellow, or else all boxes of the image.

    Returns:
        BGR, grey outside the images; None if no image can be read.
    """
    cells: list[Cell] = []
    for number, case in enumerate(finding.cases, start=1):
        if len(cells) + len(case.records) > MOST_CELLS:
            break
        for record in case.records:
            view = _view(record, case.boxes_xyxy)
            if view is not None:
                text = f"{number}: {case.text.replace(f'{record.path.parent}/', '')}"
                cells.append(with_caption(view, text if len(case.records) == 1 else f"{number}: {record.path}"))
    if not cells:
        return None
    return arrange(cells)


def arrange(cells: Sequence[Cell]) -> Picture:
    """Put cells of one size into a grid of at most `COLUMNS` columns, white where the last row has none."""
    columns = min(COLUMNS, len(cells))
    padded = [*cells, *[np.full_like(cells[0], 255)] * (-len(cells) % columns)]
    rows = [np.concatenate(padded[start : start + columns], axis=1) for start in range(0, len(padded), columns)]
    return np.concatenate(rows)


def _view(record: Record, boxes_xyxy: Sequence[Box]) -> View | None:
    try:
        image = to_picture(cut_tile(decode_image(record.encoded(), record.path, record.pixels), record))
    except (BrokenImage, OSError):
        return None
    cell, origin, ratio = cut_out(image, boxes_xyxy)
    thickness = 1 if len(record.boxes) > 1 or boxes_xyxy else 2
    for box, label in zip(record.boxes, record.classes.tolist(), strict=True):
        if not boxes_xyxy:
            _rectangle(cell, (box - origin) * ratio, class_colour(label), thickness)
    for outlined in boxes_xyxy:
        corners = (np.array(outlined) - origin) * ratio
        _rectangle(cell, corners, (0, 0, 0), 3)
        _rectangle(cell, corners, (0, 255, 255), 1)
    return cell


def cut_out(
    image: Picture, boxes_xyxy: Sequence[Box], around: float = AROUND
) -> tuple[View, Float[np.ndarray, "4"], float]:
    """Cut the part of an image around some boxes; the whole image if there are none.

    Args:
        image: BGR.
        boxes_xyxy: boxes in px of the image; may be outside it.
        around: side of the part, relative to the longer side of the boxes.

    Returns:
        The part as a square, grey where there is no image, and how to place a box on it: subtract its origin (left,
        top, left, top in px of the image), then multiply by the ratio.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = _part(boxes_xyxy, height, width, around)
    ratio = CELL_PX / max(right - left, bottom - top)
    cell = np.full((CELL_PX, CELL_PX, 3), BACKGROUND, np.uint8)
    _paste(cell, image, (left, top, right, bottom), ratio)
    return cell, np.array([left, top, left, top], np.float64), ratio


def _part(boxes_xyxy: Sequence[Box], height: int, width: int, around: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the crop, in pixels of the image; it may extend beyond the image."""
    if not boxes_xyxy:
        return 0, 0, width, height
    # Boxes may be anywhere; clip those that are so far away that the image would become a dot.
    limits = np.array([width, height, width, height])
    boxes = np.clip(np.array(boxes_xyxy), -FARTHEST * limits, (FARTHEST + 1) * limits)
    x1, y1 = boxes[:, :2].min(axis=0).tolist()
    x2, y2 = boxes[:, 2:].max(axis=0).tolist()
    side = max(around * max(x2 - x1, y2 - y1), LEAST_PART_PX)
    inside = x1 < width and y1 < height and x2 > 0 and y2 > 0
    if side >= max(height, width) or not inside:
        return int(min(0, x1)), int(min(0, y1)), math.ceil(max(width, x2)), math.ceil(max(height, y2))
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    return left, top, left + round(side), top + round(side)


def _paste(cell: View, image: Picture, part: tuple[int, int, int, int], ratio: float) -> None:
    left, top, right, bottom = part
    height, width = image.shape[:2]
    x1, y1, x2, y2 = max(0, left), max(0, top), min(width, right), min(height, bottom)
    if x2 <= x1 or y2 <= y1:
        return
    size = max(1, round((x2 - x1) * ratio)), max(1, round((y2 - y1) * ratio))
    small = cv2.resize(image[y1:y2, x1:x2], size, interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_NEAREST)
    row, column = round((y1 - top) * ratio), round((x1 - left) * ratio)
    space = cell[row : row + size[1], column : column + size[0]]
    space[:] = small[: space.shape[0], : space.shape[1]]


def _rectangle(cell: View, corners: Float[np.ndarray, "4"], colour: tuple[int, int, int], thickness: int) -> None:
    x1, y1, x2, y2 = np.clip(corners, -CELL_PX, 2 * CELL_PX).round().astype(int).tolist()
    # One px in, so that all sides of a box that reaches the edge of the cell are visible.
    cv2.rectangle(cell, (x1, y1), (max(x1, x2 - 1), max(y1, y2 - 1)), colour, thickness)


def with_caption(view: View, text: str) -> Cell:
    """Add a caption of up to `CAPTION_LINES` lines below a view, and a white gap to the next cell."""
    strip = np.full((LINE_PX * CAPTION_LINES, CELL_PX, 3), 255, np.uint8)
    text = text.encode(errors="replace").decode()
    for number, line in enumerate(textwrap.wrap(text, LETTERS_A_LINE)[:CAPTION_LINES], start=1):
        cv2.putText(strip, line, (0, LINE_PX * number - 4), FONT, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    cell = np.concatenate([view, strip])
    return cv2.copyMakeBorder(cell, 0, GAP_PX, 0, GAP_PX, cv2.BORDER_CONSTANT, value=(255, 255, 255))
