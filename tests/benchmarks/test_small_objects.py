"""The images of the study of small objects."""

import numpy as np

from small_objects import SIDE_PX, small_shapes
from yolox_jax.data.dataset import fingerprint
from yolox_jax.data.image import load_image


def test_images_are_of_small_objects_the_same_each_time_and_others_in_each_stream() -> None:
    dataset = small_shapes(20, 0)
    boxes = np.concatenate([record.boxes for record in dataset.records])
    assert len(boxes) > 40 and boxes.min() >= 0 and boxes.max() <= SIDE_PX
    assert 10 < np.median((boxes[:, 2:] - boxes[:, :2]).max(axis=1)) < 16
    assert {load_image(record).shape for record in dataset.records} == {(SIDE_PX, SIDE_PX, 3)}
    assert fingerprint(dataset) == fingerprint(small_shapes(20, 0)) != fingerprint(small_shapes(20, 1))
