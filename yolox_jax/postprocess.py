"""From network output to detections: decoding, and non-maximum suppression (docs/yolox.md, 3 and 9.2) or the best."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, ScalarLike

from yolox_jax.anchors import decode_boxes
from yolox_jax.boxes import cxcywh_to_xyxy, pairwise_iou
from yolox_jax.structures import Detections

_TILE = 128
"""Number of boxes decided together. It affects speed only."""


def decode(raw: Float[Array, "B A F"], *, image_size: tuple[int, int], per_cell: int = 1) -> Float[Array, "B A F"]:
    """Boxes in px and scores from the network output, in float32 (docs/yolox.md, 3).

    >>> decode(jnp.zeros((1, 21, 6)), image_size=(32, 32))[0, 1].tolist()
    [8.0, 0.0, 8.0, 8.0, 0.5, 0.5]

    Args:
        raw: network output: tx, ty, tw, th, objectness logit, class logits.
        image_size: height and width of the network input in px.
        per_cell: number of anchors in a cell, `model.boxes_per_cell`.

    Returns:
        Centre x, centre y, width and height in px, objectness and class probabilities.

    Raises:
        ValueError: the number of anchors does not match `image_size` and `per_cell`.
    """
    scores = jax.nn.sigmoid(raw[..., 4:].astype(jnp.float32))
    return jnp.concatenate([decode_boxes(raw[..., :4], image_size, per_cell), scores], axis=-1)


def postprocess(
    decoded: Float[Array, "B A F"],
    *,
    score_threshold: ScalarLike = 0.01,
    iou_threshold: ScalarLike = 0.65,
    class_agnostic: ScalarLike = False,
    max_detections: int = 1000,
    keep_classes: Bool[Array, " C"] | None = None,
) -> Detections:
    """Detections from decoded predictions by greedy non-maximum suppression (docs/yolox.md, 9.2).

    Each prediction takes its most probable class and the score objectness times class probability. In order of score, a
    box is kept unless its IoU with a kept box of the same class exceeds the threshold. The result is exact although all
    shapes are fixed. Among equal scores or classes the first wins. Thresholds may be traced, `max_detections` may not.

    >>> box, shifted = [8.0, 8.0, 8.0, 8.0], [9.0, 8.0, 8.0, 8.0]
    >>> decoded = jnp.array([[[*box, 1.0, 0.5, 0.0], [*shifted, 1.0, 0.75, 0.0], [*box, 1.0, 0.0, 0.25]]])
    >>> detections = postprocess(decoded, max_detections=3)
    >>> detections.scores.tolist(), detections.classes.tolist()
    ([[0.75, 0.25, 0.0]], [[0, 1, -1]])

    Args:
        decoded: output of `decode`.
        score_threshold: lowest score of a detection.
        iou_threshold: largest IoU of two detections of one class, above 0 and up to 1.
        class_agnostic: whether boxes of different classes suppress each other.
        max_detections: largest number of detections per image, K; the best are kept.
        keep_classes: mask of the classes to detect; predictions whose best class is not among them are
            dropped. None for all classes.

    Returns:
        Detections, best first, in pixels of the network input, not clipped to the image.

    Raises:
        ValueError: `max_detections` is below 1, or `iou_threshold` (unless traced) is not in (0, 1].
    """
    _check_settings(iou_threshold, max_detections)
    candidates = _candidates(decoded, keep_classes)
    groups = jnp.where(class_agnostic, 0, candidates.classes)
    kept, count = _suppress(candidates.boxes, candidates.scores, groups, score_threshold, iou_threshold, max_detections)
    return _detections(candidates, kept, count)


def best_detections(
    decoded: Float[Array, "B A F"],
    *,
    score_threshold: ScalarLike = 0.01,
    max_detections: int = 1000,
    keep_classes: Bool[Array, " C"] | None = None,
) -> Detections:
    """Detections of an end-to-end network, which need no suppression: the predictions with the best scores.

    Scores and classes are those of `postprocess`, and among equal scores the first prediction comes first.

    >>> box = [8.0, 8.0, 8.0, 8.0]
    >>> decoded = jnp.array([[[*box, 1.0, 0.5, 0.0], [*box, 1.0, 0.75, 0.0], [*box, 1.0, 0.0, 0.25]]])
    >>> detections = best_detections(decoded, score_threshold=0.3, max_detections=4)
    >>> detections.scores.tolist(), detections.classes.tolist()
    ([[0.75, 0.5, 0.0, 0.0]], [[0, 0, -1, -1]])

    Args:
        decoded: output of `decode`, with the logit of the one-to-one branch folded into objectness.
        score_threshold: lowest score of a detection; may be traced.
        max_detections: largest number of detections per image, K.
        keep_classes: see `postprocess`.

    Returns:
        Detections, best first, in pixels of the network input, not clipped to the image.

    Raises:
        ValueError: `max_detections` is below 1.
    """
    _check_max_detections(max_detections)
    candidates = _candidates(decoded, keep_classes)
    good = candidates.scores >= score_threshold
    # One stage rather than `yolox_jax.top_k`, which sorts: many runtimes of exported files have a kernel for it.
    num_best = min(max_detections, decoded.shape[1])
    _, best = lax.top_k(jnp.where(good, candidates.scores, -jnp.inf), num_best)
    count = jnp.minimum(jnp.sum(good, axis=1, dtype=jnp.int32), max_detections)
    return _detections(candidates, jnp.pad(best, ((0, 0), (0, max_detections - num_best))), count)


class _Candidates(NamedTuple):
    """All predictions."""

    boxes: Float[Array, "B A 4"]
    """x1, y1, x2, y2 in px."""
    scores: Float[Array, "B A"]
    """Objectness times the largest class probability; -inf where the class is not to be kept."""
    classes: Int[Array, "B A"]
    """The most probable class."""


def _candidates(decoded: Float[Array, "B A F"], keep_classes: Bool[Array, " C"] | None) -> _Candidates:
    decoded = decoded.astype(jnp.float32)
    class_scores = decoded[..., 5:]
    scores = decoded[..., 4] * jnp.max(class_scores, axis=-1)
    classes = jnp.argmax(class_scores, axis=-1).astype(jnp.int32)
    if keep_classes is not None:
        scores = jnp.where(keep_classes[classes], scores, -jnp.inf)
    return _Candidates(cxcywh_to_xyxy(decoded[..., :4]), scores, classes)


def _detections(candidates: _Candidates, kept: Int[Array, "B K"], count: Int[Array, "B"]) -> Detections:
    """The first `count` candidates of the indices in `kept`, padded to K."""
    boxes, scores, classes = candidates
    valid = jnp.arange(kept.shape[1]) < count[:, None]
    return Detections(
        boxes=jnp.where(valid[..., None], jnp.take_along_axis(boxes, kept[..., None], axis=1), 0.0),
        scores=jnp.where(valid, jnp.take_along_axis(scores, kept, axis=1), 0.0),
        classes=jnp.where(valid, jnp.take_along_axis(classes, kept, axis=1), -1),
        valid=valid,
    )


class _Progress(NamedTuple):
    """State of the suppression: every box ranked before `start` is decided."""

    start: Int[Array, ""]
    kept: Int[Array, "B K"]
    """Indices of the kept boxes, best first."""
    num_kept: Int[Array, "B"]
    """Number of kept boxes; later slots of `kept` are unused."""


def _suppress(
    boxes: Float[Array, "B A 4"],
    scores: Float[Array, "B A"],
    groups: Int[Array, "B A"],
    score_threshold: ScalarLike,
    iou_threshold: ScalarLike,
    max_detections: int,
) -> tuple[Int[Array, "B K"], Int[Array, "B"]]:
    """Greedy suppression within each group: indices of the kept boxes, best first, and their number.

    Boxes are ranked by score and decided one tile at a time, first against the kept boxes, then among themselves. Apart
    from the boxes themselves, no array is larger than a tile by `max_detections`.
    """
    good = scores >= score_threshold
    ranked = jnp.argsort(jnp.where(good, scores, -jnp.inf), axis=-1, stable=True, descending=True)
    num_good = jnp.sum(good, axis=-1)
    num_images = scores.shape[0]  # not len(), because it is symbolic in an export

    def conflicts(first: Int[Array, "B N"], second: Int[Array, "B M"]) -> Bool[Array, "B N M"]:
        first_boxes, second_boxes = (jnp.take_along_axis(boxes, i[..., None], axis=1) for i in (first, second))
        first_groups, second_groups = (jnp.take_along_axis(groups, i, axis=1) for i in (first, second))
        same = first_groups[:, :, None] == second_groups[:, None, :]
        return same & (pairwise_iou(first_boxes, second_boxes) > iou_threshold)

    def unfinished(progress: _Progress) -> Bool[Array, ""]:
        return jnp.any((progress.start < num_good) & (progress.num_kept < max_detections))

    def decide_tile(progress: _Progress) -> _Progress:
        start, kept, num_kept = progress
        rank = start + jnp.arange(_TILE)
        tile = jnp.take(ranked, rank, axis=1, mode="clip")
        is_kept = jnp.arange(max_detections) < num_kept[:, None]
        suppressed = jnp.any(conflicts(kept, tile) & is_kept[..., None], axis=1)
        stays = _resolve((rank < num_good[:, None]) & ~suppressed, jnp.triu(conflicts(tile, tile), k=1))
        slot = jnp.where(stays, num_kept[:, None] + jnp.cumsum(stays, axis=1) - 1, max_detections)
        kept = kept.at[jnp.arange(num_images)[:, None], slot].set(tile, mode="drop")
        num_kept = jnp.minimum(num_kept + jnp.sum(stays, axis=1, dtype=jnp.int32), max_detections)
        return _Progress(start + _TILE, kept, num_kept)

    initial = _Progress(
        start=jnp.zeros((), jnp.int32),
        kept=jnp.zeros((num_images, max_detections), jnp.int32),
        num_kept=jnp.zeros(num_images, jnp.int32),
    )
    final = lax.while_loop(unfinished, decide_tile, initial)
    return final.kept, final.num_kept


def _resolve(alive: Bool[Array, "B N"], beats: Bool[Array, "B N N"]) -> Bool[Array, "B N"]:
    """Return which alive boxes of a tile are kept. `beats[i, j]` (i < j) means that i, if kept, suppresses j.

    The rule "keep j if no kept box beats it" is repeated until nothing changes. Box i is final after at most i rounds,
    and most tiles are after two or three. The fixed point is the result of greedy suppression.
    """

    def changed(state: tuple[Bool[Array, "B N"], Bool[Array, "B N"]]) -> Bool[Array, ""]:
        return jnp.any(state[0] != state[1])

    def refine(state: tuple[Bool[Array, "B N"], Bool[Array, "B N"]]) -> tuple[Bool[Array, "B N"], Bool[Array, "B N"]]:
        stays, _ = state
        return alive & ~jnp.any(beats & stays[:, :, None], axis=1), stays

    stays, _ = lax.while_loop(changed, refine, refine((alive, alive)))
    return stays


def _check_settings(iou_threshold: ScalarLike, max_detections: int) -> None:
    _check_max_detections(max_detections)
    if isinstance(iou_threshold, (int, float)) and not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be above 0 and at most 1; got {iou_threshold}")


def _check_max_detections(max_detections: int) -> None:
    if max_detections < 1:
        raise ValueError(f"max_detections must be at least 1; got {max_detections}")
