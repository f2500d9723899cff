"""The benchmark of the input pipeline runs, and its clocks charge each stage for its own work."""

import json
import os
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest

from stage_times import Stage, timed_stages
from yolox_jax.data.sources.shapes import generate_shapes

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "input_pipeline.py"
STAGES = {"read", "decode", "warp", "colour", "rest"}


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    generate_shapes(folder / "shapes", num_train=4, num_val=1, image_size=96)
    data = f"--data.train.images {folder}/shapes/images --data.train.annotations {folder}/shapes/instances_train.json"
    short = f"--data.input-size 64 64 --no-original --rounds 2 --batches 2 --batch-size 4 --output {folder}/out/r.json"
    command = [sys.executable, str(SCRIPT), *data.split(), *short.split(), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def figures(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "out" / "r.json").read_text())
    return result


def test_results_tell_speed_stages_and_how_they_came_about(tmp_path: Path) -> None:
    done = run(tmp_path, "--caches", "none", "ram", "--scaling-cores")
    assert done.returncode == 0, done.stderr
    result = figures(tmp_path)
    assert "--data.input-size 64 64" in result["command"]
    assert result["settings"]["images"] == 4 and result["settings"]["input_size"] == [64, 64]
    assert result["machine"]["cores"] >= 1 and {"python", "numpy", "jax"} <= set(result["versions"])
    ours, shared, cached = result["pipelines"]
    assert (ours["name"], ours["cache"], ours["partners"]) == ("ours", "none", "dataset")
    assert (shared["cache"], shared["partners"]) == ("none", "batch") and shared["jpeg_share"] > 0
    assert len(ours["images_per_s"]["rounds"]) == 2 and ours["images_per_s"]["min"] > 0
    stages = ours["stages_cpu_ms_per_image"]
    assert set(stages) >= STAGES and all(value >= 0 for value in stages.values())
    assert 0 < ours["jpeg_share"] < 1
    assert cached["cache"] == "ram" and cached["jpeg_share"] == 0
    assert result["transfer"]["ms_per_image"]["median"] > 0
    assert result["ratios"] == [] and "scaling" not in result


def test_a_setting_that_the_benchmark_sets_itself_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "--data.cache", "ram")
    assert done.returncode == 2
    assert "--data.cache cannot be set directly; use --caches" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_scaling_compares_one_and_two_threads_and_processes(tmp_path: Path) -> None:
    done = run(tmp_path, "--caches", "none")
    assert done.returncode == 0, done.stderr
    scaling = figures(tmp_path)["scaling"]
    assert [part["kind"] for part in scaling] == ["threads", "processes"]
    assert all(part["ratio"]["median"] > 0 for part in scaling)


def _work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_stages_are_charged_for_their_own_cpu_time_in_every_thread() -> None:
    module = types.SimpleNamespace()
    module.inner = lambda: _work(0.03)

    def outer() -> None:
        _work(0.01)
        module.inner()
        module.inner()
        time.sleep(0.05)
        _work(0.01)

    module.outer = outer
    plain = module.inner
    with timed_stages([Stage(module, "inner", "inner"), Stage(module, "outer", lambda: "outer")]) as seconds:
        threads = [threading.Thread(target=module.outer) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        module.inner()
    assert module.inner is plain and module.outer is outer
    assert seconds["inner"] == pytest.approx(0.15, rel=0.2)
    assert seconds["outer"] == pytest.approx(0.04, rel=0.4)
