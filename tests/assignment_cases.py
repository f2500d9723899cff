"""Random batches for the assignment rules: crowded, empty and degenerate images in one."""

import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from yolox_jax.structures import Targets

SIZE = (64, 96)
NUM_CELLS = 126
NUM_CLASSES = 3
CASES = ((8, 190), (120, 10))
"""Slots and number of images of the two batches of a rule, 200 images in all."""


def random_batch(num_slots, num_images, *, per_cell=1, channels=5 + NUM_CLASSES, size=SIZE):
    """Raw output like that of a partly trained network, and targets.

    Images hold no object up to one in every slot. Objects have sides of up to 190 px or none at all, share centres and
    boxes, and have their centres outside, on the borders of cells, or anywhere. Empty slots hold garbage.
    """
    rng = np.random.default_rng(num_slots)
    num_anchors = sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32)) * per_cell
    raw = rng.normal(0, 1, (num_images, num_anchors, channels))
    raw[..., :4] = 0.7 * raw[..., :4] + [0.5, 0.5, 0.7, 0.7]
    raw[..., 4:] = 1.5 * raw[..., 4:] - 1.5

    shape = (num_images, num_slots)
    boxes = np.concatenate(
        [
            rng.uniform(-15, np.array(size)[::-1] + 15, (*shape, 2)),
            np.exp(rng.uniform(np.log(3), np.log(190), (*shape, 2))),
        ],
        axis=-1,
    )
    on_border = rng.random(shape) < 0.3
    boxes[on_border, :2] = np.round(boxes[on_border, :2] / 8) * 8
    boxes[rng.random(shape) < 0.05, 2] = 0.0
    boxes[rng.random(shape) < 0.05, 3] = 0.0
    same_centre, same_box = rng.random(shape) < 0.2, rng.random(shape) < 0.1
    boxes[same_centre, :2] = np.roll(boxes, 1, axis=1)[same_centre, :2]
    boxes[same_box] = np.roll(boxes, 1, axis=1)[same_box]

    counts = rng.integers(0, num_slots + 1, num_images)
    counts[:3] = [0, 1, num_slots][:num_images]
    valid = rng.permuted(np.arange(num_slots) < counts[:, None], axis=1)
    boxes[~valid] = rng.choice([np.nan, np.inf, -np.inf, -1.0, 50.0], (*shape, 4))[~valid]
    classes = np.where(valid, rng.integers(0, NUM_CLASSES, shape), rng.choice([-7, 1000], shape))
    return raw.astype(np.float32), boxes.astype(np.float32), classes.astype(np.int32), valid


def as_targets(boxes, classes, valid):
    return Targets(jnp.asarray(boxes), jnp.asarray(classes), jnp.asarray(valid))


def one_object(box, cls=0):
    return Targets(jnp.array([[box]], jnp.float32), jnp.array([[cls]], jnp.int32), jnp.array([[True]]))


def assert_matches(assigned, image, expected):
    """That the assignment of an image equals that of a twin."""
    matched, iou = expected
    np.testing.assert_array_equal(assigned.matched_gt[image], matched)
    np.testing.assert_array_equal(assigned.foreground[image], matched >= 0)
    np.testing.assert_allclose(assigned.matched_iou[image], iou, rtol=1e-4, atol=1e-6)


def largest_array(jaxpr):
    """Bytes of the largest output of any operation, nested functions included."""
    sizes = [v.aval.size * v.aval.dtype.itemsize for eqn in jaxpr.eqns for v in eqn.outvars]
    nested = [inner for eqn in jaxpr.eqns for inner in jaxprs_in_params(eqn.params)]
    return max(sizes + [largest_array(inner) for inner in nested], default=0)
