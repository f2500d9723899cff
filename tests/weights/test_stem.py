"""Weights for images with other numbers of channels."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from lively import lively_model
from yolox_jax.config import ConfigError
from yolox_jax.models import YOLOX, create_model, summarize
from yolox_jax.models.blocks import Focus
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.weights import export_state_dict, load_state_dict, save_weights
from yolox_jax.weights.description import describe
from yolox_jax.weights.errors import WeightsError
from yolox_jax.weights.model import read_model
from yolox_jax.weights.stem import image_channels, with_channels

STEM = "backbone.backbone.stem.conv.conv.weight"


@pytest.fixture(scope="module")
def colours() -> YOLOX:
    return lively_model(seed=2)


@pytest.mark.parametrize("channels", [1, 2, 4, 8])
def test_images_of_equal_channels_give_the_same(colours: YOLOX, channels: int) -> None:
    weights = export_state_dict(colours)
    adapted = with_channels(weights, channels)
    assert adapted.keys() == weights.keys()
    assert [key for key in weights if adapted[key] is not weights[key]] == [STEM]
    grey = np.random.default_rng(0).uniform(0, 255, (2, 16, 24, 1)).astype(np.float32)
    outputs = []
    for kernel in (weights[STEM], adapted[STEM]):
        focus = Focus(kernel.shape[1] // 4, len(kernel), rng=np.random.default_rng(0))
        focus.conv.conv.kernel.set_value(jnp.asarray(kernel.transpose(2, 3, 1, 0)))
        outputs.append(np.asarray(focus.conv.conv(_patches(grey, kernel.shape[1] // 4), ForwardOptions())))
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-4 * np.abs(outputs[0]).max())


def _patches(grey: np.ndarray, channels: int) -> jnp.ndarray:
    """Space to depth of an image of equal channels: patch by patch, all channels of each."""
    patches = [grey[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    return jnp.asarray(np.concatenate([np.repeat(patch, channels, axis=3) for patch in patches], axis=3))


def test_one_channel_computes_what_three_equal_ones_do(colours: YOLOX) -> None:
    grey = create_model("yolox_nano", 3, channels=1)
    report = load_state_dict(grey, export_state_dict(colours), strict=False)
    assert not report.missing and report.channels == (3, 1)
    assert "first convolution adapted (3 → 1 channel)" in report.summary()
    images = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 1)).astype(np.float32)
    for model in (grey, colours):
        model.eval()
    expected = np.asarray(colours(jnp.asarray(np.repeat(images, 3, axis=3))))
    np.testing.assert_allclose(np.asarray(grey(jnp.asarray(images))), expected, atol=1e-3)


def test_plain_stem_of_darknet53_is_adapted_too() -> None:
    kernel = np.random.default_rng(0).normal(size=(32, 3, 3, 3)).astype(np.float32)
    name = "backbone.backbone.stem.0.conv.weight"
    assert image_channels({name: kernel}) == 3
    np.testing.assert_allclose(with_channels({name: kernel}, 1)[name], kernel.sum(axis=1, keepdims=True), rtol=1e-6)
    blue, green, red, blue_again = np.moveaxis(with_channels({name: kernel}, 4)[name], 1, 0)
    for channel, part in ((0, blue + blue_again), (1, green), (2, red)):
        np.testing.assert_allclose(part, kernel[:, channel], rtol=1e-6)
    np.testing.assert_array_equal(blue, blue_again)


def test_channels_are_told_from_the_weights_alone(tmp_path: Path) -> None:
    model = create_model("yolox_nano", 2, channels=5)
    weights = export_state_dict(model)
    assert describe(weights).channels == 5 and "images of 5 channels" in str(describe(weights))
    save_weights(tmp_path / "five.safetensors", weights, {})
    assert read_model(tmp_path / "five.safetensors")[0].channels == 5
    with pytest.raises(ConfigError, match="images of 5 channels, but --data.channels is 3. Pass --data.channels 5"):
        read_model(tmp_path / "five.safetensors", channels=3)
    with pytest.raises(WeightsError, match="images of 5 channels; the model is yolox_nano with 2 classes\\."):
        load_state_dict(create_model("yolox_nano", 2), weights)
    assert summarize(model, (64, 64)).parameters == sum(
        value.size for key, value in weights.items() if not key.endswith(("running_mean", "running_var"))
    )


def test_a_network_needs_a_channel() -> None:
    with pytest.raises(ConfigError, match="at least one channel; got 0"):
        create_model("yolox_nano", channels=0)
