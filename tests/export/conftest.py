import pytest

from lively import lively_model
from yolox_jax.models import YOLOX


@pytest.fixture(scope="session")
def model() -> YOLOX:
    return lively_model(seed=1)
