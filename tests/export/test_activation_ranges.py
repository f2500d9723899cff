"""Ranges of activations from histograms, against all values at once."""

import numpy as np
import pytest

from yolox_jax.export.activation_ranges import (
    NUM_BINS,
    Histogram,
    choose_range,
    count_values,
    entropy_range,
    percentile_range,
)
from yolox_jax.export.quantization import Quantization

RNG = np.random.default_rng(0)
VALUES = {
    "normal": RNG.normal(size=100_000),
    "silu": (lambda x: x / (1 + np.exp(-x)))(RNG.normal(size=100_000, scale=3)),
    "far from 0": RNG.uniform(5, 6, 100_000),
    "constant": np.full(1000, 0.3),
}


def histogram(values: np.ndarray) -> Histogram:
    values = values.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    return Histogram(low, high, count_values(values, low, high))


@pytest.mark.parametrize("name", ["normal", "silu", "far from 0"])
def test_every_value_is_counted_in_the_bin_that_numpy_puts_it_in(name):
    found = histogram(VALUES[name])
    expected = np.histogram(VALUES[name], NUM_BINS, (found.lowest, found.highest))[0]
    assert found.counts.sum() == len(VALUES[name])
    # Rounding moves values at an edge to the next bin.
    assert np.abs(np.cumsum(found.counts) - np.cumsum(expected))[:-1].max() <= 1e-4 * len(VALUES[name])


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("percentile", [99.0, 99.9, 99.99, 100.0])
def test_percentiles_are_those_of_all_values_to_a_bin(name, percentile):
    values = VALUES[name]
    expected = np.percentile(values, [100 - percentile, percentile])
    found = percentile_range(histogram(values), percentile)
    np.testing.assert_allclose(found, expected, atol=2.5 * np.ptp(values) / NUM_BINS + 1e-6)


def test_minmax_holds_all_values():
    quantization = Quantization("photos", method="minmax")
    assert choose_range(histogram(VALUES["silu"]), quantization) == pytest.approx(
        (VALUES["silu"].min(), VALUES["silu"].max())
    )


def test_entropy_gives_up_values_far_out_but_none_of_a_uniform_distribution():
    outlier = np.append(VALUES["normal"], 100.0)
    low, high = entropy_range(histogram(outlier))
    assert -6 < low < -2 and 2 < high < 10
    uniform = histogram(RNG.uniform(-1, 1, 100_000))
    assert entropy_range(uniform) == pytest.approx((-1, 1), abs=0.02)


def test_entropy_keeps_the_short_end_of_an_activation():
    low, high = entropy_range(histogram(VALUES["silu"]))
    assert low == pytest.approx(VALUES["silu"].min(), abs=0.01) and 3 < high <= VALUES["silu"].max() + 1e-5
