"""What `import yolox_jax` offers and what it loads."""

import subprocess
import sys

import pytest

import yolox_jax


def test_importing_the_package_loads_no_jax():
    code = "import sys, yolox_jax; sys.exit(' '.join({'jax', 'flax', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_public_names_are_resolved_on_first_use():
    from yolox_jax.models import create_model
    from yolox_jax.weights import load_weights

    assert yolox_jax.create_model is create_model
    assert yolox_jax.load_weights is load_weights
    assert {"Detector", "create_model", "load_weights", "__version__"} <= set(dir(yolox_jax))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = yolox_jax.create_modle
