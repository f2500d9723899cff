"""The training step for devices that are not there is the step of those that are."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from yolox_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from yolox_jax.models.compiler_options import compiler_options
from yolox_jax.training.profiling.described_devices import compile_described
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


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """A compilation cache of the test's own that keeps every program."""
    settings = {"jax_compilation_cache_dir": str(tmp_path), "jax_persistent_cache_min_compile_time_secs": 0}
    before = {name: jax.config.values[name] for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_programs_for_described_devices_are_not_kept_because_they_cannot_be_read_back(cache: Path):
    described, there = (jax.jit(lambda x, i=i: jnp.sin(x) + i).lower(jnp.ones(7)) for i in (3, 4))
    before = set(cache.iterdir())
    compile_described(described)
    assert set(cache.iterdir()) == before
    there.compile()
    assert set(cache.iterdir()) > before, "the cache is in use as before"


@pytest.mark.slow
def test_the_step_is_lowered_without_arrays_to_the_program_of_a_run():
    described = PreparedStep(CONFIG, 3, described=jax.devices())
    assert {type(leaf) for leaf in jax.tree.leaves(described.training.state)} == {jax.ShapeDtypeStruct}
    there = PreparedStep(CONFIG, 3)
    assert described.lower((32, 32)).as_text() == there.lower((32, 32)).as_text()
