"""The step on several devices against the same arithmetic written out for each share of the batch, without a mesh."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
BATCH_SIZE, SIDE_PX, LEARNING_RATE, MOMENTUM = 4, 64, 0.01, 0.9


@pytest.fixture(scope="module", params=[1, 4])
def differences(request) -> dict[str, float]:
    """What `main` below prints, in a process of its own, which alone can have another number of devices."""
    flags = f"--xla_force_host_platform_device_count={request.param}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found.pop("devices") == request.param
    return found


def test_losses_are_normalised_by_the_positives_of_the_whole_batch(differences):
    assert differences["metrics"] < 1e-4


def test_gradients_and_weights_are_those_of_the_whole_batch(differences):
    assert differences["gradients"] < 1e-4
    assert differences["params"] < 1e-4


def test_batch_statistics_are_the_mean_of_those_of_the_devices(differences):
    assert differences["batch_stats"] < 1e-4


def test_two_steps_compile_once(differences):
    assert differences["compilations"] == 1


def make_batch():
    """Images with 1, 0, 7 and 3 objects: a step that lets each device normalise its own share is far off."""
    import numpy as np

    rng = np.random.default_rng(0)
    slots = 8
    return {
        "images": rng.integers(0, 256, (BATCH_SIZE, SIDE_PX, SIDE_PX, 3)).astype(np.uint8),
        "boxes": rng.uniform(12, 52, (BATCH_SIZE, slots, 4)).astype(np.float32),
        "classes": rng.integers(0, 3, (BATCH_SIZE, slots)).astype(np.int32),
        "valid": np.arange(slots) < np.array([1, 0, 7, 3])[:, None],
    }


def expected_step(graphdef, state, batch, num_devices):
    """Metrics, gradients and batch statistics of one step: each share by itself, then put together by hand."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from yolox_jax.losses import detection_loss
    from yolox_jax.structures import Targets

    @jax.jit
    def of_share(params, images, targets):
        def loss(params):
            model = nnx.merge(graphdef, params, state.batch_stats, copy=True)
            raw = model(images.astype(jnp.float32))
            total, parts = detection_loss(raw, targets, image_size=(SIDE_PX, SIDE_PX), l1_weight=1.0)
            # Back to sums over anchors, which can be added up over the shares.
            count = parts.pop("num_foreground")
            sums = jax.tree.map(lambda x: x * jnp.maximum(count, 1), {"loss": total, **parts})
            return sums["loss"], (sums, count, nnx.state(model, nnx.BatchStat))

        return jax.grad(loss, has_aux=True)(params)

    shares = []
    for rows in jnp.split(jnp.arange(BATCH_SIZE), num_devices):
        targets = Targets(*(jnp.asarray(batch[name])[rows] for name in ("boxes", "classes", "valid")))
        shares.append(of_share(state.params, batch["images"][rows], targets))
    add = lambda trees: jax.tree.map(lambda *leaves: sum(leaves), *trees)  # noqa: E731
    num_foreground = sum(count for _, (_, count, _) in shares)
    gradients, sums = add([(gradients, sums) for gradients, (sums, _, _) in shares])
    gradients, metrics = jax.tree.map(lambda x: x / jnp.maximum(num_foreground, 1), (gradients, sums))
    batch_stats = jax.tree.map(lambda x: x / num_devices, add([stats for _, (_, _, stats) in shares]))
    return {**metrics, "num_foreground": num_foreground}, gradients, batch_stats


def difference(found, expected) -> float:
    """Largest difference in any array, relative to the largest value of that array."""
    import jax
    import numpy as np

    def of_arrays(a, b):
        return float(np.max(np.abs(np.asarray(a) - np.asarray(b))) / max(np.max(np.abs(b)), 1e-6))

    return max(jax.tree.leaves(jax.tree.map(of_arrays, found, expected)))


def main() -> None:
    """Takes a step both ways, then one more, and prints how they differ."""
    import jax
    import optax

    from yolox_jax.config import Config, OptimizerConfig, TrainConfig
    from yolox_jax.models.yolox import create_model
    from yolox_jax.training.mesh import create_mesh, replicated, split_over_devices
    from yolox_jax.training.optimizer import sgd
    from yolox_jax.training.state import create_train_state
    from yolox_jax.training.step import make_train_step

    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **about: (
            compiled.append(about["fun_name"]) if event == "/jax/core/compile/backend_compile_duration" else None
        )
    )
    # Without decay, the momentum after one step is the gradient.
    config = Config(optimizer=OptimizerConfig(momentum=MOMENTUM, weight_decay=0.0), train=TrainConfig(BATCH_SIZE))
    model = create_model("yolox_nano", 3, seed=0)
    model.train()
    optimizer = sgd(config.optimizer, lambda step: LEARNING_RATE)
    graphdef, state = create_train_state(model, optimizer)
    batch = make_batch()
    metrics, gradients, batch_stats = expected_step(graphdef, state, batch, jax.device_count())
    params = jax.tree.map(lambda p, g: p - LEARNING_RATE * (1 + MOMENTUM) * g, state.params, gradients)

    mesh = create_mesh(BATCH_SIZE)
    step = make_train_step(graphdef, optimizer, config, mesh)
    state = jax.device_put(state, replicated(mesh))
    batch = jax.device_put(batch, split_over_devices(mesh))
    state, found = step(state, batch, 1.0, size=(SIDE_PX, SIDE_PX))
    found.pop("gradient_norm")
    differences = {
        "devices": jax.device_count(),
        "metrics": difference(found, metrics),
        "gradients": difference(optax.tree_utils.tree_get(state.opt_state, "trace"), gradients),
        "params": difference(state.params, params),
        "batch_stats": difference(state.batch_stats, batch_stats),
    }
    step(state, batch, 1.0, size=(SIDE_PX, SIDE_PX))
    print(json.dumps(differences | {"compilations": compiled.count("jit(step)")}))


if __name__ == "__main__":
    main()
