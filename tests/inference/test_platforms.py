"""Inference works without Unix-only modules, as on Windows."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from yolox_jax.models import create_model
from yolox_jax.weights import export_state_dict, save_weights

WITHOUT_UNIX = """
import os, sys

# Blocked before anything is imported; os functions that Windows lacks go, too.
for name in ("fcntl", "resource", "termios", "grp", "pwd"):
    sys.modules[name] = None
for name in ("fork", "pread", "pwrite", "posix_fallocate", "fchmod"):
    delattr(os, name)

import yolox_jax
from yolox_jax.cli.main import main

weights, image, output = sys.argv[1:]
detections = yolox_jax.Detector(weights=weights, score_threshold=1e-9, max_detections=5, batch_size=1)(image)
assert len(detections) == 5, detections
words = ["predict", image, "--weights", weights, "--output", output, "--batch-size", "1"]
sys.exit(main([*words, "--score-threshold", "1e-9", "--max-detections", "5"]))
"""


def test_a_detector_and_the_command_predict_need_no_unix_module(tmp_path: Path):
    weights, image, output = tmp_path / "weights.safetensors", tmp_path / "a.png", tmp_path / "out"
    metadata = {"class_names": '["red", "blue"]', "input_size": "[64, 64]"}
    save_weights(weights, export_state_dict(create_model("yolox_nano", 2)), metadata)
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    command = [sys.executable, "-c", WITHOUT_UNIX, *map(str, (weights, image, output))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads((output / "detections.json").read_text())
    assert len(entry["detections"]) == 5
