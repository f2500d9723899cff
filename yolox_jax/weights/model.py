"""Creates the network that weights belong to."""

from pathlib import Path

from yolox_jax.config import ConfigError
from yolox_jax.models.yolox import YOLOX, create_model
from yolox_jax.weights.download import OnProgress
from yolox_jax.weights.files import read_weights
from yolox_jax.weights.names import describe
from yolox_jax.weights.published import resolve
from yolox_jax.weights.transfer import load_state_dict


def read_model(
    weights: str | Path, variant: str | None = None, *, on_progress: OnProgress | None = None
) -> tuple[YOLOX, dict[str, str]]:
    """Read weights, and create the network that they belong to.

    Args:
        weights: .pth, .safetensors, .npz, a run directory, or the name of a published network.
        variant: the expected variant, if any.
        on_progress: called while published weights are downloaded, see `yolox_jax.weights.download.OnProgress`.

    Returns:
        The network and the metadata of the weights.

    Raises:
        ConfigError: the weights belong to another variant.
        FileNotFoundError, WeightsError: see `read_weights` and `resolve`.
    """
    file = read_weights(resolve(weights, on_progress=on_progress))
    actual, num_classes = describe(file.state_dict)
    if variant not in (None, actual):
        raise ConfigError(f"{weights} holds weights of {actual}, not of {variant}")
    model = create_model(actual, num_classes)
    load_state_dict(model, file.state_dict)
    return model, file.metadata
