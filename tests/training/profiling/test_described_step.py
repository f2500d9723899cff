"""The training step for devices that are not there is the step of those that are."""

import dataclasses

import jax
import pytest

from yolox_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from yolox_jax.models.compiler_options import compiler_options
from yolox_jax.training.profiling.prepared_step import PreparedStep

CONFIG = Config(
    model=ModelConfig(variant="yolox_nano"),
    data=DataConfig(input_size=(32, 32), max_boxes=4),
    train=TrainConfig(batch_size=2, multiscale_px=None),
)


def test_options_for_cpus_are_not_passed_to_the_compiler_for_another_platform():
    assert compiler_options(CONFIG.train, "gpu") is None
    deterministic = dataclasses.replace(CONFIG.train, deterministic=True)
    assert all(name.startswith("xla_gpu") for name in compiler_options(deterministic, "gpu") or {})


@pytest.mark.slow
def test_the_step_is_lowered_without_arrays_to_the_program_of_a_run():
    described = PreparedStep(CONFIG, 3, described=jax.devices())
    assert {type(leaf) for leaf in jax.tree.leaves(described.training.state)} == {jax.ShapeDtypeStruct}
    there = PreparedStep(CONFIG, 3)
    assert described.lower((32, 32)).as_text() == there.lower((32, 32)).as_text()
