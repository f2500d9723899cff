"""The step on several devices: against the same arithmetic written out without a mesh, and against one device."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
PATH = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
BATCH_SIZE, SIDE_PX, LEARNING_RATE, MOMENTUM = 8, 64, 0.01, 0.9


def printed(num_devices: int, *words: object) -> dict[str, Any]:
    """Run this file as a program and return what it prints. Only a new process can have another number of devices."""
    flags = f"--xla_force_host_platform_device_count={num_devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": PATH}
    run = subprocess.run(
        [sys.executable, __file__, *map(str, words)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    assert found.pop("devices") == num_devices
    return found


# Devices and the parts that each splits its images into.
@pytest.fixture(scope="module", params=[(1, 1), (8, 1), (2, 2)], ids=["1 device", "8 devices", "2 devices, 2 parts"])
def differences(request) -> dict[str, Any]:
    num_devices, parts = request.param
    return printed(num_devices, "shares", parts) | {"parts": parts}


def test_losses_are_normalised_by_the_positives_of_the_whole_batch(differences):
    assert differences["metrics"] < 1e-4


def test_gradients_and_weights_are_those_of_the_whole_batch(differences):
    assert differences["gradients"] < 1e-4
    assert differences["params"] < 1e-4


def test_batch_statistics_are_the_mean_of_those_of_the_devices(differences):
    if differences["parts"] == 1:  # those of parts follow one another
        assert differences["batch_stats"] < 1e-4


def test_two_steps_compile_once_with_few_collectives(differences):
    assert differences["compilations"] == 1
    # The number of positives, and everything that is summed at the end.
    assert differences["collectives"] <= 2


@pytest.fixture(scope="module")
def synchronised(tmp_path_factory) -> dict[int, Any]:
    """Ten steps with batch norm over all devices, on 1, 2 and 8 of them."""
    runs = {}
    for num_devices in (1, 2, 8):
        path = tmp_path_factory.mktemp("devices") / "run.npz"
        printed(num_devices, "steps", path)
        runs[num_devices] = np.load(path)
    return runs


@pytest.mark.parametrize("num_devices", [2, 8])
def test_ten_steps_with_synchronised_batch_norm_are_those_of_one_device(synchronised, num_devices):
    expected, found = synchronised[1], synchronised[num_devices]
    # On some processors, rounding assigns one anchor to another object within ten steps (2.4e-5 of the loss).
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-4)
    np.testing.assert_allclose(found["losses"][:5], expected["losses"][:5], rtol=1e-5)
    norm = np.linalg.norm(expected["weights"])
    assert np.linalg.norm(found["weights"] - expected["weights"]) < 1e-5 * norm
    assert np.linalg.norm(found["statistics"] - expected["statistics"]) < 1e-5 * np.linalg.norm(expected["statistics"])
    moved = np.linalg.norm(expected["weights"] - expected["first_weights"])
    assert moved > 10 * np.linalg.norm(found["weights"] - expected["weights"]), "the comparison says something"


@pytest.mark.parametrize("num_devices", [2, 8])
def test_first_gradients_with_synchronised_batch_norm_are_those_of_one_device(synchronised, num_devices):
    expected, found = synchronised[1], synchronised[num_devices]
    names = [name for name in expected.files if name.startswith("gradient/")]
    assert len(names) > 300
    for name in names:
        difference_ = np.abs(found[name] - expected[name]).max()
        assert difference_ <= 1e-3 * np.abs(expected[name]).max() + 1e-12, name


def make_batch():
    """Images with 0 to 7 objects: a step that lets each device normalise its own share is far off."""
    from reference import procedural

    rng = np.random.default_rng(0)
    slots = 8
    return {
        "images": procedural.scenes((BATCH_SIZE, SIDE_PX, SIDE_PX, 3), 0).astype(np.uint8),
        "boxes": rng.uniform(0.2 * SIDE_PX, 0.8 * SIDE_PX, (BATCH_SIZE, slots, 4)).astype(np.float32),
        "classes": rng.integers(0, 3, (BATCH_SIZE, slots)).astype(np.int32),
        "valid": np.arange(slots) < np.array([1, 0, 7, 3, 2, 5, 1, 4])[:, None],
    }


def weighted():
    """Losses whose weights differ between classes, and so between devices."""
    from yolox_jax.config import LossConfig
    from yolox_jax.losses import loss_weights

    return loss_weights(LossConfig(classification_focal_gamma=2.0), class_weights=(0.25, 1.0, 4.0))


def expected_step(graphdef, state, batch, num_devices):
    """Metrics, gradients and batch statistics of one step: each share by itself, then put together by hand."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from yolox_jax.config import TrainConfig
    from yolox_jax.losses import detection_loss
    from yolox_jax.models.compiler_options import compiler_options
    from yolox_jax.structures import Targets

    # The step's own options: other kernels round otherwise, which batch norm over four values makes a thousandth.
    @functools.partial(jax.jit, compiler_options=compiler_options(TrainConfig(BATCH_SIZE)))
    def of_share(params, images, targets):
        def loss(params):
            model = nnx.merge(graphdef, params, state.batch_stats, copy=True)
            raw = model(images.astype(jnp.float32))
            total, parts = detection_loss(raw, targets, image_size=(SIDE_PX, SIDE_PX), l1_weight=1.0, config=weighted())
            # Undo the normalisation: sums over anchors can be added across shares.
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

    def of_arrays(a, b):
        return float(np.max(np.abs(np.asarray(a) - np.asarray(b))) / max(np.max(np.abs(b)), 1e-6))

    return max(jax.tree.leaves(jax.tree.map(of_arrays, found, expected)))


