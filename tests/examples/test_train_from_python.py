"""The example does from Python what the commands do."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_example_trains_evaluates_plots_and_predicts(tmp_path):
    command = [sys.executable, REPOSITORY / "examples/train_from_python.py", "--epochs", "2", "--output", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "loss" in done.stdout and "AP50" in done.stdout and "detections" in done.stdout
    for name in ("losses.png", "prediction.png"):
        assert cv2.imread(str(tmp_path / name)) is not None, name
    assert (tmp_path / "run" / "best" / "weights.safetensors").exists()
