"""`yolox-jax data check`: exit codes, what is printed, report.json and the pictures."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bad_datasets import EXPECTED, GOOD, HEIGHT, WIDTH, CocoWriter, encoded, write_bad_coco, write_good_coco
from yolox_jax.cli.main import main
from yolox_jax.config import DataConfig
from yolox_jax.data.dataset import Record
from yolox_jax.data.doctor.finding import Case, Finding
from yolox_jax.report.contact_sheets import draw_contact_sheet


def check(data: DataConfig, output: Path, *words: str) -> int:
    settings = ["--data.input-size", str(HEIGHT), str(WIDTH), "--data.max-boxes", str(data.max_boxes)]
    for split in ("train", "val"):
        dataset = getattr(data, split)
        settings += [f"--data.{split}.images", dataset.images, f"--data.{split}.annotations", dataset.annotations]
    return main(["data", "check", "--config", "yolox_nano", *settings, "--output", str(output), *words])


def read(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "report.json").read_text())
    return content


def test_faults_are_printed_and_written_and_the_exit_code_is_1(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    output = tmp_path / "new" / "report"
    assert check(write_bad_coco(tmp_path), output) == 1
    printed = capfd.readouterr().out
    assert all(f"{kind}: " in printed and text in printed for level, kind, text in EXPECTED if level == "error")
    assert "Training would fail with these settings: duplicate category ids (train); " in printed
    report = read(output)
    assert report["training_would_fail"]
    assert "missing image files (train)" in report["reasons"]
    assert report["splits"]["train"]["images"] == 19
    cases = [
        (finding["level"], finding["kind"], case["text"]) for finding in report["findings"] for case in finding["cases"]
    ]
    for level, kind, text in EXPECTED:
        assert any(entry[:2] == (level, kind) and text in entry[2] for entry in cases), text


def test_each_finding_that_can_be_seen_has_a_picture(tmp_path: Path) -> None:
    check(write_bad_coco(tmp_path), tmp_path / "report")
    findings = read(tmp_path / "report")["findings"]
    pictures = {finding["picture"] for finding in findings} - {None}
    assert pictures == {path.name for path in (tmp_path / "report").glob("*.png")}
    assert all(cv2.imread(str(tmp_path / "report" / name)) is not None for name in pictures)
    assert {finding["kind"] for finding in findings if finding["picture"]} > {
        "boxes without area",
        "boxes outside their image",
        "images of another size than annotated",
        "duplicate images",
    }


def test_warnings_alone_and_sound_data_exit_with_0(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    data = write_good_coco(tmp_path)
    assert check(data, tmp_path / "report") == 0
    printed = capfd.readouterr().out
    assert "Training can start: 0 errors, 0 warnings" in printed
    assert "contact sheet" not in printed
    assert read(tmp_path / "report")["findings"] == []
    (tmp_path / "images" / "2.jpg").write_bytes(b"")
    assert check(data, tmp_path / "report") == 0
    assert [finding["level"] for finding in read(tmp_path / "report")["findings"]] == ["warning"]
    assert check(data, tmp_path / "report", "--data.broken-images", "stop") == 1


def test_pictures_of_an_earlier_check_go_and_other_files_stay(tmp_path: Path) -> None:
    output = tmp_path / "report"
    check(write_bad_coco(tmp_path / "bad"), output)
    assert list(output.glob("*.png"))
    (output / "mine.png").write_bytes(b"")
    check(write_good_coco(tmp_path / "good"), output)
    assert {path.name for path in output.iterdir()} == {"mine.png", "report.json"}


def test_quick_check_opens_no_image(tmp_path: Path) -> None:
    data = write_good_coco(tmp_path)
    whole = (tmp_path / "images" / "2.jpg").read_bytes()
    (tmp_path / "images" / "2.jpg").write_bytes(whole[: len(whole) // 2])
    assert check(data, tmp_path / "report", "--quick") == 0
    assert read(tmp_path / "report")["findings"] == []
    assert read(tmp_path / "report")["quick"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data.train.images", "/no/such"), "--data.train.images: the folder /no/such does not exist"),
        (("--data.val.annotations", "/no/such.json"), "--data.val.annotations: the file /no/such.json does not exist"),
        (("--output", "/dev/null/x"), "--output /dev/null/x cannot be written to"),
        (("--data.input-size", "100", "100"), "--data.input-size must be positive multiples of 32, got 100 100"),
    ],
)
def test_settings_that_lead_nowhere_exit_with_2(
    tmp_path: Path, capfd: pytest.CaptureFixture, words: tuple[str, ...], message: str
) -> None:
    assert check(write_good_coco(tmp_path), tmp_path / "report", *words) == 2
    assert message in capfd.readouterr().err


def test_unknown_flag_exits_with_2(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        check(write_good_coco(tmp_path), tmp_path / "report", "--no-such-flag")
    assert caught.value.code == 2


def test_names_in_any_script_are_printed_and_written(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    data = write_good_coco(tmp_path)
    writer = CocoWriter(tmp_path, "train", {1: "[bold]猫"})
    writer.image(1, "ü 日本 [red].jpg", encoded(1), [0, 0, 100, 0.5])
    writer.image(2, "\ud800.jpg", None, GOOD)
    writer.write()
    assert check(data, tmp_path / "report") == 1
    assert "ü 日本 [red].jpg: [bold]猫 from" in capfd.readouterr().out
    assert "\ud800.jpg" in json.dumps(read(tmp_path / "report"), ensure_ascii=False)


def test_terminal_gets_tables(tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")
    data = write_good_coco(tmp_path)
    writer = CocoWriter(tmp_path, "val", {1: "cat"})
    writer.image(1, "[red]a.jpg", encoded(1), [0, 0, 100, 0.5])
    writer.write()
    assert check(data, tmp_path / "report") == 0
    lines = capfd.readouterr().out.splitlines()
    assert any("│" in line and "images" in line and line.count("│") == 4 for line in lines)
    assert any("│" in line and "[red]a.jpg: cat from" in line for line in lines)


def test_a_path_needs_no_config_and_the_output_says_what_is_checked(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    write_good_coco(tmp_path)
    words = ["data", "check", str(tmp_path), "--output", str(tmp_path / "report")]
    assert main(words) == 0
    printed = capfd.readouterr().out
    assert f"train: COCO, {tmp_path}/train.json, images in {tmp_path}/images" in printed
    assert f"val: COCO, {tmp_path}/val.json, " in printed
    assert "settings of the config finetune (--data.input-size 416 416)" in printed
    assert read(tmp_path / "report")["splits"].keys() == {"train", "val"}
    (tmp_path / "val.json").unlink()
    assert main([*words, "--config", "yolox_nano"]) == 0
    printed = capfd.readouterr().out
    assert f"val: no such split found at {tmp_path}" in printed
    assert "settings of the config yolox_nano (--data.input-size 416 416)" in printed
    assert read(tmp_path / "report")["splits"].keys() == {"train"}


def test_images_elsewhere_can_be_given_with_a_path(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    write_good_coco(tmp_path)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    words = ["data", "check", str(tmp_path / "train.json"), "--output", str(tmp_path / "report")]
    assert main(words) == 2
    assert "Pass their folder with --data.train.images" in capfd.readouterr().err
    for split in ("train", "val"):
        words += [f"--data.{split}.images", str(tmp_path / "elsewhere")]
    assert main(words) == 0


def test_neither_path_nor_config_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert main(["data", "check", "--output", str(tmp_path)]) == 2
    error = capfd.readouterr().err
    assert "pass the path of a dataset (PATH), or --config" in error and "bccd_nano" in error


def _record(path: Path, image: np.ndarray, *boxes: tuple[float, float, float, float]) -> Record:
    assert cv2.imwrite(str(path), image)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Record(path, 1, *image.shape[:2], array, np.zeros(len(array), np.int32))


@pytest.mark.parametrize("size", [(1, 1), (100, 200), (10000, 1)])
@pytest.mark.parametrize("box", [(0, 0, 1, 1), (-5, -5, 300, 300), (1e30, 1e30, 2e30, 2e30), (7, 7, 7, 7)])
def test_boxes_anywhere_can_be_drawn(tmp_path: Path, size: tuple[int, int], box: tuple) -> None:
    record = _record(tmp_path / "a.png", np.zeros((*size, 3), np.uint8))
    case = Case("text " * 100, (record,), (tuple(map(float, box)),))
    sheet = draw_contact_sheet(Finding("kind", ("train",), "note", "", 1, (case,)))
    assert sheet is not None


def test_box_is_outlined_where_it_is_and_beyond_the_image_is_grey(tmp_path: Path) -> None:
    record = _record(tmp_path / "a.png", np.full((80, 80, 3), 255, np.uint8))
    case = Case("text", (record,), ((40.0, 40.0, 160.0, 80.0),))
    sheet = draw_contact_sheet(Finding("kind", ("train",), "note", "", 1, (case,)))
    assert sheet is not None
    # 160 px are shown on 320.
    assert sheet[20, 20].tolist() == [255, 255, 255]
    assert sheet[300, 20].tolist() == [70, 70, 70]
    yellow = np.argwhere((sheet[:, :320] == (0, 255, 255)).all(axis=2))
    assert yellow.min(axis=0).tolist() == [80, 80]
    assert yellow.max(axis=0).tolist() == [159, 319]


def test_images_that_cannot_be_read_have_no_picture(tmp_path: Path) -> None:
    record = Record(tmp_path / "gone.jpg", 1, 9, 9, np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
    assert draw_contact_sheet(Finding("kind", ("train",), "note", "", 1, (Case("text", (record,)),))) is None
