"""What a run prints: on terminals of any width, elsewhere, and in its log."""

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path
from unittest.mock import Mock

import pytest

from yolox_jax.config import Config, ScheduleConfig, TrainConfig
from yolox_jax.training.reporting import console as console_module
from yolox_jax.training.reporting.console import TrainingConsole
from yolox_jax.training.reporting.durations import Pace, format_duration
from yolox_jax.training.reporting.epoch_table import HEADER_EVERY, EpochTable
from yolox_jax.training.run_schedule import RunSchedule

METRICS = {
    "loss": 12.345,
    "iou": 4.0,
    "objectness": 6.0,
    "classification": 2.345,
    "l1": 0.0,
    "lr": 0.00123,
    "images_per_second": 1234.5,
    "data_wait": 0.12,
}
SCHEDULE = RunSchedule(Config(schedule=ScheduleConfig(epochs=300), train=TrainConfig()), steps_per_epoch=7393)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, for the test to change."""
    now = [0.0]
    monkeypatch.setattr(console_module, "time", Mock(perf_counter=lambda: now[0]))
    return now


def test_the_line_of_an_epoch_has_the_means_over_its_steps_and_its_evaluation():
    table = EpochTable(epochs=26)
    table.add(METRICS | {"loss": 1.0}, 30)
    table.add(METRICS | {"loss": 4.0}, 10)
    header, line = table.lines(3, {"AP": 0.25, "AP50": None, "loss": 2.5}, 61.0)
    cells = dict(zip(header.split(), line.split(), strict=True))
    assert cells == {
        "epoch": "3/26",
        "loss": "1.75",
        "iou": "4",
        "obj": "6",
        "cls": "2.35",
        "val": "2.5",
        "AP": "0.2500",
        "AP50": "-",
        "lr": "0.0012",
        "time": "1:01",
    }


@pytest.mark.parametrize(
    ("best_by", "header"), [("AP75", "AP75"), ("recall@0.9", "recall@0.9"), ("AP:safety-helmet", "AP:safety-h…")]
)
def test_the_figure_that_chooses_the_best_weights_stands_in_the_place_of_ap50(best_by, header):
    table = EpochTable(epochs=26, best_by=best_by)
    table.add(METRICS, 30)
    first, second = table.lines(3, {"AP": 0.25, "AP50": 0.5, best_by: 0.75}, 61.0)
    cells = dict(zip(first.split(), second.split(), strict=True))
    assert (cells["AP"], cells[header]) == ("0.2500", "0.7500")
    assert "AP50" not in cells and len(first) == len(second)


def test_a_table_of_the_longest_cells_fits_eighty_columns_and_is_aligned():
    table = EpochTable(epochs=300)
    for epoch, value in enumerate((1.23456e8, 1e-7, 12.3456, float("nan")), 297):
        table.add(dict.fromkeys(METRICS, value) | {"loss": value, "l1": 1.0, "lr": 1.23456e-5}, 10)
        lines = table.lines(epoch, {"AP": 0.5, "AP50": 0.5, "loss": 1234.5}, 86_399)
        assert {len(line) for line in lines} == {80}


def test_an_end_to_end_network_has_one_more_column():
    table = EpochTable(epochs=26)
    table.add(METRICS | {"one_to_one": 0.25}, 30)
    header, line = table.lines(3, None, 61.0)
    assert dict(zip(header.split(), line.split(), strict=True))["one"] == "0.25"


def test_columns_appear_with_their_first_value_below_a_new_header():
    table, headers = EpochTable(epochs=100), []
    for epoch in range(1, 4):
        table.add(METRICS | {"l1": float(epoch == 3)}, 10)
        headers.append([line.split() for line in table.lines(epoch, {"AP": 0.1} if epoch == 2 else None, 1.0)][:-1])
    (first,), (second,), (third,) = headers
    assert "AP" not in first and "AP" in second and "l1" not in second and {"AP", "l1"} <= set(third)


def test_the_header_is_repeated_before_it_scrolls_away():
    table, num_lines = EpochTable(epochs=100), []
    for epoch in range(1, HEADER_EVERY + 2):
        table.add(METRICS, 10)
        num_lines.append(len(table.lines(epoch, None, 1.0)))
    assert num_lines == [2, *[1] * (HEADER_EVERY - 1), 2]


def test_an_evaluation_repeated_on_resume_has_a_line_without_losses():
    header, line = EpochTable(epochs=2).lines(1, {"AP": 0.1, "AP50": 0.2}, 1.0)
    cells = dict(zip(header.split(), line.split(), strict=True))
    assert cells["AP"] == "0.1000" and {cells["loss"], cells["lr"]} == {"-"}


def test_steps_that_were_all_skipped_do_not_hide_the_losses_of_others():
    table = EpochTable(epochs=2)
    table.add(METRICS | {"loss": float("nan")}, 10)
    table.add(METRICS | {"loss": 3.0}, 10)
    assert table.lines(1, None, 1.0)[1].split()[1] == "3"


@pytest.mark.parametrize(
    ("seconds", "text"), [(59.6, "1:00"), (3600, "1:00:00"), (86_399, "23:59:59"), (2 * 86_400 + 7300, "2 d 02 h")]
)
def test_durations_are_short_and_exact(seconds: float, text: str):
    assert format_duration(seconds) == text


def test_the_time_left_is_that_of_the_steps_after_a_resume_and_runs_down():
    pace = Pace(total_steps=1000)
    pace.add(500, now=100.0)  # compiled before
    assert pace.seconds_left(100.0) is None
    pace.add(600, now=150.0)
    assert pace.seconds_left(150.0) == 200.0
    assert pace.seconds_left(160.0) == 190.0
    assert pace.seconds_left(360.0) is None


@pytest.mark.parametrize("width", [58, 98, 200])
def test_the_bar_says_as_much_as_fits_and_the_time_left_first(tmp_path: Path, clock: list[float], width: int):
    with TrainingConsole(tmp_path / "log.txt", SCHEDULE) as console:
        console.start_at(1_000_000)
        for step in (1_000_001, 1_000_100):
            clock[0] += 1000
            console.took(step)
        console.show_step(1_000_100, "text", METRICS)
        texts = [console.status(width)]
        for activity in ("evaluating 4952/5000", "compiling the step at 416x416, 11 sizes left"):
            console.show(activity)
            texts.append(console.status(width))
    assert all(len(text) <= width for text in texts), texts
    assert texts[0].startswith("epoch 136/300") and "loss 12.3" in texts[0] and texts[0].endswith(" left")
    assert ("waiting for data" in texts[0]) == (width == 200)


def test_an_evaluation_that_has_ended_is_no_longer_shown(tmp_path: Path):
    with TrainingConsole(tmp_path / "log.txt", SCHEDULE) as console:
        console.took(7393)
        console.show("evaluating 40/40")
        assert "evaluating" in console.status(80)
        console.show_epoch(1, {"AP": 0.1, "AP50": 0.2})
        assert console.status(80).startswith("epoch 2/300")


def test_elsewhere_than_on_a_terminal_there_are_plain_lines_without_escape_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with TrainingConsole(tmp_path / "log.txt", SCHEDULE) as console:
        console.took(1)
        console.show_step(1, "epoch 1/300 step 1", METRICS)
        console.show_epoch(1, None)
    captured, log = capsys.readouterr(), (tmp_path / "log.txt").read_text()
    assert captured.out == "" and "\x1b" not in captured.err
    time_and_text, header, line = captured.err.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d epoch 1/300 step 1", time_and_text)
    assert header.split()[:2] == ["epoch", "loss"] and line.split()[:2] == ["1/300", "12.3"]
    assert all(text in log for text in ("epoch 1/300 step 1", header, line))


def test_a_long_compilation_is_told_of_in_few_lines_and_the_cache_where_there_is_one(tmp_path: Path, capsys):
    with TrainingConsole(tmp_path / "log.txt", SCHEDULE) as console:
        for seconds in range(1, 200):
            console.show_compiling((416, 416), seconds, 1, "/cache")
        console.show_compiling((448, 448), 500, 11, None)
    lines = [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    kept = ". The next start is faster: compiled programs are kept in /cache"
    assert lines == [
        *(
            f"compiling the training step at 416x416, for {t} so far; 1 size left{more}"
            for t, more in (("0:20", kept), ("0:40", ""), ("1:20", ""), ("2:40", ""))
        ),
        "compiling the training step at 448x448, for 8:20 so far; 11 sizes left",
    ]


ON_A_TERMINAL = """
import logging, sys, time
from pathlib import Path
from test_console import METRICS, SCHEDULE
from yolox_jax.training.reporting.console import FILE_ONLY, TrainingConsole

