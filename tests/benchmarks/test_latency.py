"""The benchmark of detection runs, and says what it left out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_every_part_is_timed_in_jax_and_in_onnx_runtime_with_the_same_detections(tmp_path: Path) -> None:
    output = tmp_path / "out" / "latency.json"
    words = "--variants yolox_nano --size 128 128 --against eager onnx --end-to-end --rounds 2 --seconds 0.05"
    command = [sys.executable, str(BENCHMARKS / "latency.py"), *words.split(), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "eager: skipped, the original is not installed here (pip install" in done.stdout
    cases = json.loads(output.read_text())["cases"]
    assert [case["end_to_end"] for case in cases] == [False, True]
    for case in cases:
        ours, onnx = case["contestants"]
        assert "error" not in ours and "error" not in onnx
        assert set(ours["ms"]) == {"preprocess", "network", "nms", "network_nms", "all"}
        assert set(onnx["ms"]) == set(onnx["ours_takes_times"]) == set(ours["ms"]) - {"nms"}
        assert all(times["median"] > 0 for one in (ours, onnx) for times in one["ms"].values())
        assert ours["compile_s"] > 0 and ours["gflops"] > 0
        assert ours["detections"] == onnx["detections"] > 0
    assert output.with_suffix(".png").stat().st_size > 5000
