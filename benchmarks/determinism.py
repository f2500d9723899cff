"""Trains the same config twice with and without `train.deterministic`, and compares the runs bit for bit.

Each run is a process of its own that loads its data as any training does. Reported for both modes: whether the losses
that were logged and the final weights are equal, and images/s, whose ratio is the cost of determinism. On a CPU, runs
are always deterministic.
"""

import argparse
import hashlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import CHECKOUT, describe_run, write_json
from processes import environment
from yolox_jax.training.reporting.metrics_log import read_metrics
from yolox_jax.training.run_directory import RunDirectory

PACKAGES = ("yolox-jax", "jax", "jaxlib", "flax", "optax", "numpy")
REPEATS = 2


def main(argv: Sequence[str]) -> None:
    """Trains and compares; `argv` is the command line without the program name."""
    arguments, settings = _parse(argv)
    result = describe_run(PACKAGES)
    result["settings"] = {"config": arguments.config, "overrides": settings}
    for deterministic in (True, False):
        name = "deterministic" if deterministic else "default"
        with tempfile.TemporaryDirectory() as folder:
            runs = [
                _train(
                    arguments.config, [*settings, "--train.deterministic", str(deterministic)], Path(folder) / str(n)
                )
                for n in range(REPEATS)
            ]
        first, second = runs
        result[name] = {
            "losses_equal": first["losses"] == second["losses"],
            "weights_equal": first["weights_sha256"] == second["weights_sha256"],
            "largest_difference_of_losses": max(
                abs(one - other) for one, other in zip(first["losses"], second["losses"], strict=True)
            ),
            "runs": runs,
        }
        print(f"{name}: {_describe(result[name])}", flush=True)
        if arguments.output is not None:
            write_json(arguments.output, result)


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="determinism.py", description=__doc__, epilog="Further flags are settings of the config, as for train.py."
    )
    parser.add_argument("--config", default="quickstart", help="config to train (default: quickstart)")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    return parser.parse_known_args(argv)


def _train(config: str, settings: Sequence[str], workdir: Path) -> dict[str, Any]:
    command = [sys.executable, str(CHECKOUT / "train.py"), "--config", config, "--workdir", str(workdir), *settings]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(command)} failed:\n{done.stderr[-2000:]}")
    logged = [row for row in read_metrics(workdir / "metrics.jsonl") if row["kind"] == "train"]
    return {
        "losses": [row["loss"] for row in logged],
        # The first interval compiles.
        "images_per_second": statistics.median(row["images_per_second"] for row in logged[1:] or logged),
        "weights_sha256": hashlib.sha256(RunDirectory(workdir).last_weights.read_bytes()).hexdigest(),
    }


def _describe(mode: dict[str, Any]) -> str:
    rates = ", ".join(f"{run['images_per_second']:.1f}" for run in mode["runs"])
    if mode["weights_equal"] and mode["losses_equal"]:
        return f"two runs are equal bit for bit; {rates} images/s"
    return f"two runs differ, their losses by up to {mode['largest_difference_of_losses']:.3g}; {rates} images/s"


if __name__ == "__main__":
    main(sys.argv[1:])
