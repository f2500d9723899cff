"""The training step against the original, step by step, and its compilations."""

from pathlib import Path

import numpy as np
import optax
import pytest

from reference import procedural
from started import scalars_at, started
from yolox_jax.config import Config, TrainConfig
from yolox_jax.models.yolox import create_model
from yolox_jax.training.validation import averaged_model
from yolox_jax.weights import export_state_dict, load_state_dict

REFERENCE = Path(__file__).parents[2] / "reference"
PARTS = ("loss", "iou", "objectness", "classification", "l1", "num_foreground")


def make_batch(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """A batch as the loader gives it; `labels` hold class, cx, cy, w, h, empty rows zero."""
    return {
        "images": images.astype(np.uint8),
        "boxes": labels[..., 1:].astype(np.float32),
        "classes": labels[..., 0].astype(np.int32),
        "valid": labels.sum(-1) > 0,
    }


@pytest.mark.parametrize("variant", ["nano", pytest.param("tiny", marks=pytest.mark.slow)])
def test_steps_follow_the_original(variant):
    reference = np.load(REFERENCE / f"train_{variant}.npz")
    model = create_model(f"yolox_{variant}", 20)
    seed, fresh = int(reference["seed"]), True
    start = {key: procedural.weight(key, value.shape, seed, fresh) for key, value in export_state_dict(model).items()}
    load_state_dict(model, start)
    config = Config(train=TrainConfig(batch_size=4, ema_decay=0.9998))
    graphdef, state, step = started(config, model)
    images = procedural.scenes(tuple(reference["image_shape"]), int(reference["image_seed"]))
    batch = make_batch(images, reference["labels"])
    size = images.shape[1:3]

    for number, losses in enumerate(reference["losses"]):
        l1_weight = float(number >= reference["l1_from_step"])
        scalars = scalars_at(config, number, reference["lr"][number], l1_weight)
        state, metrics = step(state, batch, scalars, size=size)
        objects = batch["valid"].sum()
        found = [float(metrics[name]) for name in PARTS[:-1]] + [float(metrics["num_foreground"]) / objects]
        np.testing.assert_allclose(found, losses[:6], rtol=1e-4, err_msg=f"step {number}")
        if number == 0:
            _assert_gradients(graphdef, state, start, reference)

    raw = _norms(averaged_model(graphdef, state._replace(ema_params=state.params, ema_batch_stats=state.batch_stats)))
    average = _norms(averaged_model(graphdef, state))
    for key, norm, ema_norm in zip(reference["keys"], reference["norm"], reference["ema_norm"], strict=True):
        _assert_norm(raw[key], norm, key)
        _assert_norm(average[key], ema_norm, f"average of {key}")
    final = export_state_dict(averaged_model(graphdef, state._replace(ema_params=state.params)))
    for name in reference.files:
        if name.startswith("final/") and "running" not in name:
            np.testing.assert_allclose(final[name[6:]], reference[name], rtol=1e-3, atol=1e-6, err_msg=name)


def _assert_gradients(graphdef, state, start, reference) -> None:
    """After one step the momentum is the gradient, plus the decay of the kernels."""
    momentum = optax.tree_utils.tree_get(state.opt_state, "trace")
    found = export_state_dict(averaged_model(graphdef, state._replace(ema_params=momentum)))
    for key, norm in zip(reference["grad_keys"], reference["first_grad_norm"], strict=True):
        decay = Config().optimizer.weight_decay if key.endswith("conv.weight") or "_preds" in key else 0.0
        decay = 0.0 if key.endswith("bias") else decay
        gradient = found[key].astype(np.float64) - decay * start[key]
        assert np.linalg.norm(gradient) == pytest.approx(norm, rel=1e-3, abs=1e-5), key


def _norms(model) -> dict[str, float]:
    return {key: float(np.linalg.norm(value.astype(np.float64))) for key, value in export_state_dict(model).items()}


def _assert_norm(found: float, expected: float, name: str) -> None:
    tolerance = 1e-6 if expected < 1e-3 else 1e-3 * expected
    assert abs(found - expected) <= tolerance, f"{name}: {found} instead of {expected}"
