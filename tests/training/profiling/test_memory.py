"""What a step needs: the search for the largest batch, and the message where it is too much."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from yolox_jax.cli.main import main
from yolox_jax.config import Config, ConfigError, ModelConfig, TrainConfig
from yolox_jax.training.profiling import memory
from yolox_jax.training.profiling.memory import check_fits, largest_batch, needed_bytes, out_of_memory_explained

CONFIG = Config(model=ModelConfig(variant="yolox_s"), train=TrainConfig(batch_size=8))


@pytest.mark.parametrize("step", [1, 3, 8])
@pytest.mark.parametrize("limit", [900, 1500, 5000, 123_456])
@pytest.mark.parametrize("bend", [0.0, 0.02])
def test_the_largest_batch_is_found_with_few_compilations(step: int, limit: int, bend: float):
    asked: list[int] = []

    def needed_at(batch: int) -> int:
        asked.append(batch)
        return int(500 + 60 * batch * (1 + bend * (batch % 5)))

    found, needs = largest_batch(needed_at, limit, step)
    assert len(asked) == len(set(asked)) <= 8 and set(needs) == set(asked)
    fits = [batch for batch in range(step, limit, step) if 500 + 60 * batch * (1 + bend * (batch % 5)) <= limit]
    if not fits:
        assert found == 0
    else:
        assert needs[found] <= limit and max(fits) - found <= max(step, 0.15 * max(fits))
        assert bend or found == max(fits)


@pytest.mark.parametrize("bend_at", [3, 8, 40])
@pytest.mark.parametrize("limit", [900, 5000, 20_000])
def test_memory_that_grows_slower_further_on_is_used_too(bend_at: int, limit: int):
    def needed_at(batch: int) -> int:
        return 300 + 60 * min(batch, bend_at) + 25 * max(batch - bend_at, 0)

    found, needs = largest_batch(needed_at, limit, 1)
    best = max(batch for batch in range(1, limit) if needed_at(batch) <= limit)
    assert needs[found] <= limit and best <= memory.WORTH_ASKING * found + 1
    assert len(needs) <= 8


def test_a_step_that_does_not_fit_is_refused_with_what_fits_and_what_helps(monkeypatch: pytest.MonkeyPatch):
    compiled = jax.jit(lambda x: jnp.sin(x) @ x).lower(jnp.ones((256, 256))).compile()
    needed = needed_bytes(compiled)
    assert needed >= 2 * 256 * 256 * 4
    monkeypatch.setattr(memory, "limit_bytes", lambda: needed)
    check_fits(compiled, 0, CONFIG, (640, 640))
    monkeypatch.setattr(memory, "limit_bytes", lambda: needed // 2)
    with pytest.raises(ConfigError) as refused:
        check_fits(compiled, 0, CONFIG, (640, 640))
    for part in (
        "yolox_s in float32 with --train.batch-size 8",
        "640x640",
        "about --train.batch-size 4 would fit",
        "GiB",
    ):
        assert part in str(refused.value)
    for setting in ("--train.accumulation-steps 2", "--train.rematerialise stage", "--train.multiscale-px"):
        assert setting in str(refused.value)
    monkeypatch.setattr(memory, "limit_bytes", lambda: needed // 20)
    with pytest.raises(ConfigError, match="not even one image fits"):
        check_fits(compiled, needed // 10, CONFIG, (640, 640))


def test_running_out_of_memory_is_explained_and_other_errors_are_left_alone():
    used = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, rematerialise="stage"))
    with pytest.raises(ConfigError, match="ran out of memory") as explained, out_of_memory_explained(used):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 5 bytes.")
    assert "--train.rematerialise" not in str(explained.value)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), out_of_memory_explained(used):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
    with pytest.raises(ConfigError, match="--evaluation.batch-size"), out_of_memory_explained(used, evaluating=True):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 5 bytes.")


@pytest.mark.slow
def test_the_command_names_the_largest_batch(capsys: pytest.CaptureFixture[str]):
    words = ["--config", "yolox_nano", "--train.multiscale-px", "None", "--data.input-size", "32", "32"]
    assert main(["memory", *words, "--num-classes", "3", "--limit-gib", "0.03"]) == 0
    out = capsys.readouterr().out
    assert "largest batch that fits" in out and "GiB per device" in out
    assert main(["memory", *words, "--limit-gib", "-1"]) == 2
    assert "--limit-gib must be finite and above 0, got -1" in capsys.readouterr().err
