"""Accelerators that are described in files, and what is said where one is not, or its compiler is missing."""

import importlib.metadata
import re

import pytest

from yolox_jax.config import ConfigError
from yolox_jax.training.profiling import described_devices as described
from yolox_jax.training.profiling.cards import GIB, MEMORY_FRACTION, card_names, load_card
from yolox_jax.training.profiling.described_devices import described_devices
from yolox_jax.training.profiling.memory import refused_bytes

NUMBERS = {"memory_gib", "program_share", "bandwidth_gb_s", "link_gb_s", "launch_us", "peak_tflops"}


def test_the_promised_cards_are_described():
    assert {"a100", "h100", "h200", "v100", "v4", "v5e", "v5p", "v6e"} <= set(card_names())


@pytest.mark.parametrize("name", card_names())
def test_every_number_of_a_card_is_plausible_and_has_a_source(name: str):
    card = load_card(name)
    assert set(card.sources) == NUMBERS and all(card.sources.values())
    assert 10 < card.memory_gib < 1000 and 0.5 < card.program_share <= 1
    assert 500 < card.bandwidth_gb_s < 10_000 and 100 < card.link_gb_s < card.bandwidth_gb_s
    assert 0 <= card.launch_us < 10
    assert {"float32", "bfloat16"} <= set(card.peak_tflops) and all(peak > 10 for peak in card.peak_tflops.values())
    if card.platform == "gpu":
        assert "float16" in card.peak_tflops
        described_bytes = re.search(r"device_memory_size: (\d+)", card.target)
        assert described_bytes and int(described_bytes[1]) / GIB == pytest.approx(card.memory_gib, abs=0.01)
    else:
        assert card.example.startswith(f"{name}:")


def test_a_program_gets_the_share_of_a_gpu_that_jax_takes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(MEMORY_FRACTION, raising=False)
    assert load_card("h200").program_bytes == int(0.75 * 141 * GIB)
    monkeypatch.setenv(MEMORY_FRACTION, "0.9")
    assert load_card("h200").program_bytes == int(0.9 * 141 * GIB)
    assert load_card("v5e").program_bytes == int(15.75 * GIB)
    monkeypatch.setenv(MEMORY_FRACTION, "most")
    with pytest.raises(ConfigError, match=f"{MEMORY_FRACTION} must be a number above 0, not most"):
        _ = load_card("h200").program_bytes


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("h10", None, "--device h10 is not described; did you mean h100? Described are a100, h100"),
        ("abacus", None, "--device abacus is not described. Described are"),
        ("h100:8", None, "Use --device h100 --devices N"),
        ("h100", 0, "--devices must be at least 1, got 0"),
        ("v5e", None, "--device v5e needs the arrangement of its chips, such as --device v5e:2x2"),
        ("v5e:", None, "--device v5e: needs the arrangement of its chips"),
        ("v5e:0x2", None, "--device v5e:0x2 needs the arrangement of its chips"),
        ("v5e:2x2", 4, "--devices is for GPUs; --device v5e:2x2 says how many chips there are"),
    ],
)
def test_a_device_that_is_not_described_is_refused_with_what_is(name: str, count: int | None, message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        described_devices(name, count)


@pytest.mark.parametrize(("name", "extra"), [("h100", "deviceless"), ("v5e:2x2", "tpu")])
def test_a_missing_compiler_is_named_with_the_command_that_installs_it(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
):
    def version(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(described.importlib.metadata, "version", version)
    with pytest.raises(ConfigError, match=re.escape(f"pip install 'yolox-jax[{extra}]'")):
        described_devices(name)


def test_the_compilers_message_about_a_program_that_is_too_large_tells_its_memory():
    refused = (
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (663.76G) exceeds available HBM (15.75G). HLO module: jit__lambda."
    )
    assert refused_bytes(refused) == int(663.76 * GIB)
    older = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 512.5M of 15.75G hbm."
    assert refused_bytes(older) == int(512.5 * 2**20)
    assert refused_bytes("INTERNAL: something else (3.5G)") is None
