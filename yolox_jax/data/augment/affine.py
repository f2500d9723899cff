"""Random zoom, rotation, shear and translation of a mosaic and its boxes (docs/yolox.md, 7.3, 10.1)."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64

from yolox_jax.config import AugmentConfig
from yolox_jax.data.augment.objects import Objects


class AffineDraw(NamedTuple):
    """The random parameters of one transform."""

    angle_deg: float
    scale: float
    shear_x_deg: float
    shear_y_deg: float
    translate_x: float
    """As a fraction of the output's width."""
    translate_y: float
    """As a fraction of the output's height."""


def draw_affine(rng: np.random.Generator, config: AugmentConfig) -> AffineDraw:
    """Draw every parameter uniformly from its range in the config."""
    return AffineDraw(
        angle_deg=rng.uniform(-config.degrees, config.degrees),
        scale=rng.uniform(*config.mosaic_scale),
        shear_x_deg=rng.uniform(-config.shear_degrees, config.shear_degrees),
        shear_y_deg=rng.uniform(-config.shear_degrees, config.shear_degrees),
        translate_x=rng.uniform(-config.translate, config.translate),
        translate_y=rng.uniform(-config.translate, config.translate),
    )


def _linear_part(draw: AffineDraw) -> Float64[np.ndarray, "2 2"]:
    """Return rotation (positive angles turn counter-clockwise on screen) and zoom, followed by shear."""
    angle = math.radians(draw.angle_deg)
    cosine, sine = draw.scale * math.cos(angle), draw.scale * math.sin(angle)
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    shear = np.array([[1.0, math.tan(math.radians(draw.shear_y_deg))], [math.tan(math.radians(draw.shear_x_deg)), 1.0]])
    return shear @ rotation


def corner_matrix(draw: AffineDraw, output_size: tuple[int, int]) -> Float64[np.ndarray, "2 3"]:
    """Return the transform about the top-left corner, as in the original's main branch (docs/yolox.md, 7.3)."""
    shift = np.array([draw.translate_x * output_size[1], draw.translate_y * output_size[0]])
    return np.column_stack([_linear_part(draw), shift])


def centred_matrix(
    draw: AffineDraw, canvas_size: tuple[int, int], output_size: tuple[int, int]
) -> Float64[np.ndarray, "2 3"]:
    """Return the transform that maps the centre of the canvas to the centre of the output, plus the translation."""
    linear = _linear_part(draw)
    canvas_middle = np.array([canvas_size[1] / 2, canvas_size[0] / 2])
    target = np.array([(0.5 + draw.translate_x) * output_size[1], (0.5 + draw.translate_y) * output_size[0]])
    return np.column_stack([linear, target - linear @ canvas_middle])


def transform_boxes(
    boxes_xyxy: Float32[np.ndarray, "N 4"], matrix: Float64[np.ndarray, "2 3"], output_size: tuple[int, int]
) -> Float32[np.ndarray, "N 4"]:
    """Return the axis-aligned boxes around the four transformed corners of each box, clipped to the output."""
    corners = boxes_xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2).astype(np.float64)
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    limit = np.array([output_size[1], output_size[0]])
    low, high = np.clip(moved.min(axis=1), 0, limit), np.clip(moved.max(axis=1), 0, limit)
    return np.concatenate([low, high], axis=1).astype(np.float32)


def visible_boxes(
    before: Float32[np.ndarray, "N 4"], after: Float32[np.ndarray, "N 4"], scale: float, config: AugmentConfig
) -> Bool[np.ndarray, " N"]:
    """Return which boxes to keep: large enough, sufficiently visible, and not too narrow (docs/yolox.md, 7.3).

    Args:
        before: boxes on the canvas.
        after: the same boxes on the output, clipped to it.
        scale: the zoom between them; it multiplies areas by its square.
        config: the three thresholds.
    """
    sides_before = np.maximum(before[:, 2:] - before[:, :2], 0.0)
    sides = np.maximum(after[:, 2:] - after[:, :2], 0.0)
    shorter, longer = sides.min(axis=1), sides.max(axis=1)
    scaled_area = sides_before.prod(axis=1) * scale**2
    return (
        (shorter > config.min_side_px)
        & (sides.prod(axis=1) > config.min_visible * scaled_area)
        & (longer < config.max_aspect * shorter)
    )


def apply_affine(
    objects: Objects, draw: AffineDraw, input_size: tuple[int, int], config: AugmentConfig
) -> tuple[Float64[np.ndarray, "2 3"], Objects]:
    """Return the matrix from the canvas of a mosaic to the output, and the transformed objects.

    The centred geometry also filters the objects, see `visible_boxes`.
    """
    if config.mosaic_geometry == "corner":
        matrix = corner_matrix(draw, input_size)
        return matrix, objects._replace(boxes=transform_boxes(objects.boxes, matrix, input_size))
    matrix = centred_matrix(draw, (2 * input_size[0], 2 * input_size[1]), input_size)
    boxes = transform_boxes(objects.boxes, matrix, input_size)
    kept = visible_boxes(objects.boxes, boxes, draw.scale, config)
    return matrix, objects._replace(boxes=boxes).keep(kept)
