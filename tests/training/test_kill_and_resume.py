"""A run that is killed, twice, and resumed ends bit for bit where an uninterrupted one does."""

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
STEPS_PER_EPOCH = 4
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
        train=TrainConfig(batch_size=4, multiscale_px=None, log_interval=1),
        evaluation=EvaluationConfig(interval=2, batch_size=6, num_pictures=3),
    )
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    """Four epochs of four steps."""
    folder = tmp_path_factory.mktemp("shapes")
    generate_shapes(folder / "data", num_train=16, num_val=6, image_size=96, seed=0)
    path = folder / "small.py"
    path.write_text(CONFIG.format(images=str(folder / "data")))
    return path


def start(config_file: Path, workdir: Path, *flags: str) -> subprocess.Popen:
    """Starts a run as a user does; its children share its process group."""
    command = [sys.executable, "train.py", "--config", str(config_file), "--workdir", str(workdir), *flags]
    output = workdir.with_suffix(".out").open("a")
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=output, start_new_session=True)


def output(workdir: Path) -> str:
    return workdir.with_suffix(".out").read_text()


def finish(run: subprocess.Popen, workdir: Path) -> None:
    assert run.wait(timeout=300) == 0, output(workdir)


def kill_when(run: subprocess.Popen, workdir: Path, moment: Callable[[RunDirectory], bool]) -> None:
    """Sends SIGKILL as soon as `moment` has come."""
    deadline = time.monotonic() + 300
    while not moment(RunDirectory(workdir)):
        assert run.poll() is None, f"ended before the moment to kill it came:\n{output(workdir)}"
        assert time.monotonic() < deadline, output(workdir)
        time.sleep(0.001)
    run.kill()
    assert run.wait() == -signal.SIGKILL


def steps_logged(run: RunDirectory) -> int:
    return max((record["step"] for record in read_metrics(run.metrics)), default=0)


def checkpoints(run: RunDirectory) -> list[int]:
    """Steps of the finished checkpoints."""
    return sorted(int(path.name) for path in run.checkpoints.glob("*") if path.name.isdigit())


def being_written(run: RunDirectory) -> list[str]:
    return [path.name for path in run.checkpoints.glob("*.orbax-checkpoint-tmp*")]


def test_a_run_killed_in_an_epoch_and_in_a_checkpoint_ends_as_the_whole_one(config_file, tmp_path):
    whole, killed = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "killed")
    finish(start(config_file, whole.root), whole.root)

    first = start(config_file, killed.root, "--data.num-workers", "1")
    kill_when(first, killed.root, lambda run: steps_logged(run) >= 6 and checkpoints(run) == [4])
    assert steps_logged(killed) % STEPS_PER_EPOCH, "not within an epoch"
    second = start(config_file, killed.root, "--resume", "--data.num-workers", "1")
    kill_when(second, killed.root, lambda run: any(int(name.split(".")[0]) > 4 for name in being_written(run)))
    assert being_written(killed), "the checkpoint was finished before the run was killed"
    found = checkpoints(killed)
    finish(start(config_file, killed.root, "--resume"), killed.root)

    assert output(killed.root).count("resumed after step 4 of 16") == 2 and found == [4]
    for path, other in ((whole.last_weights, killed.last_weights), (whole.best_weights, killed.best_weights)):
        expected, got = read_weights(path).state_dict, read_weights(other).state_dict
        assert expected.keys() == got.keys()
        assert [key for key in expected if not np.array_equal(expected[key], got[key])] == []
    expected, got = (
        [{key: value for key, value in record.items() if key not in VOLATILE} for record in read_metrics(run.metrics)]
        for run in (whole, killed)
    )
    assert len(expected) == 16 + 2 and expected == got
