"""Every config of the roadmap trains, on one device and on four, and evaluates: YOLOX-nano at 64 px, 20 steps."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolox_jax.config import Config, DatasetConfig
from yolox_jax.config.files import load_config, shipped_configs
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.training.reporting.metrics_log import read_metrics
from yolox_jax.training.run_directory import RunDirectory
from yolox_jax.training.trainer import train

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
PATH = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
NAMES = [name for name in shipped_configs() if name.startswith("roadmap/")]
# The other configs differ from one of these in augmentation and variant alone.
STEPS = [name for name in NAMES if not name.endswith(("_mixup", "_augmentation"))]
# Compiling takes most of the time, and neither precision nor devices reach the rules: one config for each part that
# they do reach, the heads and the counts of assigned anchors.
PARALLEL = ["roadmap/nms_free", "roadmap/yolov3_baseline"]
NUM_STEPS, BATCH_SIZE, SIDE_PX, NUM_CLASSES = 20, 4, 64, 4


def small(name: str, images: str = "", **settings: Any) -> Config:
    """A config of the roadmap with a small network and dataset; `settings` are those of `train`."""
    config = load_config(name)

    def shapes(split: str) -> DatasetConfig:
        return DatasetConfig(format="shapes", images=images, split=split)

    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, variant="yolox_nano"),
        data=dataclasses.replace(
            config.data, train=shapes("train"), val=shapes("val"), input_size=(SIDE_PX, SIDE_PX), max_boxes=40
        ),
        schedule=dataclasses.replace(config.schedule, epochs=5, warmup_epochs=1.0, no_aug_epochs=1),
        optimizer=dataclasses.replace(config.optimizer, lr=0.01),
        train=dataclasses.replace(
            config.train,
            **{"batch_size": BATCH_SIZE, "ema_ramp_steps": 5.0, "multiscale_px": None, "loggers": (), "log_interval": 1}
            | settings,
        ),
        evaluation=dataclasses.replace(config.evaluation, interval=5, batch_size=6, num_pictures=0),
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("shapes")
    generate_shapes(folder, num_train=16, num_val=6, image_size=96, seed=0)
    return str(folder)


def test_all_networks_and_rules_are_among_those_trained() -> None:
    kinds = {name: (load_config(name).assignment, small(name).model) for name in NAMES}
    assert set(kinds.values()) == {kinds[name] for name in STEPS}


@pytest.mark.parametrize("name", STEPS)
def test_config_trains_and_evaluates(name: str, images: str, tmp_path: Path) -> None:
    train(small(name, images), workdir=tmp_path)
    records = read_metrics(RunDirectory(tmp_path).metrics)
    steps = [record for record in records if record["kind"] == "train"]
    (evaluation,) = [record for record in records if record["kind"] == "evaluation"]
    assert len(steps) == NUM_STEPS and all(math.isfinite(step["loss"]) for step in steps)
    assert ("one_to_one" in steps[0]) == load_config(name).model.end_to_end
    assert all(step["num_foreground"] > 0 for step in steps)
    assert 0 <= evaluation["AP"] <= 1 and math.isfinite(evaluation["loss"])
    assert_falls([step["iou"] for step in steps])


@pytest.fixture(scope="module")
def losses_on_four_devices() -> dict[str, list[float]]:
    """The losses of each config over steps on the same batch, in bfloat16."""
    flags = "--xla_force_host_platform_device_count=4"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": PATH}
    run = subprocess.run(
        [sys.executable, __file__, *PARALLEL], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    assert found.pop("devices") == 4
    return found


@pytest.mark.parametrize("name", PARALLEL)
def test_config_learns_a_batch_in_bfloat16_on_four_devices(
    name: str, losses_on_four_devices: dict[str, list[float]]
) -> None:
    losses = losses_on_four_devices[name]
    assert len(losses) == NUM_STEPS and all(map(math.isfinite, losses))
    assert_falls(losses)


def assert_falls(losses: list[float]) -> None:
    assert np.mean(losses[-5:]) < np.mean(losses[:5]), losses


def take_steps(name: str) -> list[float]:
    """The losses of steps on one batch."""
    from reference import procedural
    from started import scalars_at, started
    from yolox_jax.models import create_model
    from yolox_jax.training.step.mesh import create_mesh, split_over_devices, to_devices

    config = small(name, precision="bfloat16")
    rng = np.random.default_rng(0)
    slots = 4
    batch = {
        "images": procedural.scenes((BATCH_SIZE, SIDE_PX, SIDE_PX, 3), 0).astype(np.uint8),
        "boxes": rng.uniform(0.2 * SIDE_PX, 0.8 * SIDE_PX, (BATCH_SIZE, slots, 4)).astype(np.float32),
        "classes": rng.integers(0, NUM_CLASSES, (BATCH_SIZE, slots)).astype(np.int32),
        "valid": np.arange(slots) < np.array([1, 4, 0, 3])[:, None],
    }
    model = create_model(config.model, NUM_CLASSES, dtype=config.train.precision)
    _, state, step = started(config, model)
    placed = to_devices(batch, split_over_devices(create_mesh(config.train)))
    losses = []
    for number in range(NUM_STEPS):
        scalars = scalars_at(config, number, learning_rate=0.01)
        state, metrics = step(state, placed, scalars, size=(SIDE_PX, SIDE_PX))
        losses.append(float(metrics["loss"]))
    return losses


if __name__ == "__main__":
    import jax

    print(json.dumps({name: take_steps(name) for name in sys.argv[1:]} | {"devices": jax.device_count()}))
