"""Ranges of activations from the distribution of their values."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from yolox_jax.export.quantization import Quantization

NUM_BINS = 4096
"""The range is exact to a bin."""
NUM_LEVELS = 256
_NUM_CANDIDATES = 128
"""Ranges that `entropy_range` tries."""


class Histogram(NamedTuple):
    """The distribution of all values of an activation, in `NUM_BINS` bins of equal width."""

    lowest: float
    highest: float
    counts: Int[np.ndarray, " bins"]

    @property
    def edges(self) -> Float[np.ndarray, " edges"]:
        """Of the bins, in order."""
        return np.linspace(self.lowest, self.highest, len(self.counts) + 1)


def count_values(values: Shaped[np.ndarray, "..."], lowest: float, highest: float) -> Int[np.ndarray, " bins"]:
    """Count values, all from `lowest` to `highest`, in `NUM_BINS` bins of equal width."""
    # Several times as fast as np.histogram, whose bins need not have equal widths.
    scaled = (values.ravel() - np.float32(lowest)) * np.float32(NUM_BINS / max(highest - lowest, 1e-30))
    return np.bincount(np.clip(scaled.astype(np.int32), 0, NUM_BINS - 1), minlength=NUM_BINS)


def choose_range(histogram: Histogram, quantization: Quantization) -> tuple[float, float]:
    """Return the lowest and the highest value that 8 bits are to represent."""
    match quantization.method:
        case "minmax":
            return histogram.lowest, histogram.highest
        case "percentile":
            return percentile_range(histogram, quantization.percentile)
        case "entropy":
            return entropy_range(histogram)


def percentile_range(histogram: Histogram, percentile: float) -> tuple[float, float]:
    """Return the smallest range of whole bins with at most `100 - percentile` per cent of the values on either side."""
    below = np.cumsum(histogram.counts)
    outside = (1 - percentile / 100) * below[-1]
    first = int(np.searchsorted(below, outside, side="right"))
    above = below[-1] - below
    last = int(np.argmax(above <= outside))
    return float(histogram.edges[first]), float(histogram.edges[last + 1])


def entropy_range(histogram: Histogram) -> tuple[float, float]:
    """Return the range that loses the least information, measured by the Kullback-Leibler divergence.

    As TensorRT does (Migacz, "8-bit inference with TensorRT", GTC 2017): for each threshold, the values beyond it are
    counted at the ends of the range, and the distribution is compared with itself in 256 levels. Here the range is what
    lies within the threshold of both signs, because an activation such as SiLU has few values below 0.
    """
    edges, counts = histogram.edges, histogram.counts.astype(np.float64)
    largest = max(-histogram.lowest, histogram.highest)
    best = (np.inf, histogram.lowest, histogram.highest)
    for threshold in largest * np.arange(1, _NUM_CANDIDATES + 1) / _NUM_CANDIDATES:
        inside = np.flatnonzero((edges[1:] > -threshold) & (edges[:-1] < threshold))
        if len(inside) < NUM_LEVELS:  # so few bins cannot tell what quantisation loses
            continue
        first, last = int(inside[0]), int(inside[-1])
        divergence = _divergence(counts, first, last + 1)
        if divergence < best[0]:
            best = divergence, float(edges[first]), float(edges[last + 1])
    return best[1:]


def _divergence(counts: Float[np.ndarray, " bins"], first: int, stop: int) -> float:
    """From the distribution clipped to the bins `first` to `stop`, to what is left of it in 256 levels."""
    inner = counts[first:stop]
    clipped = inner.copy()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[stop:].sum()
    level = np.arange(len(inner)) * NUM_LEVELS // len(inner)
    occupied = inner > 0
    share = np.bincount(level, inner) / np.maximum(np.bincount(level, occupied), 1)
    quantized = np.where(occupied, share[level], 0)
    some = clipped > 0
    p = clipped[some] / clipped.sum()
    q = np.maximum(quantized[some] / max(quantized.sum(), 1), 1e-9)  # a bin that holds only what was clipped
    return float((p * np.log(p / q)).sum())
