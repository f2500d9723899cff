"""Processes that load images: they end with their run, whatever way it ends, and take no more memory with time."""

import ctypes
import dataclasses
import gc
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import pytest

from yolox_jax.config import AugmentConfig, Config, DataConfig, DatasetConfig, ScheduleConfig, TrainConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import DataError
from yolox_jax.data.pipeline import training_batches
from yolox_jax.data.sources import shapes

pytestmark = pytest.mark.slow

ENDINGS = {
    "closed": "batches.close()",
    "left open": "pass",
    "error": "raise RuntimeError",
    "os._exit": "os._exit(3)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
}

PROGRAM = """
import os, signal, sys, time, psutil
from yolox_jax.config import Config, DataConfig, DatasetConfig, ScheduleConfig, TrainConfig
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.pipeline import training_batches
from yolox_jax.data.sources import open_datasets

if __name__ == "__main__":
    shapes = DatasetConfig(format="shapes", images=sys.argv[1])
    data = DataConfig(train=shapes, input_size=(64, 64), num_workers=2, cache="ram")
    config = Config(data=data, schedule=ScheduleConfig(epochs=300), train=TrainConfig(batch_size=8))
    dataset = open_datasets(data, "train")
    with open_cache(dataset.records, data) as cache:
        batches = training_batches(dataset, config, cache=cache)
        next(batches)
        print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
        {ending}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty images of 64 px."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    shapes.generate_shapes(folder, num_train=40, num_val=2, image_size=64)
    return folder


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_process_outlives_its_run(folder: Path, tmp_path: Path, ending: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("{ending}", ENDINGS[ending]))
    run = subprocess.Popen([sys.executable, program, folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    children = [int(word) for word in run.stdout.readline().split()]
    assert len(children) >= 2
    run.communicate(timeout=60)
    deadline = time.monotonic() + 20
    while alive := [pid for pid in children if psutil.pid_exists(pid)]:
        assert time.monotonic() < deadline, f"still running: {alive}"
        time.sleep(0.1)


def test_run_whose_loading_process_dies_says_so(folder: Path) -> None:
    config = _config("none", num_workers=2, epochs=3000)
    dataset = open_dataset(DatasetConfig(format="shapes", images=str(folder)), "train")
    with training_batches(dataset, config) as batches:
        next(batches)
        workers = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
        os.kill(workers[0].pid, signal.SIGKILL)
        with pytest.raises(DataError, match=r"was killed \(SIGKILL\).*memory.*--data\.num-workers"):
            for _ in range(500):
                next(batches)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    ("cache", "augment"),
    [
        ("none", AugmentConfig()),
        ("none", AugmentConfig(partners="batch")),
        ("none", AugmentConfig(partners="batch", on="device")),
        ("ram", AugmentConfig()),
        ("disk", AugmentConfig()),
    ],
    ids=["default", "partners", "device", "ram", "disk"],
)
def test_memory_is_flat_over_two_thousand_batches(
    folder: Path,
    tmp_path: Path,
    cache: Literal["none", "ram", "disk"],
    augment: AugmentConfig,
    num_workers: int,
) -> None:
    config = _config(cache, num_workers, epochs=200, cache_dir=str(tmp_path))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, augment=augment))
    dataset = open_dataset(DatasetConfig(format="shapes", images=str(folder)), "train")
    measured = []
    with open_cache(dataset.records, config.data) as images, training_batches(dataset, config, cache=images) as batches:
        for number, _ in enumerate(batches):
            if number % 400 == 399:
                measured.append(_memory())
    assert len(measured) == 5
    # A leak grows in every interval; a buffer that appears or goes does so once.
    assert 4 * np.median(np.diff(measured)) <= 0.02 * measured[0], [f"{size / 2**20:.1f} MiB" for size in measured]


def _config(cache: Literal["none", "ram", "disk"], num_workers: int, epochs: int, cache_dir: str = "") -> Config:
    data = DataConfig(input_size=(64, 64), num_workers=num_workers, num_threads=2, cache=cache, cache_dir=cache_dir)
    schedule = ScheduleConfig(epochs=epochs, no_aug_epochs=1)
    return dataclasses.replace(Config(), data=data, schedule=schedule, train=TrainConfig(batch_size=4))


def _memory() -> int:
    """Bytes of this process and those it started, memory that they share counted once, and mapped files left out.

    A page of a library counts the more for a process the fewer others on the machine map it, so other tests would show.
    """
    gc.collect()
    # What is free in the heap, and on a busy machine more of it, is no leak.
    ctypes.CDLL(None).malloc_trim(0)
    this = psutil.Process()
    total = 0
    for process in (this, *this.children(recursive=True)):
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        total += sum(int(kib) for kib in re.findall(r"^Pss_(?:Anon|Shmem): +(\d+) kB", rollup, re.MULTILINE))
    return 1024 * total
