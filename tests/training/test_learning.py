"""The step learns from real images, and compiles once for each size."""

import numpy as np
import pytest

from yolox_jax.config import AugmentConfig, Config, DataConfig, DatasetConfig, ModelConfig, ScheduleConfig, TrainConfig
from yolox_jax.data.pipeline import training_batches
from yolox_jax.data.sources import open_dataset
from yolox_jax.models.yolox import create_model
from yolox_jax.training.mesh import create_mesh
from yolox_jax.training.optimizer import sgd
from yolox_jax.training.plan import Plan
from yolox_jax.training.state import create_train_state
from yolox_jax.training.step import make_train_step

pytestmark = pytest.mark.slow


def start(config, num_classes, learning_rate):
    model = create_model("yolox_nano", num_classes, seed=0)
    model.train()
    optimizer = sgd(config.optimizer, lambda step: learning_rate)
    graphdef, state = create_train_state(model, optimizer)
    return state, make_train_step(graphdef, optimizer, config, create_mesh(config.train.batch_size))


def test_eight_real_images_are_learned_by_heart(shared):
    folder = shared / "data" / "coco_val2017_100"
    images = DatasetConfig(images=str(folder / "images"), annotations=str(folder / "instances.json"))
    config = Config(
        data=DataConfig(train=images, input_size=(128, 128), augment=AugmentConfig(0.0, flip_probability=0.0)),
        schedule=ScheduleConfig(epochs=1, warmup_epochs=0, no_aug_epochs=0),
        train=TrainConfig(batch_size=8),
    )
    dataset = open_dataset(images, "train")
    with training_batches(dataset, config) as batches:
        batch = next(batches)
    assert batch["valid"].any(axis=1).sum() >= 6
    state, step = start(config, len(dataset.class_names), learning_rate=0.02)
    losses = []
    for _ in range(250):
        state, metrics = step(state, batch, 0.0, size=(128, 128))
        losses.append({name: float(value) for name, value in metrics.items()})
    first, last = losses[0], losses[-1]
    assert last["loss"] < first["loss"] / 4, (first, last)
    assert last["classification"] < 0.5 and last["objectness"] < 0.5, last
    assert last["iou"] < 2.0, f"1 - IoU^2 of {last['iou'] / 5:.2f}: the boxes are not learned"


def test_forty_steps_over_three_sizes_compile_three_times():
    config = Config(
        model=ModelConfig(variant="yolox_nano"),
        data=DataConfig(input_size=(64, 64)),
        train=TrainConfig(batch_size=2, multiscale_px=(32, 96), multiscale_interval=5),
    )
    plan = Plan(config, steps_per_epoch=100)
    sizes = [plan.size_at(step) for step in range(40)]
    assert set(sizes) == {(32, 32), (64, 64), (96, 96)}
    state, step = start(config, 3, learning_rate=1e-4)
    rng = np.random.default_rng(0)
    batch = {
        "images": rng.integers(0, 256, (2, 64, 64, 3)).astype(np.uint8),
        "boxes": rng.uniform(8, 56, (2, 5, 4)).astype(np.float32),
        "classes": rng.integers(0, 3, (2, 5)).astype(np.int32),
        "valid": np.ones((2, 5), bool),
    }
    for number, size in enumerate(sizes):
        # L1 is switched on halfway: that must compile nothing.
        state, _ = step(state, batch, float(number >= 20), size=size)
    assert step._cache_size() == 3
