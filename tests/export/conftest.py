import pytest

from reference import procedural
from yolox_jax.models import YOLOX, create_model
from yolox_jax.weights import export_state_dict, load_state_dict


@pytest.fixture(scope="session")
def model() -> YOLOX:
    """A network whose scores differ from place to place, unlike those of a fresh one."""
    model = create_model("yolox_nano", 3)
    state_dict = {key: procedural.weight(key, value.shape, 1) for key, value in export_state_dict(model).items()}
    state_dict["backbone.backbone.stem.conv.conv.weight"] /= 100  # batch statistics are 0 and 1, pixels up to 255
    load_state_dict(model, state_dict)
    return model
