"""Runs the programs that users copy beside exported files, in processes that have neither this package nor jax."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolox_jax.export.exporter import RUNNERS

PACKAGES = ("yolox_jax", "flax", "jaxtyping", "onnx", "jax", "jaxlib")
"""What cannot be imported there."""

PROGRAM = """
import importlib.abc, runpy, sys

blocked = set(sys.argv.pop(1).split(","))

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError("blocked: " + name, name=name)

sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
sys.path.insert(0, ".")
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    assert not blocked & {name.split(".")[0] for name in sys.modules}
"""


class Detection(NamedTuple):
    """A line that a runner prints."""

    class_name: str
    score: float
    box: np.ndarray
    """x1, y1, x2, y2 in px of the image."""


def run_alone(
    format: str, folder: Path, *words: str | Path, blocked: Sequence[str] = PACKAGES
) -> subprocess.CompletedProcess[str]:
    """Copy the runner of a format and what it shares with others into a folder, and run it there.

    Args:
        format: a key of `RUNNERS`.
        folder: where the copies lie, and where the program runs.
        words: its arguments.
        blocked: packages that cannot be imported.
    """
    copies = [Path(shutil.copy(file, folder)) for file in RUNNERS[format]]
    # Isolated: without the paths that lead to this package, whatever the environment says.
    command = [sys.executable, "-I", "-c", PROGRAM, ",".join(blocked), copies[0].name, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def printed_detections(output: str) -> list[Detection]:
    """Read what a runner prints: a class name, which may have spaces, a score and a box in each line."""
    found = []
    for line in output.splitlines():
        name, score, *box = line.rsplit(" ", 5)
        found.append(Detection(name, float(score), np.array(box, float)))
    return found
