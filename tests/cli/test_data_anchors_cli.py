"""`yolox-jax data anchors`, from its flags to what it prints and draws."""

import ast
import json
import re
from pathlib import Path

import cv2
import pytest

from yolox_jax.cli.main import main
from yolox_jax.cli.settings import parse_with_config
from yolox_jax.cli.train import TrainArguments
from yolox_jax.config import Config, ConfigError
from yolox_jax.config.assignment import YOLOV3_ANCHORS
from yolox_jax.data.sources.shapes import generate_shapes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("anchors") / "shapes"
    generate_shapes(folder, num_train=12, num_val=1, image_size=128)
    return folder


def anchors_of(path: Path, *words: str | Path) -> int:
    return main(["data", "anchors", str(path), *map(str, words)])


def parsed(flags: str) -> Config:
    words = f"--config yolox_s --workdir run {flags}".split()
    return parse_with_config(TrainArguments, words, prog="test", description="Test.")[1]


def flags_printed(printed: str) -> str:
    return printed.partition("on a command line:\n")[2].splitlines()[0].strip()


def test_printed_flags_and_printed_lines_are_the_same_valid_setting(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert anchors_of(folder) == 0
    printed = capfd.readouterr().out
    config = parsed(flags_printed(printed))
    lines = printed[printed.index("    anchors=(") : printed.index("on a command line")]
    assert ast.literal_eval(lines.replace("anchors=", "").strip().rstrip(",")) == config.model.anchors
    assert len(config.model.anchors) == 9
    assert config.assignment.rule == "yolov3"
    assert "settings of the config finetune (--data.input-size 416 416)" in printed


def test_sizes_are_those_at_the_input_size(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = []
    for side in (128, 256):
        assert anchors_of(folder, "--data.input-size", side, side, "--count", 3) == 0
        printed = capfd.readouterr().out
        assert f"resized to fit {side}x{side} px" in printed
        found.append(parsed(flags_printed(printed)).model.anchors)
    for small, large in zip(*found, strict=True):
        assert large == pytest.approx([2 * value for value in small], abs=0.2)


def test_both_fits_are_printed_and_written_with_a_picture(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "anchors"
    assert anchors_of(folder, "--output", output) == 0
    printed = capfd.readouterr().out
    document = json.loads((output / "anchors.json").read_text())
    (published,) = document["compared_with"]
    assert published["anchors"] == [list(anchor) for anchor in YOLOV3_ANCHORS]
    for name, figures in (("these anchors", document), ("YOLOv3's, of COCO", published)):
        assert re.search(rf"{name} +{figures['mean_best_iou']:.4f} ", printed)
    assert document["mean_best_iou"] > published["mean_best_iou"]
    assert sum(document["share_of_boxes_by_stride"].values()) == pytest.approx(1)
    assert cv2.imread(str(output / "anchors.png")).shape[1] > 1000
    assert len(list(output.iterdir())) == 2


def test_without_output_nothing_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert anchors_of(folder, "--count", "3") == 0
    assert list(tmp_path.iterdir()) == []
    assert "wrote" not in capfd.readouterr().out


def test_a_config_needs_no_path(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = f"--config yolox_nano --data.train.images {folder}/images"
    words += f" --data.train.annotations {folder}/instances_train.json --seed 3"
    printed = []
    for _ in range(2):
        assert main(["data", "anchors", *words.split()]) == 0
        printed.append(capfd.readouterr().out)
    assert printed[0] == printed[1]
    assert "settings of the config" not in printed[0]


def test_boxes_that_training_ignores_are_left_out(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert anchors_of(folder, "--count", 3, "--data.augment.min-final-side-px", 120) == 0
    assert re.search(r"without \d+ boxes with a side of at most 120 px", capfd.readouterr().out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--count 8",
            "--count must be a multiple of 3 between 3 and 99, so that each level has as many anchor boxes; got 8. "
            "Pass 6 or 9",
        ),
        ("--count 100", "got 100. Pass 99"),
        ("--count 99", "which cannot be clustered into 99 anchor boxes. Add data, or pass a smaller --count"),
        ("--data.augment.min-final-side-px 5000", "no box exceeds 5000 px (--data.augment.min-final-side-px)"),
        ("--data.train.annotations nowhere.json", "nowhere.json"),
    ],
)
def test_mistakes_are_refused_with_the_way_out(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert anchors_of(folder, *words.split(), "--output", tmp_path / "out") == 2
    assert message in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_that_does_not_exist_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert anchors_of(tmp_path / "nowhere") == 2
    assert "nowhere does not exist. Pass a data.yaml" in capfd.readouterr().err


def test_a_file_as_output_is_refused_before_work(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert anchors_of(folder, "--output", tmp_path / "file") == 2
    captured = capfd.readouterr()
    assert "it is a file, not a folder" in captured.err and not captured.out


def test_data_without_objects_is_refused(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = json.loads((folder / "instances_train.json").read_text())
    (tmp_path / "empty.json").write_text(json.dumps({**content, "annotations": []}))
    assert anchors_of(folder, "--data.train.annotations", tmp_path / "empty.json") == 2
    assert "there is nothing to learn from" in capfd.readouterr().err


def test_anchors_as_flags_leave_what_follows_to_other_arguments() -> None:
    config = parsed("--assignment.rule yolov3 --model.anchors 1.5 2 3 4 5 6 --seed 7")
    assert config.model.anchors == ((1.5, 2.0), (3.0, 4.0), (5.0, 6.0)) and config.seed == 7
    assert parsed("--model.anchors --seed 7").model.anchors == ()


@pytest.mark.parametrize("values", ["1.5 2 3", "1.5 x"])
def test_anchors_that_are_no_pairs_of_numbers_are_refused(values: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(f"--model.anchors {values}")
    message = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"expected any number of groups of two numbers, e.g. 0.5 1.5; got {values}" in message


def test_anchors_of_no_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        parsed("--assignment.rule yolov3 --model.anchors 1 2 3 4 5 0")
