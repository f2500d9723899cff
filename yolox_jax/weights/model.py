"""The network that a file of weights belongs to."""

from pathlib import Path

from yolox_jax.config import ConfigError
from yolox_jax.models.yolox import YOLOX, create_model
from yolox_jax.weights.files import read_weights
from yolox_jax.weights.names import describe
from yolox_jax.weights.published import resolve
from yolox_jax.weights.transfer import load_state_dict


def read_model(weights: str | Path, variant: str | None = None) -> tuple[YOLOX, dict[str, str]]:
    """A network with its weights, and the metadata beside them.

    Args:
        weights: .pth, .safetensors, .npz, a run directory, or the name of a published network.
        variant: what it has to be.

    Raises:
        ConfigError: it is another variant.
        FileNotFoundError, WeightsError: as `read_weights` and `resolve`.
    """
    file = read_weights(resolve(weights))
    found, num_classes = describe(file.state_dict)
    if variant not in (None, found):
        raise ConfigError(f"{weights} holds the weights of {found}, but the variant asked for is {variant}")
    model = create_model(found, num_classes)
    load_state_dict(model, file.state_dict)
    return model, file.metadata
