"""A run that is killed at any time, or asked to stop, and resumed ends bit for bit where an undisturbed one does."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from saved_runs import differing_parts, lasting_metrics, saved_state
from yolox_jax.config.files import load_config
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.training.reporting.metrics_log import read_metrics
from yolox_jax.training.run_directory import RunDirectory
from yolox_jax.weights import read_weights

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
STEPS_PER_EPOCH = 8
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
        train=TrainConfig(
            batch_size=4,
            ema_ramp_steps=10.0,
            multiscale_px=(64, 96),
            multiscale_interval=3,
            log_interval=1,
            checkpoint_steps=5,
        ),
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

    def finish(self, exit_code: int = 0) -> None:
        self._process.communicate(timeout=300)
        assert self._process.returncode == exit_code, self.output()

    def interrupt_when(self, moment: Callable[[RunDirectory], bool], number: signal.Signals) -> None:
        self._wait_for(moment)
        # To all of its processes, as a terminal and Slurm do.
        os.killpg(self._process.pid, number)

    def kill_when(self, moment: Callable[[RunDirectory], bool]) -> None:
        self._wait_for(moment)
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL

    def _wait_for(self, moment: Callable[[RunDirectory], bool]) -> None:
        deadline = time.monotonic() + 300
        while not moment(self.directory):
            assert self._process.poll() is None, f"ended before the moment to kill it came:\n{self.output()}"
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.001)

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
    return max((int(path.name) for path in run.checkpoints.glob("*") if path.name.isdigit()), default=0)


def being_written(run: RunDirectory, step: int) -> bool:
    return any(run.checkpoints.glob(f"{step}.orbax-checkpoint-tmp*"))


def changed_its_size(run: RunDirectory, after: int) -> bool:
    """Whether the newest step has another input size than the one before it."""
    heights = [record["input_height"] for record in read_metrics(run.metrics) if record["kind"] == "train"]
    return len(heights) > after and heights[-1] != heights[-2]


@pytest.fixture(scope="module")
def whole(config_file, tmp_path_factory) -> RunDirectory:
    """The run that nobody disturbed."""
    with Run(config_file, tmp_path_factory.mktemp("runs") / "whole") as run:
        run.finish()
    return run.directory


def assert_same(config_file: Path, found: RunDirectory, whole: RunDirectory) -> None:
    """Weights, averages, statistics, optimizer, counts and metrics are the same to the bit."""
    config = load_config(config_file)
    assert differing_parts(*(saved_state(config, 4, run.root) for run in (whole, found))) == set()
    for path in ("last_weights", "best_weights"):
        expected, state_dict = (read_weights(getattr(run, path)).state_dict for run in (whole, found))
        assert [key for key in expected if not np.array_equal(expected[key], state_dict[key])] == []
    assert len(lasting_metrics(whole.root)) == 4 * STEPS_PER_EPOCH + 2
    assert lasting_metrics(found.root) == lasting_metrics(whole.root)


def test_a_run_killed_at_any_time_ends_as_the_whole_one(config_file, whole, tmp_path):
    """Loading goes on in threads after a kill with processes, and the other way round."""
    folder = tmp_path / "killed"
    seed = int(time.time())
    print("moments drawn with", seed)
    early, late = random.Random(seed).randint(6, 9), random.Random(seed).randint(22, 30)
    moments = [
        lambda run: steps_logged(run) >= early,
        lambda run: being_written(run, 15) or newest_checkpoint(run) >= 15,
        lambda run: changed_its_size(run, after=17),
        lambda run: steps_logged(run) >= late,
    ]
    start = 0
    for number, moment in enumerate(moments):
        flags = ["--data.num-workers", str(2 * (number % 2)), *(["--resume"] if number else [])]
        with Run(config_file, folder, *flags) as run:
            run.kill_when(moment)
            # 0 where the first checkpoint, of step 5, was still being written.
            assert not start or f"resumed after step {start}" in run.output()
            assert not run.leaves_processes()
        assert newest_checkpoint(run.directory) >= start
        start = newest_checkpoint(run.directory)
    assert start > 0
    with Run(config_file, folder, "--resume") as run:
        run.finish()
    assert_same(config_file, run.directory, whole)


def test_a_run_that_draws_on_the_device_killed_and_resumed_ends_as_the_whole_one(config_file, tmp_path):
    flags = ("--data.augment.on", "device", "--data.augment.partners", "batch", "--train.multiscale-px", "None")
    with Run(config_file, tmp_path / "whole", *flags) as run:
        run.finish()
    whole = run.directory
    for number, step in enumerate((8, 26)):  # the second among the epochs without mosaic
        with Run(config_file, tmp_path / "killed", *flags, *(["--resume"] if number else [])) as run:
            run.kill_when(lambda directory, step=step: steps_logged(directory) >= step)
    with Run(config_file, tmp_path / "killed", *flags, "--resume", "--data.num-workers", "2") as run:
        run.finish()
    assert_same(config_file, run.directory, whole)


def test_an_extended_run_with_adamw_killed_and_resumed_ends_as_the_undisturbed_extension(config_file, tmp_path):
    adamw = ("--optimizer.name", "adamw", "--optimizer.layer-decay", "0.8", "--train.multiscale-px", "None")
    adamw += ("--train.ema-decay", "0")
    extended = ("--schedule.epochs", "4", "--train.batch-size", "8", "--schedule.name", "warmcos")
    extension = (*adamw, *extended, "--resume", "--extend")
    with Run(config_file, tmp_path / "whole", *adamw, "--schedule.epochs", "2") as run:
        run.finish()
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    with Run(config_file, tmp_path / "whole", *extension) as run:
        run.finish()
    whole = run.directory
    assert "extending the run after 2 epochs, to 4: --schedule.epochs 2 -> 4" in run.output()
    assert "--train.batch-size 4 -> 8" in run.output() and "learning rate" in run.output()
    moments = [(17, extension), (23, (*adamw, *extended, "--resume"))]
    for step, flags in moments:  # first before the extension has a checkpoint of its own, which follows step 20
        with Run(config_file, tmp_path / "killed", *flags) as run:
            run.kill_when(lambda directory, step=step: steps_logged(directory) >= step)
    with Run(config_file, tmp_path / "killed", *extension) as run:  # the same command once more
        run.finish()
        assert re.search("resumed after step (16|20)", run.output()) and "extending" not in run.output()
    config = load_config(whole.root)
    assert config.schedule.name == "warmcos" and config.train.batch_size == 8
    states = [saved_state(config, 4, path) for path in (whole.root, tmp_path / "killed")]
    assert differing_parts(*states) == set()
    assert all(map(np.array_equal, *(jax.tree.leaves(part) for part in (states[0].params, states[0].ema_params))))
    records = lasting_metrics(whole.root)
    assert lasting_metrics(tmp_path / "killed") == records
    assert [record["step"] for record in records if record["kind"] == "train"] == list(range(1, 25))
    assert [record["epoch"] for record in records if record["kind"] == "evaluation"] == [2, 4]
    (recorded,) = json.loads(whole.config.read_text())["extensions"]
    assert (recorded["step"], recorded["epoch"], recorded["step_offset"]) == (16, 2.0, 8)
    assert recorded["changes"]["schedule.name"] == ["yoloxwarmcos", "warmcos"]


def test_a_run_asked_to_stop_saves_at_once_and_ends_as_the_whole_one(config_file, whole, tmp_path):
    folder, flags = tmp_path / "stopped", ("--data.num-workers", "2")
    with Run(config_file, folder, *flags) as run:
        run.interrupt_when(lambda directory: steps_logged(directory) >= 7, signal.SIGTERM)
        run.finish(exit_code=143)
        stopped_after = newest_checkpoint(run.directory)
        assert stopped_after == steps_logged(run.directory) and stopped_after >= 7
        assert f"stopped by SIGTERM after step {stopped_after} of 32" in run.output()
    with Run(config_file, folder, "--resume", *flags) as run:
        run.interrupt_when(lambda directory: steps_logged(directory) > stopped_after, signal.SIGINT)
        run.finish(exit_code=130)
        assert "stopped by SIGINT" in run.output()
    with Run(config_file, folder, "--resume") as run:
        run.finish()
    assert_same(config_file, run.directory, whole)
