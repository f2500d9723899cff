"""The config of a run, loaded from another folder than the one it was started in."""

import json
from pathlib import Path

import pytest

from yolox_jax.config import Config, DataConfig, DatasetConfig
from yolox_jax.config.files import WORKING_DIRECTORY, load_config, run_settings

HERE = DatasetConfig(images="mine/images", annotations="mine/a.json")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Started in tmp_path/start, where its data are; the current folder is tmp_path/other."""
    for folder in ("start/mine/images", "start/run", "other"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "start" / "mine" / "a.json").touch()
    monkeypatch.chdir(tmp_path / "start")
    config = Config(data=DataConfig(train=HERE, val=HERE, more_val=(HERE,)))
    (tmp_path / "start" / "run" / "config.json").write_text(json.dumps(run_settings(config)))
    assert load_config("run") == config
    monkeypatch.chdir(tmp_path / "other")
    return tmp_path / "start" / "run"


def test_relative_paths_are_found_where_the_run_was_started(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load_config(run).data
    expected = DatasetConfig(images=str(run.parent / "mine/images"), annotations=str(run.parent / "mine/a.json"))
    assert (data.train, data.val, data.more_val) == (expected, expected, (expected,))
    assert caplog.text.count("not found here") == 1
    assert f"mine/images, mine/a.json not found here, taken from {run.parent}" in caplog.text


def test_paths_that_exist_here_are_kept_and_told(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path("mine/images").mkdir(parents=True)
    val = load_config(run).data.val
    assert (val.images, val.annotations) == ("mine/images", str(run.parent / "mine/a.json"))
    assert f"mine/images taken from here; the run was started in {run.parent} with other files" in caplog.text


def test_paths_that_exist_nowhere_and_runs_without_a_record_stay_as_they_are(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (run.parent / "mine" / "a.json").unlink()
    assert load_config(run).data.val.annotations == "mine/a.json"
    recorded = json.loads((run / "config.json").read_text())
    cannot_be_looked_into = f"/{'x' * 300}"
    for origin in ({}, *({WORKING_DIRECTORY: folder} for folder in (None, 5, cannot_be_looked_into))):
        settings = {name: value for name, value in recorded.items() if name != WORKING_DIRECTORY}
        (run / "config.json").write_text(json.dumps({**settings, **origin}))
        caplog.clear()
        assert load_config(run).data.val == HERE
        assert not caplog.text


def test_paths_in_the_home_folder_do_not_depend_on_the_working_directory(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(data=DataConfig(val=DatasetConfig(images="~/images", annotations="/a.json")))
    (run / "config.json").write_text(json.dumps({**run_settings(config), WORKING_DIRECTORY: str(run.parent)}))
    (run.parent / "~" / "images").mkdir(parents=True)
    assert load_config(run).data.val == config.data.val
    assert not caplog.text
