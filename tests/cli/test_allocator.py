"""Commands restart with an allocator that keeps freed memory, unless the user chose one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from yolox_jax.cli.allocator import LIBRARY, allocator_variables

CHOSEN = ("LD_PRELOAD", "GLIBC_TUNABLES")
TELLS = """
import os, sys
from pathlib import Path
from yolox_jax.cli.allocator import restart_with_allocator

restart_with_allocator()
loaded = "libmimalloc" in Path("/proc/self/maps").read_text()
print(sys.argv[1], loaded, {name: os.environ[name] for name in ("LD_PRELOAD", "GLIBC_TUNABLES") if name in os.environ})
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these variables")


def told(**chosen: str) -> str:
    """What a program with these of its variables finds after the restart."""
    kept = {name: value for name, value in os.environ.items() if name not in CHOSEN}
    command = [sys.executable, "-c", TELLS, "argument"]
    done = subprocess.run(command, env=kept | chosen, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_programs_restart_with_mimalloc_and_keep_their_arguments() -> None:
    library = allocator_variables()["LD_PRELOAD"]
    assert told() == f"argument True {{'LD_PRELOAD': {library!r}}}"


@pytest.mark.parametrize("chosen", [{"LD_PRELOAD": ""}, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}])
def test_the_choice_of_the_user_holds(chosen: dict[str, str]) -> None:
    assert told(**chosen) == f"argument False {chosen}"


def test_without_mimalloc_glibc_takes_large_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = tmp_path / "a folder"
    (spaced / LIBRARY).parent.mkdir(parents=True)
    (spaced / LIBRARY).touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(spaced)])
    assert allocator_variables() == {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    (tmp_path / LIBRARY).parent.mkdir(parents=True)
    (tmp_path / LIBRARY).touch()
    assert allocator_variables()["LD_PRELOAD"] == str(tmp_path / LIBRARY)
