"""A small network whose scores differ from place to place, unlike those of a fresh one."""

from reference import procedural
from yolox_jax.config import ModelConfig
from yolox_jax.models import create_model
from yolox_jax.models.yolox import YOLOX
from yolox_jax.weights import export_state_dict, load_state_dict


def lively_model(seed: int, config: str | ModelConfig = "yolox_nano", *, channels: int = 3) -> YOLOX:
    """YOLOX-nano, or the network of a config, with three classes."""
    model = create_model(config, 3, channels=channels)
    state_dict = {key: procedural.weight(key, value.shape, seed) for key, value in export_state_dict(model).items()}
    stem = next(key for key in state_dict if key.startswith("backbone.backbone.stem") and key.endswith("conv.weight"))
    state_dict[stem] /= 100  # batch statistics are 0 and 1, pixels up to 255
    load_state_dict(model, state_dict)
    return model
