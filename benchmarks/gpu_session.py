"""Measures what is worth knowing about one GPU in less than half an hour, the most valuable first.

First compiles our training steps in parallel, while nothing is measured: autotuning in another process would disturb
the times. Then runs one part after another, each a benchmark of this folder that writes its own results as it goes.
After each part, everything so far is in session.json: a session that is cut short loses nothing, and the same command
continues it. --rehearse does the same with the smallest networks and images, on any machine.
"""

import argparse
import fnmatch
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import CHECKOUT, describe_run
from gpu_session_parts import Part, full_session, rehearsal
from processes import environment
from yolox_jax.files import write_json

PACKAGES = (
    *("yolox-jax", "jax", "jaxlib", "flax", "optax", "numpy", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
    *("pixeltable-yolox", "torch", "onnxruntime-gpu"),
)
SHORTEST_S = 20.0
"""No part starts with less time left."""
TAIL = 6000
"""Characters kept of what a part prints."""


def main(argv: Sequence[str]) -> None:
    """Measures; `argv` is the command line without the program name."""
    arguments = _parse(argv)
    # The parts run in this checkout, wherever the session was started.
    output, data, before = (path and path.resolve() for path in (arguments.output, arguments.data, arguments.before))
    parts = (rehearsal if arguments.rehearse else full_session)(output, data, before)
    parts = [part for part in parts if any(fnmatch.fnmatch(part.name, pattern) for pattern in arguments.parts)]
    session = Session(output, minutes=arguments.minutes)
    steps = [part for part in parts if part.compile_ahead and not session.has(part)]
    session.compile_ahead(steps, workers=arguments.workers)
    for part in parts:
        session.run(part)
    print(f"all results: {session.path}")


class Session:
    """The results so far, on disk, and the time left."""

    def __init__(self, folder: Path, *, minutes: float) -> None:
        self.folder = folder
        self.path = folder / "session.json"
        self._ends = time.monotonic() + 60 * minutes
        folder.mkdir(parents=True, exist_ok=True)
        before = json.loads(self.path.read_text()) if self.path.exists() else {"parts": {}}
        self._content: dict[str, Any] = {**describe_run(PACKAGES), "gpu": _gpu(), "parts": before["parts"]}
        self._environment = {
            **environment(),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1",
        }

    def has(self, part: Part) -> bool:
        """Return whether an earlier session finished this part."""
        found = self._content["parts"].get(part.name, {})
        return found.get("exit_code") == 0 and found["command"] == _shown(part.command)

    def compile_ahead(self, parts: Sequence[Part], *, workers: int) -> None:
        """Compile the training steps of all parts, several at once."""
        # The processes share the memory of one GPU.
        variables = {**self._environment, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}

        def compile_one(part: Part) -> None:
            start = time.monotonic()
            output, code = _call([*part.command, "--compile-only"], variables, self._seconds_left())
            note = "" if code == 0 else f", exit code {code}: {output[-300:]}"
            print(f"compiled {part.name} in {time.monotonic() - start:.0f} s{note}", flush=True)

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(compile_one, parts))

    def run(self, part: Part) -> None:
        """Run a part, unless it is done or there is no time for it, and save everything so far."""
        if self.has(part):
            print(f"{part.name}: done before", flush=True)
            return
        if self._seconds_left() < SHORTEST_S:
            print(f"{part.name}: no time left", flush=True)
            return
        print(f"{part.name}: {part.what} ({self._seconds_left() / 60:.0f} min left)", flush=True)
        start = time.monotonic()
        output, code = _call(part.command, self._environment, min(self._seconds_left(), 60 * part.minutes))
        self._content["parts"][part.name] = {
            "what": part.what,
            "command": _shown(part.command),
            "seconds": round(time.monotonic() - start, 1),
            "exit_code": code,
            "result": json.loads(part.result.read_text()) if part.result and part.result.exists() else None,
            "output": output[-TAIL:],
        }
        write_json(self.path, self._content)
        ended = "stopped after" if code is None else "done in"
        print(output[-800:] if code else f"  {ended} {time.monotonic() - start:.0f} s", flush=True)

    def _seconds_left(self) -> float:
        return max(self._ends - time.monotonic(), 0.0)


def _call(command: Sequence[str], variables: dict[str, str], seconds: float) -> tuple[str, int | None]:
    """Return what a command printed and its exit code, None if it was stopped after so many seconds."""
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=max(seconds, 1.0))[0], process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # its benchmark processes too
        return process.communicate()[0], None


def _shown(command: Sequence[str]) -> str:
    return shlex.join(["python", *command[1:]])


def _gpu() -> str:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "none"


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gpu_session.py", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the results, the same to continue")
    parser.add_argument("--data", type=Path, help="data set to train on, as for train.py --data; left out if not given")
    parser.add_argument(
        "--before", type=Path, help="another checkout of this project, whose steps are measured for comparison"
    )
    parser.add_argument("--parts", nargs="+", default=["*"], help="names of the parts to run, with * for any text")
    parser.add_argument("--minutes", type=float, default=25.0, help="time for everything")
    parser.add_argument("--workers", type=int, default=max((os.cpu_count() or 2) // 2, 1), help="parallel compilations")
    parser.add_argument("--rehearse", action="store_true", help="smallest networks and images, to try the script")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(sys.argv[1:])
