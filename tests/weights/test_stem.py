"""Weights for images with other numbers of channels."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lively import lively_model
from yolox_jax.config import ConfigError
from yolox_jax.data.image import read_image
from yolox_jax.data.letterbox import letterbox
from yolox_jax.data.pixel_format import PixelFormat
from yolox_jax.models import YOLOX, create_model, summarize
from yolox_jax.models.blocks import Focus
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.weights import export_state_dict, load_state_dict, load_weights, save_weights
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


def test_loading_adapts_the_stem_and_says_so(colours: YOLOX) -> None:
    weights, grey = export_state_dict(colours), create_model("yolox_nano", 3, channels=1)
    report = load_state_dict(grey, weights, strict=False)
    assert not report.missing and report.channels == (3, 1)
    assert "first convolution adapted (3 → 1 channel)" in report.summary()
    for key, value in export_state_dict(grey).items():
        np.testing.assert_array_equal(value, with_channels(weights, 1)[key])


@pytest.mark.slow
def test_published_weights_see_grey_images_as_they_see_three_equal_channels(shared: Path) -> None:
    models = [create_model("yolox_nano", channels=channels) for channels in (1, 3)]
    for model in models:
        load_weights(model, shared / "weights/yolox_nano.pth", strict=False)
        model.eval()
    paths = sorted((shared / "data/coco_val2017_100/images").iterdir())[:4]
    images = np.stack([letterbox(read_image(path, PixelFormat(1, 8)), (224, 224))[0] for path in paths])
    forward = nnx.jit(lambda model, images: model(images))
    grey, equal = (
        np.asarray(forward(model, jnp.asarray(np.repeat(images, model.channels, axis=3), jnp.float32)))
        for model in models
    )
    np.testing.assert_allclose(grey, equal, atol=1e-3)


def test_plain_stem_of_darknet53_is_adapted_too() -> None:
    kernel = np.random.default_rng(0).normal(size=(32, 3, 3, 3)).astype(np.float32)
    name = "backbone.backbone.stem.0.conv.weight"
    assert image_channels({name: kernel}) == 3
    np.testing.assert_allclose(with_channels({name: kernel}, 1)[name], kernel.sum(axis=1, keepdims=True), atol=1e-6)
    blue, green, red, blue_again = np.moveaxis(with_channels({name: kernel}, 4)[name], 1, 0)
    for channel, part in ((0, blue + blue_again), (1, green), (2, red)):
        np.testing.assert_allclose(part, kernel[:, channel], atol=1e-6)
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
