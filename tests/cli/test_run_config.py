"""Commands that take their config from the weights, or their data from a path."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolox_jax.cli.main import main
from yolox_jax.cli.run_config import config_of_weights
from yolox_jax.config import Config, ConfigError, DatasetConfig
from yolox_jax.config.files import load_config
from yolox_jax.config.serialization import config_to_dict


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "yolox_s"
    for kind in ("best", "last"):
        (run / kind).mkdir(parents=True)
        (run / kind / "weights.safetensors").touch()
    (run / "config.json").write_text(json.dumps(config_to_dict(Config(seed=7))))
    return run


@pytest.mark.parametrize("weights", ["", "best/weights.safetensors", "last/weights.safetensors"])
def test_weights_of_a_run_bring_its_config(run: Path, capsys: pytest.CaptureFixture[str], weights: str) -> None:
    name = config_of_weights(["--weights", str(run / weights)])
    assert name is not None and load_config(name).seed == 7
    assert f"using --config {run}/config.json" in capsys.readouterr().err


def test_weights_in_the_home_folder_bring_their_config(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(run.parent))
    assert load_config(str(config_of_weights(["--weights=~/yolox_s"]))).seed == 7


def test_run_in_the_current_folder_is_told_from_published_weights(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    assert load_config(str(config_of_weights(["--weights=./yolox_s"]))).seed == 7
    assert config_of_weights(["--weights", "yolox_s"]) == "yolox_s"


def test_given_config_is_used(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert config_of_weights(["--weights", str(run), "--config", "yolox_m"]) is None
    assert config_of_weights(["--results", "r.json"]) is None
    assert capsys.readouterr().err == ""


def test_other_weights_need_a_config(tmp_path: Path) -> None:
    (tmp_path / "my_yolox_tiny.pth").touch()
    with pytest.raises(ConfigError, match=r"is not a run directory.*such as --config yolox_tiny, and .*--data PATH"):
        config_of_weights(["--weights", str(tmp_path / "my_yolox_tiny.pth")])
    with pytest.raises(ConfigError, match=r"no such file or run directory; did you mean yolox_nano\?"):
        config_of_weights(["--weights", "yolo_nano"])


@pytest.mark.parametrize("command", ["evaluate", "visualize-assignment"])
def test_commands_take_the_config_of_the_run(run: Path, capfd: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--weights", str(run), "--output", str(run.parent / "out")]) == 2
    error = capfd.readouterr().err
    assert f"using --config {run}/config.json" in error
    assert ".images is empty" in error  # of the config, which has no data


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A training and a validation split."""
    folder = tmp_path / "my coco"
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "1.png"), np.zeros((40, 60, 3), np.uint8))
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": 40, "width": 60}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 30], "area": 600, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configs that would be trained."""
    trainer = pytest.importorskip("yolox_jax.training.trainer")
    configs: list[Config] = []
    monkeypatch.setattr(trainer, "train", lambda config, **keywords: configs.append(config))
    return configs


def test_training_takes_the_datasets_at_a_path(
    coco: Path, trained: list[Config], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--config", "yolox_nano", "--data", str(coco)]) == 0
    data = trained.pop().data
    images = str(coco / "images")
    assert data.train == DatasetConfig(images=images, annotations=str(coco / "train.json"))
    assert data.val == DatasetConfig(images=images, annotations=str(coco / "val.json"))
    assert data.input_size == (416, 416)
    assert f"images in {images}" in capfd.readouterr().out


def test_home_folder_is_found_in_the_config_and_the_dataset(
    coco: Path, run: Path, trained: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(coco.parent))
    assert main(["train", f"--config=~/{run.relative_to(coco.parent)}", f"--data=~/{coco.name}"]) == 0
    config = trained.pop()
    assert config.seed == 7
    assert config.data.train.annotations == str(coco / "train.json")


def test_settings_of_a_dataset_take_precedence_over_the_path(coco: Path, trained: list[Config]) -> None:
    words = ["--data.val.fraction", "0.5", "--data.train.images", "elsewhere"]
    assert main(["train", "--config", "yolox_nano", "--data", str(coco), *words]) == 0
    data = trained.pop().data
    assert data.train.images == "elsewhere"
    assert data.val == dataclasses.replace(
        data.train, images=str(coco / "images"), annotations=str(coco / "val.json"), fraction=0.5
    )


def test_evaluation_on_a_folder_with_one_coco_file_names_the_way_to_use_it(
    coco: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (coco / "val.json").unlink()
    assert main(["evaluate", "--config", "yolox_nano", "--weights", "yolox_nano", "--data", str(coco)]) == 2
    assert f"Pass --data {coco}/train.json to use these images for it" in capfd.readouterr().err


def test_training_needs_a_validation_split(
    coco: Path, trained: list[Config], capfd: pytest.CaptureFixture[str]
) -> None:
    (coco / "val.json").unlink()
    words = ["train", "--config", "yolox_nano", "--data", str(coco / "train.json")]
    assert main(words) == 2
    assert f"--data {coco}/train.json has no validation split. Pass one with --data.val" in capfd.readouterr().err
    assert main([*words, "--data.val.format", "shapes"]) == 0
    assert trained.pop().data.val.format == "shapes"


def test_path_without_a_dataset_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "yolox_nano", "--data", str(tmp_path / "none")]) == 2
    assert "none does not exist" in capfd.readouterr().err


def test_evaluation_takes_one_file(coco: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("[]")
    words = ["evaluate", "--config", "yolox_nano", "--results", str(tmp_path / "r.json"), "--data"]
    (coco / "val.json").rename(coco / "mine.json")
    for path in (coco / "mine.json", coco / "train.json"):
        assert main([*words, str(path)]) == 0
        assert f"val: COCO, {path}, " in capfd.readouterr().out


def test_missing_file_in_a_run_directory_leads_to_the_directory(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=rf"no such file or run directory\. .* pass {tmp_path} itself"):
        config_of_weights(["--weights", str(tmp_path / "best.pth")])
