"""The program around the commands: what it prints, and where."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
