"""Commands that are given the name of published weights."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from file_server import Server, file, serve
from pth_files import pth_of
from yolox_jax.cli.main import main
from yolox_jax.cli.progress import show_download, show_progress
from yolox_jax.config import Config
from yolox_jax.models import create_model
from yolox_jax.training import trainer
from yolox_jax.weights import export_state_dict, load_weights


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The weights of a nano, and the server that has them."""
    monkeypatch.delenv("YOLOX_JAX_OFFLINE")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    state_dict = export_state_dict(create_model("yolox_nano", 80, seed=3))
    with serve(Server()) as server:
        server.answers = [file(pth_of(state_dict, tmp_path))]
        monkeypatch.setenv("YOLOX_JAX_WEIGHTS_URL", server.url)
        yield state_dict, server


def test_predict_fetches_them_with_progress(published, tmp_path, capfd):
    _, server = published
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 60, 3), np.uint8))
    words = f"predict {tmp_path}/a.png --weights yolox_nano --output {tmp_path}/out --input-size 64 64 --batch-size 2"
    assert main([*words.split(), "--score-threshold", "1e-9", "--max-detections", "5"]) == 0
    shown = re.sub(r"\s+", " ", capfd.readouterr().err)
    assert "3 of 3 MiB" in shown
    (entry,) = json.loads(Path(tmp_path / "out" / "detections.json").read_text())
    assert entry["detections"]
    assert len(server.requests) == 1


def test_a_failed_download_is_an_error_without_a_traceback(published, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("YOLOX_JAX_OFFLINE", "1")
    (tmp_path / "a.png").touch()
    assert main(f"predict {tmp_path}/a.png --weights yolox_nano --output {tmp_path}/out".split()) == 2
    assert capfd.readouterr().err.startswith("error: the weights of yolox_nano are not in")


def test_train_fetches_them_with_progress_before_the_run_starts(published, tmp_path, capfd, monkeypatch):
    state_dict, server = published
    models = []

    def load_instead(config: Config, **_: object) -> None:
        model = create_model(config.model.variant, 80)
        load_weights(model, config.model.weights)
        models.append(model)

    monkeypatch.setattr(trainer, "train", load_instead)
    words = f"train --config yolox_nano --model.weights yolox_nano --workdir {tmp_path}/run"
    assert main(words.split()) == 0
    assert "3 of 3 MiB" in capfd.readouterr().err
    assert len(server.requests) == 1
    for key, array in export_state_dict(models[0]).items():
        np.testing.assert_array_equal(array, state_dict[key])


def test_a_name_is_the_published_network_and_a_path_the_run(published, tmp_path, capfd, monkeypatch):
    _, server = published
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", np.zeros((40, 60, 3), np.uint8))
    Path("yolox_nano").mkdir()
    words = "predict a.png --output out --input-size 64 64 --score-threshold 1"
    assert main([*words.split(), "--weights", "./yolox_nano"]) == 2
    assert "yolox_nano" in capfd.readouterr().err
    assert server.requests == []
    assert main([*words.split(), "--weights", "yolox_nano"]) == 0
    assert len(server.requests) == 1


def test_a_download_of_unknown_length_shows_nothing_off_a_terminal(capfd):
    with show_download() as on_progress:
        on_progress(2**20, None)
        on_progress(2**20, 10 * 2**20)
    assert capfd.readouterr().err == "1 of 10 MiB\n"


def test_progress_shows_nothing_before_its_first_call(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take stderr for a terminal
    with pytest.raises(ValueError), show_progress("pictures"):
        raise ValueError
    assert "pictures" not in capfd.readouterr().err
    with show_progress("pictures") as on_progress:
        on_progress(0, 2)
    assert "0/2" in capfd.readouterr().err
