"""`yolox-jax data preview`, from its flags to its picture."""

import json
from pathlib import Path

import cv2
import pytest

from yolox_jax.cli.main import main
from yolox_jax.data.sources.shapes import generate_shapes

SIZE = (64, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five training images of 128x128 px: three steps an epoch at batch 2."""
    folder = tmp_path_factory.mktemp("preview") / "shapes"
    generate_shapes(folder, num_train=5, num_val=1, image_size=128)
    return folder


def preview(folder: Path, *words: str | Path) -> int:
    flags = f"--data.train.format coco --data.train.images {folder}/images --data.input-size {SIZE[0]} {SIZE[1]}"
    flags += f" --data.train.annotations {folder}/instances_train.json --train.batch-size 2"
    flags += " --schedule.epochs 3 --schedule.no-aug-epochs 1"
    return main(["data", "preview", "--config", "quickstart", *flags.split(), *map(str, words)])


def test_by_default_one_sheet_shows_the_first_epoch_and_the_last(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    heights = []
    for words in ((), ("--epoch", 2)):
        path = tmp_path / "new" / "sheet.png"
        assert preview(folder, *words, "--count", 3, "--output", path) == 0
        out = capfd.readouterr().out
        assert f"wrote {path}" in out
        assert ("epoch 1: 3 images" in out, "epoch 2" in out, "epoch 3" in out) == (not words, bool(words), not words)
        heights.append(cv2.imread(str(path)).shape[0])
    assert heights[0] == 2 * heights[1]


def test_a_path_needs_no_config(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "sheet.png"
    assert main(["data", "preview", str(folder), "--count", "1", "--output", str(output)]) == 0
    assert "epoch 30: 1 image, " in capfd.readouterr().out
    assert output.is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--epoch", "4"), "--epoch must be between 1 and 3 (--schedule.epochs), got 4"),
        (("--epoch", "0"), "--epoch must be between 1 and 3 (--schedule.epochs), got 0"),
        (("--count", "0"), "--count must be at least 1, got 0"),
        (("--count", "7"), "--count must be at most 6, the number of images per epoch; got 7"),
        (("--output", "sheet.gif"), "ends in .png or .jpg"),
        (("--data.train.annotations", "nowhere.json"), "nowhere.json"),
    ],
)
def test_mistakes_are_refused_with_the_way_out(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert preview(folder, "--output", tmp_path / "sheet.png", *words) == 2
    assert message in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_as_output_is_refused(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").mkdir()
    assert preview(folder, "--output", tmp_path / "a.png") == 2
    assert "is a folder" in capfd.readouterr().err


def test_data_without_objects_is_refused(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = json.loads((folder / "instances_train.json").read_text())
    (tmp_path / "empty.json").write_text(json.dumps({**content, "annotations": []}))
    assert preview(folder, "--data.train.annotations", tmp_path / "empty.json", "--output", tmp_path / "a.png") == 2
    assert "there is nothing to learn from" in capfd.readouterr().err
