"""Steps compiled in the background, the sizes that a run needs, and the share of the peak that it makes use of."""

import collections
import dataclasses
import os
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from yolox_jax.config import Config, DataConfig, EvaluationConfig, ScheduleConfig, TrainConfig
from yolox_jax.training.compilation import CompiledSteps
from yolox_jax.training.reporting.utilization import peak_tflops, utilization
from yolox_jax.training.run_schedule import RunSchedule

SIZES = [(32, 32), (64, 64), (96, 96)]


def step(state, batch, scalars, size):
    if size == (96, 96):
        raise ValueError("no memory for 96x96")
    return state + batch["images"].sum() + size[0], {"l1": scalars}


def test_every_size_is_compiled_before_it_is_asked_for():
    state, batch = jnp.zeros(()), {"images": jnp.ones((2, 3))}
    with CompiledSteps(jax.jit(step, static_argnames="size"), state, batch, np.float32(0), SIZES[:2]) as steps:
        for size in SIZES[:2]:
            compiled = steps.wait(size, timeout_s=60)
            assert compiled is not None and float(compiled(state, batch, np.float32(0))[0]) == 6 + size[0]
        assert steps.num_left == 0


def test_an_error_of_any_size_comes_to_whoever_waits():
    state, batch = jnp.zeros(()), {"images": jnp.ones((2, 3))}
    with CompiledSteps(jax.jit(step, static_argnames="size"), state, batch, np.float32(0), SIZES) as steps:
        deadline = time.monotonic() + 60
        with pytest.raises(ValueError, match="no memory"):
            while time.monotonic() < deadline:
                steps.wait(SIZES[0], timeout_s=1)


def test_of_several_processes_each_stops_where_the_size_is_needed(monkeypatch):
    """They hear of an error at different steps, and would wait for each other if one stopped before."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    state, batch = jnp.zeros(()), {"images": jnp.ones((2, 3))}
    with CompiledSteps(jax.jit(step, static_argnames="size"), state, batch, np.float32(0), SIZES[::2]) as steps:
        with pytest.raises(ValueError, match="no memory"):
            while steps.wait(SIZES[2], timeout_s=60) is None:
                pass
        assert steps.wait(SIZES[0], timeout_s=60) is not None


def test_what_is_not_ready_is_waited_for_in_short_and_dropped_when_the_run_ends():
    go_on, traced = threading.Event(), []
    jitted = jax.jit(step, static_argnames="size")

    def lower_slowly(*arguments, size):
        go_on.wait(10)
        traced.append(size)
        return jitted.lower(*arguments, size=size)

    def slow_step(*arguments, size):
        raise AssertionError("compiled, never called")

    slow_step.lower = lower_slowly
    with CompiledSteps(slow_step, jnp.zeros(()), {"images": jnp.ones(2)}, np.float32(0), SIZES[:2]) as steps:
        assert steps.wait(SIZES[0], timeout_s=0.01) is None
        assert steps.num_left == 2
        (tracer,) = [thread for thread in threading.enumerate() if thread.name == "compile"]
    go_on.set()
    tracer.join(10)
    assert traced == SIZES[:1] and steps.num_left == 2


@pytest.mark.parametrize(("cores", "at_once"), [(1, 1), (2, 1), (5, 2)])
def test_sizes_are_compiled_one_after_another_where_cores_are_few(monkeypatch, cores, at_once):
    """If they shared the cores, training could start only when nearly all of them were compiled."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    compiling, most = set(), []
    others = threading.Barrier(at_once)

    def check(compiled, size):
        compiling.add(size)
        others.wait(30)
        time.sleep(0.3)  # in which one too many would join
        most.append(len(compiling))
        others.wait(30)
        compiling.discard(size)

    state, batch = jnp.zeros(()), {"images": jnp.ones((2, 3))}
    jitted = jax.jit(step, static_argnames="size")
    with CompiledSteps(jitted, state, batch, np.float32(0), SIZES[:2], check) as steps:
        assert all(steps.wait(size, timeout_s=60) is not None for size in SIZES[:2])
    assert most == [at_once] * 2


