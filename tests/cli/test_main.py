"""The program around the commands: what it prints, and where."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from yolox_jax.cli.main import COMMANDS, main

PRINTS = """
from yolox_jax.cli import main

def command(argv):
    print(argv[1].encode().decode("unicode_escape"))
    return 0

main.main = command
main.program("data")
"""


@pytest.mark.parametrize(("text", "printed"), [("\\u4eba caf\\xe9", b"? caf\xe9"), ("\\udce9", b"?")])
def test_letters_that_stdout_cannot_show_are_replaced(text: str, printed: bytes) -> None:
    encoding = {**os.environ, "PYTHONIOENCODING": "latin-1", "GLIBC_TUNABLES": ""}
    done = subprocess.run(
        [sys.executable, "-c", PRINTS, text], env=encoding, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, printed), done.stderr.decode()


WARNS = """
import logging, sys
from yolox_jax.cli import main
from yolox_jax.text import NOTICE

def command(argv):
    import absl.logging
    logger = logging.getLogger("yolox_jax.any")
    absl.logging.error("theirs")  # would otherwise install a handler of its own
    logger.warning("twice")
    logger.warning("twice")
    logger.warning("fetched", extra=NOTICE)
    return 0

main.main = command
main.program("train")
"""


def test_warnings_are_printed_once_with_their_level_and_notices_without_it() -> None:
    environment = {**os.environ, "GLIBC_TUNABLES": ""}
    done = subprocess.run([sys.executable, "-c", WARNS], env=environment, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.decode().splitlines()) == (
        0,
        ["error: theirs", "warning: twice", "fetched"],
    )


def test_a_warning_during_training_is_left_to_the_console_of_the_run(tmp_path: Path) -> None:
    script = WARNS.replace(
        '    logger.warning("fetched", extra=NOTICE)',
        "    from yolox_jax.config import Config\n"
        "    from yolox_jax.training.reporting.console import TrainingConsole\n"
        "    from yolox_jax.training.run_schedule import RunSchedule\n"
        f"    with TrainingConsole(__import__('pathlib').Path({str(tmp_path)!r}, 'log'), RunSchedule(Config(), 8)):\n"
        "        logger.warning('in training')",
    )
    environment = {**os.environ, "GLIBC_TUNABLES": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False, timeout=90)
    lines = [line for line in done.stderr.decode().splitlines() if "in training" in line]
    assert len(lines) == 1 and not lines[0].startswith("warning"), done.stderr.decode()


def test_without_a_command_all_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    listed = capsys.readouterr().err
    assert all(f"  {command} " in listed for command in COMMANDS)


def test_help_shows_both_forms_of_a_switch_that_has_both(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "--nms, --no-nms Non-maximum suppression in the file." in printed
    assert "--class-agnostic Also suppress" in printed


@pytest.mark.parametrize(
    "command", [*(c for c in COMMANDS if c != "data"), "data anchors", "data check", "data preview"]
)
def test_every_command_has_a_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: yolox-jax {command} ")


def test_a_missing_dataset_is_reported_before_weights_are_downloaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("yolox_jax.cli.published.fetch_if_published", lambda weights: pytest.fail("downloaded"))
    assert main(["train", "--config", "finetune", "--workdir", str(tmp_path / "run")]) == 2
    assert "--data.train.annotations is empty" in capsys.readouterr().err


def test_missing_initial_weights_are_reported_before_the_run_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("yolox_jax.training.trainer.train", lambda *_, **__: pytest.fail("started"))
    words = ["train", "--config", "quickstart", "--workdir", str(tmp_path / "run"), "--model.weights", "missing.pth"]
    assert main(words) == 2
    assert "there is no weights file missing.pth" in capsys.readouterr().err


def test_misspelled_command_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    for words, command in ((["trian"], "train"), (["data", "chekc"], "check")):
        with pytest.raises(SystemExit):
            main(words)
        assert f"did you mean {command}?" in capsys.readouterr().err
