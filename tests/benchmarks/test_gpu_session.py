"""The session on a GPU machine, rehearsed at the smallest size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_session.sh"


def run(output: Path, *flags: str) -> str:
    command = [str(SCRIPT), "--rehearse", "--output", str(output), *flags]
    variables = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_session_that_is_cut_short_keeps_its_parts_and_is_continued(tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = run(output, "--parts", "step_yolox_nano_float32_2")
    assert "compiled step_yolox_nano_float32_2" in first
    (part,) = json.loads((output / "session.json").read_text())["parts"].values()
    assert part["exit_code"] == 0
    (ours,) = part["result"]["cases"][0]["contestants"]
    assert ours["images_per_s"]["median"] > 0
    # The program comes from the cache of the compilation ahead.
    assert list((output / "compiled").iterdir())

    second = run(output, "--parts", "step_yolox_nano_float32_2", "profile_*", "latency_*", "--minutes", "0.1")
    assert "step_yolox_nano_float32_2: done before" in second
    assert "profile_yolox_nano: no time left" in second and "latency_yolox_nano: no time left" in second
    content = json.loads((output / "session.json").read_text())
    assert content["parts"] == {"step_yolox_nano_float32_2": part}
    assert content["versions"]["jax"] and content["machine"]["cores"]
