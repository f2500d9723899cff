"""The step learns from real images and compiles once per size."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from started import scalars_at, started
from yolox_jax.boxes import cxcywh_to_xyxy, pairwise_iou
from yolox_jax.config import AugmentConfig, Config, DataConfig, DatasetConfig, ModelConfig, ScheduleConfig, TrainConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.pipeline import training_batches
from yolox_jax.models.yolox import create_model
from yolox_jax.postprocess import decode, postprocess
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.mesh import create_mesh, split_over_devices
from yolox_jax.training.validation import averaged_model

pytestmark = pytest.mark.slow


def start(config, num_classes):
    """The structure, the state and the step of a run, and where its batches go, as the trainer places them."""
    run = started(config, create_model("yolox_nano", num_classes, seed=0))
    return *run, split_over_devices(create_mesh(config.train))


def test_eight_real_images_are_learned_by_heart(shared):
    folder, size, num_steps = shared / "data" / "coco_val2017_100", (128, 128), 320
    images = DatasetConfig(images=str(folder / "images"), annotations=str(folder / "instances.json"))
    unchanged = AugmentConfig(mosaic_probability=0.0, hsv_probability=0.0, flip_probability=0.0)
    config = Config(
        data=DataConfig(train=images, input_size=size, augment=unchanged),
        schedule=ScheduleConfig(epochs=1, warmup_epochs=0, no_aug_epochs=0),
        train=TrainConfig(batch_size=8),
    )
    dataset = open_dataset(images, "train")
    with training_batches(dataset, config) as batches:
        batch = next(batches)

    def learning_rate(step):
        # Low at the end, for the running statistics of batch norm to catch up with the weights.
        share = 1.0 if step < 0.65 * num_steps else 0.1 if step < 0.87 * num_steps else 0.02
        return 0.04 * share * min((step + 1) / 20, 1.0)

    graphdef, state, step, placement = start(config, len(dataset.class_names))
    placed = jax.device_put(batch, placement)
    for number in range(num_steps):
        state, _ = step(state, placed, scalars_at(config, number, learning_rate(number)), size=size)

    model = averaged_model(graphdef, state._replace(ema_params=state.params, ema_batch_stats=state.batch_stats))
    raw = model(jnp.asarray(batch["images"], jnp.float32))
    found = postprocess(decode(raw, image_size=size), score_threshold=0.2, max_detections=100)
    iou = pairwise_iou(cxcywh_to_xyxy(jnp.asarray(batch["boxes"])), found.boxes)
    iou = np.where(found.valid[:, None], iou, 0.0)
    # At stride 8, smaller objects are hardly more than the noise of their annotation.
    learned = batch["valid"] & (batch["boxes"][..., 2:].min(axis=-1) > 8)
    assert learned.sum() >= 20 and learned.any(axis=1).sum() >= 6
    classes = np.take_along_axis(np.asarray(found.classes), iou.argmax(axis=-1), axis=1)
    mean_iou = iou.max(axis=-1)[learned].mean()
    right_class = (classes == batch["classes"])[learned].mean()
    assert mean_iou > 0.85 and right_class > 0.95, (mean_iou, right_class)


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """Names of the functions that XLA compiles, or loads compiled, while the test runs."""
    names: list[str] = []

    def note(event: str, duration_s: float, **about: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(about["fun_name"]))

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


def test_forty_steps_over_two_sizes_compile_twice(compilations):
    config = Config(
        model=ModelConfig(variant="yolox_nano"),
        data=DataConfig(input_size=(64, 64)),
        train=TrainConfig(batch_size=2, multiscale_px=(32, 64), multiscale_interval=5),
        seed=2,
    )
    plan = RunSchedule(config, steps_per_epoch=100)
    sizes = [plan.size_at(step) for step in range(40)]
    assert set(sizes) == {(32, 32), (64, 64)}
    _, state, step, placement = start(config, 3)
    rng = np.random.default_rng(0)
    batch = {
        "images": rng.integers(0, 256, (2, 64, 64, 3)).astype(np.uint8),
        "boxes": rng.uniform(8, 56, (2, 5, 4)).astype(np.float32),
        "classes": rng.integers(0, 3, (2, 5)).astype(np.int32),
        "valid": np.ones((2, 5), bool),
    }
    for number, size in enumerate(sizes):
        # L1 is switched on halfway: that must compile nothing.
        scalars = scalars_at(config, number, 1e-4, l1_weight=float(number >= 20))
        state, _ = step(state, jax.device_put(batch, placement), scalars, size=size)
    assert compilations.count("jit(step)") == 2
