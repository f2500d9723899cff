"""One run trains in a folder at a time, and a start that fails leaves the folder as it was."""

import os
from pathlib import Path

import pytest

from yolox_jax import files
from yolox_jax.config import Config, ConfigError, DataConfig, DatasetConfig
from yolox_jax.training import run_lock
from yolox_jax.training.preparation import prepare
from yolox_jax.training.run_directory import RunDirectory
from yolox_jax.training.run_lock import RunLock


def content(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def start_in(run: RunDirectory) -> None:
    """What a start creates before its first step."""
    run.checkpoints.mkdir(exist_ok=True)
    run.log.write_text("a line\n")
    run.tensorboard.mkdir()
    (run.tensorboard / "events").touch()


def fail_to_start(run: RunDirectory, error: BaseException) -> None:
    with pytest.raises(type(error)), RunLock(run) as lock:
        run.root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        start_in(run)
        raise error


def test_a_folder_in_which_another_process_trains_is_refused_and_left_alone(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with RunLock(run) as lock:
        lock.acquire()
        start_in(run)
        before = content(tmp_path)
        with (
            pytest.raises(ConfigError, match=rf"another process is training there \(process {os.getpid()} on "),
            RunLock(run) as other,
        ):
            other.acquire()
        assert content(tmp_path) == before
    with RunLock(run) as lock:
        lock.acquire()


@pytest.mark.parametrize("error", [ConfigError("wrong"), KeyboardInterrupt()])
def test_a_failed_start_removes_the_folders_that_it_created(tmp_path, error):
    fail_to_start(RunDirectory(tmp_path / "runs" / "a"), error)
    assert content(tmp_path) == set()


def test_a_failed_start_keeps_what_was_in_its_folder(tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "checkpoints").mkdir()
    fail_to_start(RunDirectory(tmp_path), ConfigError("wrong"))
    assert content(tmp_path) == {"notes.txt", "checkpoints"}


def test_a_failed_start_keeps_files_that_others_put_there_meanwhile(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(ConfigError), RunLock(run) as lock:
        lock.acquire()
        start_in(run)
        (run.root / "notes.txt").touch()
        raise ConfigError("wrong")
    assert content(tmp_path) == {"run", "run/notes.txt"}


def test_a_failed_start_keeps_the_lock_file_of_an_earlier_run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with RunLock(run) as lock:
        lock.acquire()
    fail_to_start(run, ConfigError("wrong"))
    assert content(tmp_path) == {"run", "run/lock"}


@pytest.mark.parametrize("left", ["checkpoints/4/x", "metrics.jsonl", "non_finite/step_1.npz"])
def test_a_run_that_has_trained_keeps_its_files_when_it_fails(tmp_path, left):
    run = RunDirectory(tmp_path)
    with pytest.raises(RuntimeError), RunLock(run) as lock:
        lock.acquire()
        (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / left).write_text("x")
        raise RuntimeError
    assert {left, "lock"} <= content(tmp_path)


def test_a_lock_file_that_a_failed_start_removes_meanwhile_is_not_taken(tmp_path, monkeypatch):
    run, lock_file = RunDirectory(tmp_path), files.lock_file

    def lock_after_removal(file, *, wait):
        if removals:
            removals.pop().unlink()
        lock_file(file, wait=wait)

    removals = [run.lock]
    monkeypatch.setattr(run_lock, "lock_file", lock_after_removal)
    with RunLock(run) as lock:
        lock.acquire()
        with pytest.raises(ConfigError, match="another process is training"), RunLock(run) as other:
            other.acquire()


def test_without_locks_a_failed_start_removes_no_file_that_may_be_of_another_run(tmp_path, monkeypatch):
    def no_locks(*_, **__):
        raise OSError("no locks available")

    monkeypatch.setattr(run_lock, "lock_file", no_locks)
    fail_to_start(RunDirectory(tmp_path / "run"), ConfigError("wrong"))
    assert content(tmp_path) == {"run", "run/log.txt", "run/tensorboard", "run/tensorboard/events"}


def test_a_dataset_that_is_missing_leaves_no_run_directory(tmp_path):
    missing = DatasetConfig(format="coco", images=str(tmp_path / "none"), annotations=str(tmp_path / "none.json"))
    with (
        pytest.raises(Exception, match="none"),
        prepare(Config(data=DataConfig(train=missing, val=missing)), tmp_path / "runs" / "a", resume=False),
    ):
        pass
    assert content(tmp_path) == set()


def test_a_folder_of_checkpoints_that_cannot_be_written_is_an_error_before_work(tmp_path):
    (tmp_path / "checkpoints").touch()
    with (
        pytest.raises(ConfigError, match=r"--workdir: the checkpoint folder .*checkpoints cannot be written to"),
        prepare(Config(), tmp_path, resume=False),
    ):
        pass
    assert content(tmp_path) == {"checkpoints"}
