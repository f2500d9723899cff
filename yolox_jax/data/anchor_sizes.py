"""Clusters the sizes of boxes into anchor boxes, and measures how well anchor boxes fit."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from yolox_jax.config import NUM_LEVELS
from yolox_jax.data.dataset import DataError

MOST_CLUSTERED = 50_000
"""Maximum number of boxes to cluster; of more, this many are drawn at random."""

RESTARTS = 10
"""Number of runs of k-means from different initial centres; the best one counts."""

LEAST_GAIN = 1e-5
"""A run ends when an iteration raises the mean best IoU by less than this."""

STEP_PX = 0.1
"""Anchor boxes are rounded to multiples of this."""

POOR_IOU = 0.5
"""Boxes whose best IoU is below this fit no anchor box."""

STRIDES_PX = (8, 16, 32)
"""Stride of each level."""

Sizes = Float[np.ndarray, "N 2"]
"""Widths and heights of boxes in px."""
Anchors = tuple[tuple[float, float], ...]
"""Widths and heights of anchor boxes in px."""


@dataclasses.dataclass(frozen=True)
class AnchorFit:
    """How well anchor boxes fit the boxes of a dataset, regardless of positions."""

    anchors: Anchors
    """By increasing area, as many for each level."""
    best_ious: Float[np.ndarray, " N"]
    """IoU of each box with the anchor box most similar in size, both centred at the same point."""
    nearest: Int[np.ndarray, " N"]
    """Index of that anchor box; the first of equal ones."""

    @property
    def mean_best_iou(self) -> float:
        """The mean of `best_ious`."""
        return float(self.best_ious.mean())

    @property
    def share_below(self) -> float:
        """Share of boxes whose best IoU is below `POOR_IOU`."""
        return float((self.best_ious < POOR_IOU).mean())

    @property
    def levels(self) -> Int[np.ndarray, " N"]:
        """Level of the most similar anchor box: 0 is that of the smallest stride."""
        return self.nearest * NUM_LEVELS // len(self.anchors)

    @property
    def level_shares(self) -> tuple[float, ...]:
        """Share of boxes whose most similar anchor box is on each level."""
        return tuple((np.bincount(self.levels, minlength=NUM_LEVELS) / len(self.levels)).tolist())


def measure_fit(sizes: Sizes, anchors: Anchors) -> AnchorFit:
    """Compare boxes with anchor boxes; `sizes` is not empty."""
    ious = _ious(sizes, np.array(anchors, np.float64))
    return AnchorFit(anchors, ious.max(axis=1), ious.argmax(axis=1))


def by_level(anchors: Anchors) -> list[Anchors]:
    """Split anchor boxes evenly over the levels.

    >>> by_level(((1.0, 2.0), (3.0, 2.0), (4.0, 4.0)))
    [((1.0, 2.0),), ((3.0, 2.0),), ((4.0, 4.0),)]
    """
    each = len(anchors) // NUM_LEVELS
    return [anchors[level * each : (level + 1) * each] for level in range(NUM_LEVELS)]


def cluster_sizes(sizes: Sizes, count: int, *, seed: int) -> Anchors:
    """Cluster the sizes of boxes by k-means with 1 - IoU as the distance (arXiv 1612.08242, section 2).

    The centre of a cluster is the median of its widths and that of its heights: the mean, which large boxes dominate,
    gives a lower mean IoU. Initial centres are drawn as in k-means++. Of several runs, the result with the largest mean
    best IoU is returned.

    Args:
        sizes: widths and heights in px, all above 0.
        count: the number of anchor boxes.
        seed: determines every random choice.

    Returns:
        The anchor boxes by increasing area, rounded to `STEP_PX`.

    Raises:
        DataError: there are fewer distinct sizes than anchor boxes.
    """
    num_distinct = len(np.unique(np.round(sizes / STEP_PX), axis=0))
    if num_distinct < count:
        raise DataError(
            f"{len(sizes)} boxes have only {num_distinct} distinct sizes (to {STEP_PX:g} px), which cannot be "
            f"clustered into {count} anchor boxes. Add data, or pass a smaller --count.",
            kind="too few distinct boxes",
        )
    rng = np.random.default_rng(seed)
    if len(sizes) > MOST_CLUSTERED:
        sizes = sizes[rng.choice(len(sizes), MOST_CLUSTERED, replace=False)]
    runs = [_rounded(_k_means(sizes, count, rng)) for _ in range(RESTARTS)]
    return max(runs, key=lambda anchors: measure_fit(sizes, anchors).mean_best_iou)


def _k_means(sizes: Sizes, count: int, rng: np.random.Generator) -> Float[np.ndarray, "K 2"]:
    centres, reached = _initial_centres(sizes, count, rng), -np.inf
    while True:
        ious = _ious(sizes, centres)
        nearest, best = ious.argmax(axis=1), ious.max(axis=1)
        if best.mean() < reached + LEAST_GAIN:
            return centres
        reached = best.mean()
        members = [sizes[nearest == cluster] for cluster in range(count)]
        # The boxes that fit worst, for clusters that have lost all of theirs.
        spare = iter(sizes[np.argpartition(best, count - 1)[:count]])
        centres = np.array([np.median(own, axis=0) if len(own) else next(spare) for own in members])


def _initial_centres(sizes: Sizes, count: int, rng: np.random.Generator) -> Float[np.ndarray, "K 2"]:
    """Draw sizes with a probability proportional to the squared distance to the nearest one drawn before."""
    centres = sizes[rng.integers(len(sizes))][None]
    nearest = _ious(sizes, centres)[:, 0]
    while len(centres) < count:
        weights = (1 - nearest) ** 2
        total = weights.sum()
        # The sum is 0 if the boxes drawn from a large dataset have fewer distinct sizes than there are clusters.
        drawn = sizes[rng.choice(len(sizes), p=weights / total if total > 0 else None)][None]
        centres = np.concatenate([centres, drawn])
        nearest = np.maximum(nearest, _ious(sizes, drawn)[:, 0])
    return centres


def _ious(sizes: Sizes, anchors: Float[np.ndarray, "K 2"]) -> Float[np.ndarray, "N K"]:
    intersections = np.minimum(sizes[:, None, 0], anchors[:, 0]) * np.minimum(sizes[:, None, 1], anchors[:, 1])
    return intersections / (sizes.prod(axis=1)[:, None] + anchors.prod(axis=1) - intersections)


def _rounded(centres: Float[np.ndarray, "K 2"]) -> Anchors:
    """The centres by increasing area, as multiples of `STEP_PX` above 0."""
    sizes = [(max(round(width, 1), STEP_PX), max(round(height, 1), STEP_PX)) for width, height in centres.tolist()]
    return tuple(sorted(sizes, key=lambda size: (size[0] * size[1], size)))
