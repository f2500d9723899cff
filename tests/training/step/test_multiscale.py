"""The size of each step and the resize on the device."""

import jax.numpy as jnp
import numpy as np

from yolox_jax.structures import Targets
from yolox_jax.training.step.multiscale import input_size_at, resize_batch


def test_size_changes_every_ten_steps_within_its_range_and_follows_from_seed_and_step():
    draw = lambda step, seed=0: input_size_at(step, base=(416, 416), range_px=(320, 640), interval=10, seed=seed)  # noqa: E731
    assert {draw(step) for step in range(10)} == {(416, 416)}
    heights = [draw(step)[0] for step in range(10, 3000)]
    assert all(len(set(heights[i : i + 10])) == 1 for i in range(0, len(heights) - 9, 10))
    assert set(heights) == set(range(320, 641, 32))
    assert heights == [draw(step)[0] for step in range(10, 3000)]
    assert heights != [draw(step, seed=1)[0] for step in range(10, 3000)]


def test_rectangular_sizes_keep_their_proportion():
    sizes = {input_size_at(step, base=(384, 640), range_px=(320, 448), interval=1, seed=0) for step in range(1, 50)}
    assert sizes == {(32 * k, 32 * int(k * 640 / 384)) for k in range(10, 15)}


def test_sizes_of_a_network_with_a_level_of_stride_64_are_multiples_of_64():
    draw = lambda step: input_size_at(step, base=(448, 640), range_px=(320, 448), interval=1, seed=0, stride=64)  # noqa: E731
    assert {draw(step) for step in range(1, 50)} == {(64 * k, 64 * int(k * 640 / 448)) for k in (5, 6, 7)}


def test_resize_is_bilinear_about_half_pixel_centres_without_antialiasing():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1, 64, 96, 3)).astype(np.uint8)
    targets = Targets(jnp.asarray([[[48.0, 32.0, 20.0, 10.0]]]), jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool))
    for size in ((96, 160), (32, 64)):
        resized, scaled = resize_batch(jnp.asarray(images), targets, size)
        np.testing.assert_allclose(resized, _bilinear(images, size), atol=5e-3)
        x, y = size[1] / 96, size[0] / 64
        np.testing.assert_allclose(scaled.boxes[0, 0], [48 * x, 32 * y, 20 * x, 10 * y], rtol=1e-6)


def _bilinear(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each output pixel from its four neighbours, the border repeated: torch's interpolate, written out."""
    out = images.astype(np.float64)
    for axis, length in ((1, size[0]), (2, size[1])):
        source = out.shape[axis]
        centre = np.clip((np.arange(length) + 0.5) * source / length - 0.5, 0, source - 1)
        low = np.floor(centre).astype(int)
        high = np.minimum(low + 1, source - 1)
        share = (centre - low).reshape([-1 if i == axis else 1 for i in range(4)])
        out = np.take(out, low, axis) * (1 - share) + np.take(out, high, axis) * share
    return out
