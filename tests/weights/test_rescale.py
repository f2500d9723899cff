"""Rescaling filters keeps the function and evens out their norms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolox_jax.models import create_model
from yolox_jax.weights import export_state_dict, load_state_dict
from yolox_jax.weights.rescale import FILTER_NORM, rescale_filters


@pytest.fixture(scope="module")
def folded_like() -> dict[str, np.ndarray]:
    """Weights of which every channel has another scale, over seven orders of magnitude, and statistics to match."""
    random = np.random.default_rng(0)
    weights = export_state_dict(create_model("yolox_nano", 2))
    for key in [key for key in weights if key.endswith("running_var")]:
        module = key.rpartition(".")[0]
        scale = 10 ** random.uniform(-4, 3, len(weights[key])).astype(np.float32)
        weights[f"{module.removesuffix('bn')}conv.weight"] *= scale[:, None, None, None]
        weights[key] = scale**2 * random.uniform(0.5, 2, len(scale)).astype(np.float32)
        weights[f"{module}.running_mean"] = scale * random.normal(size=len(scale)).astype(np.float32)
        weights[f"{module}.weight"] = random.uniform(0.5, 2, len(scale)).astype(np.float32)
    return weights


def test_the_network_computes_the_same_after_rescaling(folded_like: dict[str, np.ndarray]) -> None:
    image = jnp.asarray(np.random.default_rng(1).uniform(0, 255, (1, 64, 64, 3)), jnp.float32)
    outputs = []
    for weights in (folded_like, rescale_filters(folded_like)):
        model = create_model("yolox_nano", 2)
        load_state_dict(model, weights)
        model.eval()
        outputs.append(np.asarray(jax.jit(lambda x, model=model: model(x))(image)))
    assert np.ptp(outputs[0]) > 0.1
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-3, atol=1e-3 * np.abs(outputs[0]).max())


def test_every_filter_before_batch_norm_has_the_same_norm(folded_like: dict[str, np.ndarray]) -> None:
    rescaled = rescale_filters(folded_like)
    kernels = [
        key for key in rescaled if key.endswith("conv.weight") and f"{key[: -len('conv.weight')]}bn.bias" in rescaled
    ]
    assert len(kernels) > 100
    for key in kernels:
        norms = np.linalg.norm(rescaled[key].reshape(len(rescaled[key]), -1), axis=1)
        np.testing.assert_allclose(norms, FILTER_NORM, rtol=1e-5)


@pytest.mark.parametrize("dead", [0, 1e-30])
def test_predictions_without_batch_norm_and_dead_filters_stay(folded_like: dict[str, np.ndarray], dead: float) -> None:
    weights = dict(folded_like)
    stem = "backbone.backbone.stem.conv"
    weights[f"{stem}.conv.weight"] = weights[f"{stem}.conv.weight"].copy()
    weights[f"{stem}.conv.weight"][0] = dead
    rescaled = rescale_filters(weights)
    assert np.array_equal(rescaled["head.cls_preds.0.weight"], weights["head.cls_preds.0.weight"])
    np.testing.assert_array_equal(rescaled[f"{stem}.conv.weight"][0], weights[f"{stem}.conv.weight"][0])
    assert rescaled[f"{stem}.bn.running_var"][0] == weights[f"{stem}.bn.running_var"][0]
    assert all(np.isfinite(array).all() for array in rescaled.values())


def test_half_precision_weights_do_not_overflow(folded_like: dict[str, np.ndarray]) -> None:
    half = {key: array.astype(np.float16) for key, array in export_state_dict(create_model("yolox_nano", 2)).items()}
    half["backbone.backbone.stem.conv.conv.weight"] = half["backbone.backbone.stem.conv.conv.weight"] * np.float16(1e-3)
    assert all(np.isfinite(array).all() for array in rescale_filters(half).values())