with TrainingConsole(Path(sys.argv[1]), SCHEDULE) as console:
    console.start_at(7393)
    logging.getLogger("yolox_jax").info("for the file", extra=FILE_ONLY)
    for step in range(7394, 7400):
        console.took(step)
        console.show_step(step, "a long line of metrics", METRICS)
        time.sleep(0.3)
    console.show_epoch(2, {"AP": 0.1, "AP50": 0.2, "loss": 3.0})
"""


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_nothing_is_wider_than_it_and_the_log_has_what_the_bar_replaces(tmp_path: Path, columns: int):
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environment = {
        **os.environ,
        "TERM": "xterm",
        "PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}",
    }
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        environment.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, str(tmp_path / "log.txt")], stdout=slave, stderr=slave, env=environment
    ) as run:
        os.close(slave)
        output = b""
        with open(master, "rb", buffering=0) as terminal:  # noqa: PTH123
            while True:
                try:
                    output += (read := terminal.read(4096))
                except OSError:  # the other side is closed
                    break
                if not read:
                    break
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    assert run.returncode == 0, text
    lines = [line for line in re.split(r"[\r\n]+", text) if line]
    assert max(map(len, lines)) <= columns, lines
    rows = [line for line in lines if "%" not in line]
    assert [row.split()[0] for row in rows] == ["epoch", "2/300"]
    bar = [line for line in lines if "epoch 2/300" in line and "loss 12.3" in line]
    assert bar and all("%" in line for line in bar), "the bar starts where the run is, and shows the loss"
    log = (tmp_path / "log.txt").read_text()
    assert log.count("a long line of metrics") == 6 and "for the file" in log and rows[1] in log
