"""The benchmarks of the training step and of assignment run, and say what they left out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *words: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_step_is_timed_whole_and_in_parts_and_a_missing_original_is_named(tmp_path: Path) -> None:
    output = tmp_path / "out" / "step.json"
    words = "--variants yolox_nano --batch 2 --size 32 32 --objects 3 --rounds 2 --seconds 0.1 --breakdown --from-host"
    printed = run("train_step.py", *words.split(), "--output", str(output))
    assert "the original: skipped, it is not installed (pip install" in printed
    result = json.loads(output.read_text())
    (case,) = result["cases"]
    (ours,) = case["contestants"]
    assert (case["variant"], case["batch"], case["height"]) == ("yolox_nano", 2, 32) and ours["side"] == "ours"
    parts = {"step", "step_from_host", "forward", "network", "loss", "gradients"}
    assert set(ours["ms"]) == set(ours["parts"]) == parts
    assert all(len(times["rounds"]) == 2 and times["min"] > 0 for times in ours["ms"].values())
    assert all(part["compile_s"] > 0 and part["memory_bytes"] > 0 for part in ours["parts"].values())
    assert output.with_suffix(".png").stat().st_size > 5000


def test_assignment_is_timed_over_rules_objects_and_images(tmp_path: Path) -> None:
    output = tmp_path / "assignment.json"
    sizes = ("--batch", "1", "2", "--objects", "1", "3")
    run("assignment.py", "--rules", "simota", "yolov3", *sizes, "--seconds", "0.01", "--output", str(output))
    cases = json.loads(output.read_text())["cases"]
    assert [case["rule"] for case in cases] == ["simota"] * 4 + ["yolov3"] * 4
    assert [(case["images"], case["objects"]) for case in cases] == [(1, 1), (1, 3), (2, 1), (2, 3)] * 2
    assert all(case["ms"] > 0 and case["temporary_mib"] > 0 for case in cases)
    assert output.with_suffix(".png").stat().st_size > 5000