def start(learning_rate: float, l1_weight: float, **settings):
    """A run about to take its first step."""

    from reference import procedural
    from started import scalars_at, started
    from yolox_jax.config import Config, OptimizerConfig, TrainConfig
    from yolox_jax.models.yolox import create_model
    from yolox_jax.training.step.mesh import create_mesh, split_over_devices, to_devices
    from yolox_jax.weights import export_state_dict, load_state_dict

    # Without decay, the momentum after one step is the gradient.
    config = Config(
        optimizer=OptimizerConfig(momentum=MOMENTUM, weight_decay=0.0), train=TrainConfig(BATCH_SIZE, **settings)
    )
    model = create_model("yolox_nano", 3)
    # Gentle weights: with those of a fresh network, rounding alone parts two runs from the third step on.
    weights = {key: procedural.weight(key, value.shape, 1, True) for key, value in export_state_dict(model).items()}
    load_state_dict(model, weights)
    graphdef, state, step = started(config, model)
    scalars = scalars_at(config, 0, learning_rate, l1_weight)
    batch = to_devices(make_batch(), split_over_devices(create_mesh(config.train)))
    return graphdef, state, step, (batch, scalars)


def compare_with_shares(parts: int) -> dict[str, object]:
    """A step both ways, and how they differ."""
    import jax
    import optax

    from yolox_jax.training.step.state import unpacked

    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **about: (
            compiled.append(about["fun_name"]) if event == "/jax/core/compile/backend_compile_duration" else None
        )
    )
    graphdef, state, step, (batch, scalars) = start(LEARNING_RATE, l1_weight=1.0, accumulation_steps=parts)
    inputs = batch, scalars._replace(loss=jax.tree.map(np.float32, weighted()))
    before = unpacked(state)
    metrics, gradients, batch_stats = expected_step(graphdef, before, make_batch(), jax.device_count() * parts)
    params = jax.tree.map(lambda p, g: p - LEARNING_RATE * (1 + MOMENTUM) * g, before.params, gradients)
    size = (SIDE_PX, SIDE_PX)
    program = step.lower(state, *inputs, size=size).compile().as_text()

    state, found = step(state, *inputs, size=size)
    after = unpacked(state)
    result = {
        "metrics": difference({name: found[name] for name in metrics}, metrics),
        "gradients": difference(optax.tree_utils.tree_get(after.opt_state, "trace"), gradients),
        "params": difference(after.params, params),
        "batch_stats": difference(after.batch_stats, batch_stats),
        "collectives": len(re.findall(r"= .* (?:all-reduce|all-reduce-start|all-gather)[(]", program)),
    }
    step(state, *inputs, size=size)
    return result | {"compilations": compiled.count("jit(step)")}


def take_steps(path: str) -> dict[str, object]:
    """Ten steps at a rate at which rounding does not part runs (a fresh network under SimOTA is chaotic)."""
    import jax
    import optax
    from jax.flatten_util import ravel_pytree

    from yolox_jax.training.step.state import unpacked

    _, state, step, inputs = start(1e-6, l1_weight=0.0, sync_batch_norm=True)
    arrays = {"first_weights": np.asarray(ravel_pytree(state.params)[0])}
    losses = []
    for number in range(10):
        state, metrics = step(state, *inputs, size=(SIDE_PX, SIDE_PX))
        losses.append(float(metrics["loss"]))
        if number == 0:
            gradients = optax.tree_utils.tree_get(unpacked(state).opt_state, "trace")
            named = jax.tree_util.tree_leaves_with_path(gradients)
            arrays |= {f"gradient/{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in named}
    arrays["weights"], arrays["statistics"] = (
        np.asarray(ravel_pytree(tree)[0]) for tree in (state.params, state.batch_stats)
    )
    np.savez(path, losses=losses, **arrays)
    return {}


def main() -> None:
    """Runs what the command line asks for and prints what it found."""
    import jax

    what, argument = sys.argv[1:]
    found = compare_with_shares(int(argument)) if what == "shares" else take_steps(argument)
    print(json.dumps(found | {"devices": jax.device_count()}))


if __name__ == "__main__":
    main()
