"""A study: many training runs, each a process of its own, which a later start of the same command continues."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from processes import environment
from yolox_jax.config import Config, ConfigError
from yolox_jax.config.files import config_of_run, run_settings
from yolox_jax.files import write_json
from yolox_jax.training.reporting.metrics_log import read_metrics
from yolox_jax.training.run_directory import RunDirectory

OURS = [sys.executable, "-m", "yolox_jax", "train"]


@dataclasses.dataclass(frozen=True)
class Run:
    """One step with one seed."""

    step: str
    seed: int

    def __str__(self) -> str:
        return f"{self.step}_{self.seed}"


@dataclasses.dataclass(frozen=True)
class Study:
    """The runs of a study and their files."""

    folder: Path
    runs: list[Run]
    programs: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    """Commands of the steps that another program than ours trains. It takes --config, --workdir and --resume as
    `yolox-jax train` does, and writes its evaluations to metrics.jsonl."""

    def prepare(self, steps: dict[str, Config]) -> None:
        """Writes the config of each run.

        Raises:
            ConfigError: The folder holds a run with other settings.
        """
        (self.folder / "configs").mkdir(parents=True, exist_ok=True)
        for run in self.runs:
            config, path = dataclasses.replace(steps[run.step], seed=run.seed), self._config(run)
            if not path.exists():
                write_json(path, run_settings(config))
            elif config_of_run(json.loads(path.read_bytes())) != config:
                raise ConfigError(f"{path} is of a study with other settings: pass another --output, or delete it")

    def train_all(self, jobs: int) -> None:
        """Trains the runs that are not finished, `jobs` at a time, each on cores of its own."""
        left = [run for run in self.runs if not self._is_finished(run)]
        print(f"{len(self.runs)} runs, {len(self.runs) - len(left)} of them finished before", flush=True)
        progress = Progress(len(self.runs), len(left))
        cores, free = sorted(os.sched_getaffinity(0)), SimpleQueue[list[int]]()
        for job in range(jobs):
            free.put(cores[job::jobs])
        # Those that wait in the queue are cancelled when one fails.
        with ThreadPoolExecutor(jobs) as pool:
            tasks = [pool.submit(self._train, run, free, progress) for run in left]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _train(self, run: Run, free: SimpleQueue[list[int]], progress: "Progress") -> None:
        cores, start = free.get(), time.monotonic()
        os.sched_setaffinity(0, cores)  # of this thread, from which the process inherits it
        program = self.programs.get(run.step, OURS)
        log = self.folder / "configs" / f"{run}.log"
        with log.open("a") as output:
            code = subprocess.run(
                [*program, "--config", str(self._config(run)), "--workdir", str(self._run(run)), "--resume"],
                env=environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        free.put(cores)
        if code != 0 or not self._is_finished(run):
            raise SystemExit(f"{run} ended with code {code}; see {log}. The same command continues the study.")
        progress.finished(run, self.evaluations(run)[-1]["AP"], time.monotonic() - start)

    def records(self, run: Run) -> list[dict[str, Any]]:
        """The metrics of a run: steps and evaluations."""
        return read_metrics(RunDirectory(self._run(run)).metrics)

    def evaluations(self, run: Run) -> list[dict[str, Any]]:
        """The evaluations of a run."""
        return [record for record in self.records(run) if record["kind"] == "evaluation"]

    def _is_finished(self, run: Run) -> bool:
        epochs = json.loads(self._config(run).read_text())["schedule"]["epochs"]
        return any(evaluation["epoch"] == epochs for evaluation in self.evaluations(run))

    def _config(self, run: Run) -> Path:
        return self.folder / "configs" / f"{run}.json"

    def _run(self, run: Run) -> Path:
        return self.folder / "runs" / str(run)


class Progress:
    """Prints each finished run, and how long the others will take at the same pace."""

    def __init__(self, total: int, left: int) -> None:
        self._total, self._left = total, left
        self._start, self._done = time.monotonic(), 0

    def finished(self, run: Run, ap: float | None, seconds: float) -> None:
        """Takes note of a run; called from several threads."""
        self._done += 1
        waiting = self._left - self._done
        left_s = (time.monotonic() - self._start) / self._done * waiting
        print(
            f"{self._total - waiting}/{self._total} {run}: AP {ap or 0:.4f} in {seconds:.0f} s"
            + (f"; about {left_s / 60:.0f} min left" if waiting else ""),
            flush=True,
        )


def run_program(main: Callable[[Sequence[str]], None]) -> None:
    """Runs a study as a program: errors that users can fix, and Ctrl-C, end it without a traceback."""
    try:
        main(sys.argv[1:])
    except ConfigError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command continues the study") from None
