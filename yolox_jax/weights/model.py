"""Creates the network that weights belong to."""

import json
from pathlib import Path
from typing import cast

from yolox_jax.config import ConfigError, ModelConfig, Variant
from yolox_jax.models.yolox import YOLOX, create_model
from yolox_jax.text import counted
from yolox_jax.weights.description import Description, describe
from yolox_jax.weights.download import OnProgress
from yolox_jax.weights.errors import WeightsError
from yolox_jax.weights.files import WeightsFile, read_weights
from yolox_jax.weights.published import resolve
from yolox_jax.weights.transfer import load_state_dict


def read_model(
    weights: str | Path,
    variant: str | None = None,
    *,
    channels: int | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[YOLOX, dict[str, str]]:
    """Read weights, and create the network that they belong to.

    Args:
        weights: .pth, .safetensors, .npz, a run directory, or the name of a published network.
        variant: the expected variant, if any.
        channels: the expected number of channels of the images (`data.channels`), if any.
        on_progress: called while published weights are downloaded, see `yolox_jax.weights.download.OnProgress`.

    Returns:
        The network and the metadata of the weights.

    Raises:
        ConfigError: the weights belong to another variant, or are for images with other channels.
        FileNotFoundError, WeightsError: see `read_weights` and `resolve`.
    """
    file = read_weights(resolve(weights, on_progress=on_progress))
    network = describe(file.state_dict)
    if variant not in (None, network.variant):
        raise ConfigError(f"{weights} holds weights of {network.variant}, not of {variant}")
    if channels not in (None, network.channels):
        raise ConfigError(
            f"{weights} holds weights for images of {counted(network.channels, 'channel')}, but --data.channels is "
            f"{channels}. Pass --data.channels {network.channels}, or the config of the run as --config"
        )
    config = ModelConfig(
        variant=cast(Variant, network.variant),
        head=network.head,
        strides=network.strides,
        anchors=_anchor_boxes(file, network, weights),
        end_to_end=network.end_to_end,
    )
    model = create_model(config, network.num_classes, channels=network.channels)
    load_state_dict(model, file.state_dict)
    return model, file.metadata


def _anchor_boxes(file: WeightsFile, network: Description, weights: str | Path) -> tuple[tuple[float, float], ...]:
    """The sizes of the anchor boxes, which are no weights and stand in the metadata; () if there are none."""
    if "anchors" not in file.metadata:
        if network.boxes_per_cell == 1:
            return ()
        raise WeightsError(
            f"{weights} holds weights of a network with anchor boxes, but not their sizes. Use a file that training "
            "wrote, or create the model with its ModelConfig and load the weights into it"
        )
    return tuple((float(width), float(height)) for width, height in json.loads(file.metadata["anchors"]))
