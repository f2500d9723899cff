"""The program around the commands: what it prints, and where."""

import os
import subprocess
import sys

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
