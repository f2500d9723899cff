"""Draws a few images with their annotated and predicted objects, to judge a network by eye."""

import cv2
import numpy as np
from jaxtyping import UInt8

from yolox_jax.data.channels import to_picture
from yolox_jax.data.dataset import Dataset, Record
from yolox_jax.data.image import BrokenImage, load_image
from yolox_jax.data.letterbox import letterbox
from yolox_jax.evaluation.runner import Evaluation
from yolox_jax.inference.draw import FONT, draw_detections

SCORE_THRESHOLD = 0.3
"""Predictions with a lower score are not drawn: enough to judge by eye, few enough to see the image."""

COLUMNS = 4
"""Images per row, few enough to be legible on a screen."""

SIDE_PX = 320
"""Side of the square that each image is letterboxed to."""

CAPTION_PX = 18


def draw_prediction_sheet(dataset: Dataset, evaluation: Evaluation, count: int) -> UInt8[np.ndarray, "H W 3"] | None:
    """Draw images spread evenly over a dataset, each with its annotated objects above and its predicted ones below.

    Args:
        dataset: images and annotations.
        evaluation: an evaluation of this dataset.
        count: number of images.

    Returns:
        BGR; None if none of the images can be read.
    """
    indices = np.unique(np.linspace(0, len(dataset.records) - 1, count).astype(int))
    drawn = (_draw_image(dataset, dataset.records[index], evaluation) for index in indices)
    cells = [cell for cell in drawn if cell is not None]
    if not cells:
        return None
    rows = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
    rows[-1] += [np.full_like(cells[0], 255)] * (len(rows[0]) - len(rows[-1]))
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _draw_image(dataset: Dataset, record: Record, evaluation: Evaluation) -> UInt8[np.ndarray, "H W 3"] | None:
    try:
        image = to_picture(load_image(record))
    except BrokenImage:
        return None  # the evaluation has already reported it
    class_of = {category: index for index, category in enumerate(dataset.category_ids)}
    found = evaluation.found
    drawn = (found.image_ids == record.image_id) & (found.scores >= SCORE_THRESHOLD)
    # The weights of the first epochs can give boxes whose sides overflow float32.
    boxes = found.boxes_xywh[drawn]
    boxes[:, 2:] += boxes[:, :2]
    classes = np.array([class_of[category] for category in found.category_ids[drawn].tolist()], np.int32)
    scores = found.scores[drawn].astype(np.float32)

    # Scaled before drawing, so that labels are readable whatever the size of the image.
    small, ratio = letterbox(image, (SIDE_PX, SIDE_PX))
    names = dataset.class_names
    truth = draw_detections(small, record.boxes * ratio, None, record.classes, all_class_names=names)
    predicted = draw_detections(small, boxes * ratio, scores, classes, all_class_names=names)
    caption = f"{'predictions' if drawn.any() else 'no predictions'} (score ≥ {SCORE_THRESHOLD:g})"
    pair = np.concatenate([_with_caption(truth, "annotated"), _with_caption(predicted, caption)])
    return cv2.copyMakeBorder(pair, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def _with_caption(image: UInt8[np.ndarray, "h w 3"], text: str) -> UInt8[np.ndarray, "H w 3"]:
    strip = np.full((CAPTION_PX, image.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, text, (2, CAPTION_PX - 5), FONT, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, image])
