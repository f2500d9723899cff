"""A run that is killed, twice, and resumed ends bit for bit where an uninterrupted one does."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.training.reporting import read_metrics
from yolox_jax.training.run_directory import RunDirectory
from yolox_jax.weights import read_weights

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
STEPS_PER_EPOCH = 8
VOLATILE = {"images_per_second", "data_wait", "memory_mib"}
CONFIG = """
from yolox_jax.config import *

def get_config():
    return Config(
        model=ModelConfig(variant="yolox_nano"),
        data=DataConfig(
            train=DatasetConfig(format="shapes", images={images!r}, split="train"),
            val=DatasetConfig(format="shapes", images={images!r}, split="val"),
            input_size=(64, 64),
            max_boxes=40,
        ),
        schedule=ScheduleConfig(epochs=4, warmup_epochs=1, no_aug_epochs=1),
        # A short ramp: at the usual one, the average forgets everything in a step as early as this.
        train=TrainConfig(batch_size=4, ema_ramp_steps=10.0, multiscale_px=None, log_interval=1),
        evaluation=EvaluationConfig(interval=2, batch_size=6, num_pictures=3),
    )
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    """Four epochs of eight steps, with evaluations after the second and the last."""
    folder = tmp_path_factory.mktemp("shapes")
    generate_shapes(folder / "data", num_train=4 * STEPS_PER_EPOCH, num_val=6, image_size=96, seed=0)
    path = folder / "small.py"
    path.write_text(CONFIG.format(images=str(folder / "data")))
    return path


class Run:
    """`train.py` as a user starts it, in a folder."""

    def __init__(self, config_file: Path, folder: Path, *flags: str) -> None:
        self.directory = RunDirectory(folder)
        self._output = folder.with_suffix(".out")
        command = [sys.executable, "train.py", "--config", str(config_file), "--workdir", str(folder), *flags]
        with self._output.open("w") as output:
            # The processes that load images inherit stdout: it ends with the last of them.
            self._process = subprocess.Popen(
                command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=output, start_new_session=True
            )

    def output(self) -> str:
        return self._output.read_text()

    def finish(self) -> None:
        self._process.communicate(timeout=300)
        assert self._process.returncode == 0, self.output()

    def kill_when(self, moment: Callable[[RunDirectory], bool]) -> None:
        deadline = time.monotonic() + 300
        while not moment(self.directory):
            assert self._process.poll() is None, f"ended before the moment to kill it came:\n{self.output()}"
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.001)
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL

    def leaves_processes(self, patience_s: float = 20.0) -> bool:
        """Whether a process that loads images outlives the run."""
        try:
            self._process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            return True
        return False

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            # Not SIGKILL: the process that gives shared memory back ignores SIGTERM, so that it ends as the last.
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.communicate()


def steps_logged(run: RunDirectory) -> int:
    return max((record["step"] for record in read_metrics(run.metrics)), default=0)


def newest_checkpoint(run: RunDirectory) -> int:
    return max(int(path.name) for path in run.checkpoints.iterdir() if path.name.isdigit())


def being_written(run: RunDirectory, step: int) -> bool:
    return any(run.checkpoints.glob(f"{step}.orbax-checkpoint-tmp*"))


@pytest.fixture(scope="module")
def whole(config_file, tmp_path_factory) -> RunDirectory:
    """The run that nobody disturbed."""
    with Run(config_file, tmp_path_factory.mktemp("runs") / "whole") as run:
        run.finish()
    return run.directory


def test_a_run_killed_in_an_epoch_and_in_a_checkpoint_ends_as_the_whole_one(config_file, whole, tmp_path):
    folder, with_a_process = tmp_path / "killed", ("--data.num-workers", "1")
    with Run(config_file, folder, *with_a_process) as run:
        run.kill_when(lambda directory: steps_logged(directory) >= 18)
        assert 16 < steps_logged(run.directory) < 32
        start = newest_checkpoint(run.directory)
        assert not run.leaves_processes()

    with Run(config_file, folder, "--resume", *with_a_process) as run:
        run.kill_when(lambda directory: being_written(directory, 24))
        assert f"resumed after step {start} of 32" in run.output()
        # 16 where the checkpoint was still being written, as it nearly always is; on a busy machine it may be whole.
        start = newest_checkpoint(run.directory)
        assert start in (16, 24)

    with Run(config_file, folder, "--resume") as run:
        run.finish()
        assert f"resumed after step {start} of 32" in run.output()

    for path in ("last_weights", "best_weights"):
        expected, found = (read_weights(getattr(run, path)).state_dict for run in (whole, RunDirectory(folder)))
        assert expected.keys() == found.keys()
        assert [key for key in expected if not np.array_equal(expected[key], found[key])] == []
    expected, found = (without_timings(read_metrics(run.metrics)) for run in (whole, RunDirectory(folder)))
    assert len(expected) == 32 + 2
    assert found == expected


def without_timings(records: list[dict]) -> list[dict]:
    return [{key: value for key, value in record.items() if key not in VOLATILE} for record in records]