def test_the_next_start_loads_every_size_from_the_compilation_cache(tmp_path):
    settings = {"jax_compilation_cache_dir": str(tmp_path), "jax_persistent_cache_min_compile_time_secs": 0}
    before = {name: jax.config.values[name] for name in settings}
    found = collections.Counter()
    listen = lambda event, **_: found.update([event.rpartition("/")[2]])  # noqa: E731
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        compilation_cache.reset_cache()
        for name, value in settings.items():
            jax.config.update(name, value)
        jax.monitoring.register_event_listener(listen)
        state, batch = jnp.zeros(()), {"images": jnp.ones((2, 3))}
        for start in range(2):
            jax.clear_caches()
            found.clear()
            fresh = jax.jit(lambda *arguments, size: step(*arguments, size), static_argnames="size")
            with CompiledSteps(fresh, state, batch, np.float32(0), SIZES[:2]) as steps:
                assert all(steps.wait(size, timeout_s=60) is not None for size in SIZES[:2])
            assert (found["cache_hits"], found["cache_misses"]) == ((2, 0) if start else (0, 2))
    finally:
        jax.monitoring.unregister_event_listener(listen)
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def test_sizes_come_in_the_order_of_need_and_only_those_needed():
    config = Config(
        data=DataConfig(input_size=(416, 416)),
        schedule=ScheduleConfig(epochs=40, warmup_epochs=0, no_aug_epochs=0),
        train=TrainConfig(multiscale_px=(320, 640)),
    )
    plan = RunSchedule(config, steps_per_epoch=100)
    for start in (0, 15, 3990):
        needed = list(dict.fromkeys(plan.size_at(step) for step in range(start, plan.total_steps)))
        assert plan.sizes_from(start) == needed
    assert len(plan.sizes_from(0)) == 11 and len(plan.sizes_from(3990)) == 1
    assert plan.sizes_from(4000) == plan.sizes_to_compile(4000) == []
    order = plan.sizes_to_compile(0)
    assert order[:2] == [plan.size_at(0), (640, 640)] and sorted(order) == sorted(plan.sizes_from(0))
    single = dataclasses.replace(config, train=TrainConfig(multiscale_px=None))
    assert RunSchedule(single, 100).sizes_from(0) == [(416, 416)]


@pytest.mark.parametrize(
    ("kind", "precision", "peak"),
    [
        ("Tesla V100-SXM2-16GB", "float16", 125),
        ("Tesla V100-SXM2-16GB", "bfloat16", None),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989),
        ("NVIDIA H100 PCIe", "bfloat16", None),
        ("NVIDIA L40", "float16", None),
        ("TPU v5 lite", "bfloat16", 197),
        ("NVIDIA A100-SXM4-80GB", "float32", None),
        ("cpu", "float16", None),
    ],
)
def test_peaks_are_known_by_the_kind_of_device_and_precision(kind, precision, peak):
    assert peak_tflops(kind, precision) == peak


def test_utilization_counts_three_passes_over_all_devices():
    assert utilization(100.0, 1000.0, 150.0, 4) == pytest.approx(0.5)


@pytest.mark.parametrize("no_aug_epochs", [0, 2])
def test_evaluations_follow_every_few_epochs_and_each_of_the_last(no_aug_epochs):
    config = Config(
        schedule=ScheduleConfig(epochs=8, warmup_epochs=1, no_aug_epochs=no_aug_epochs),
        evaluation=EvaluationConfig(interval=3),
    )
    plan = RunSchedule(config, steps_per_epoch=5)
    evaluated = [step for step in range(-1, plan.total_steps) if plan.evaluates_after(step)]
    assert evaluated == [5 * epoch - 1 for epoch in ((3, 6, 8) if no_aug_epochs == 0 else (3, 6, 7, 8))]
