"""Summing up traces, and the commands that need no data: profile and memory."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from yolox_jax.cli.main import main
from yolox_jax.training.profiling.trace import by_kind, operations, read_trace, sources

PROGRAM = """
HloModule jit_step
  %dot.1 = f32[8,8]{1,0} dot(%a, %b), metadata={op_name="jit(step)/jvp()/dot_general" source_line=3}
  ROOT %loop_fusion.2 = f32[8]{0} fusion(%dot.1), kind=kLoop, metadata={op_name="jit(step)/transpose(jvp())/mul"}
  %while.3 = (f32[8]) while(%t), metadata={op_name="jit(step)/transpose(jvp())/while"}
  %no_metadata.4 = f32[] constant(0)
"""


def event(name: str, start: float, duration: float, *, thread: int = 1, process: int = 1) -> dict:
    return {"ph": "X", "pid": process, "tid": thread, "ts": start, "dur": duration, "args": {"hlo_op": name}}


def milliseconds(events: list[dict], steps: int = 1) -> dict[str, float]:
    return {one.name: round(one.ms, 6) for one in operations(events, sources(PROGRAM), steps)}


def test_operations_are_told_by_direction_and_kind():
    found = operations([event("dot.1", 0, 3000), event("loop_fusion.2", 3000, 1000)], sources(PROGRAM), 2)
    assert [(one.name, one.source, one.kind, one.calls, one.ms) for one in found] == [
        ("dot.1", "forward dot_general", "matrix products, forward", 0.5, 1.5),
        ("loop_fusion.2", "backward mul", "elementwise", 0.5, 0.5),
    ]
    assert by_kind(found) == [("matrix products, forward", 1.5), ("elementwise", 0.5)]


def test_what_runs_inside_a_loop_is_not_counted_for_the_loop_too():
    events = [event("while.3", 0, 1000), event("dot.1", 100, 300), event("dot.1", 500, 400)]
    assert milliseconds(events) == {"dot.1": 0.7, "while.3": 0.3}


def test_on_a_cpu_time_without_any_event_belongs_to_the_operation_begun_last():
    events = [event("dot.1", 0, 100), event("loop_fusion.2", 1000, 500), event("while.3", 1200, 400, thread=2)]
    assert milliseconds(events) == {"dot.1": 1.0, "loop_fusion.2": 0.5, "while.3": 0.4}


def test_on_a_gpu_its_own_events_alone_count():
    names = {7: "/device:GPU:0", 1: "/host:CPU"}
    events: list[dict] = [
        {"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}} for process, name in names.items()
    ]
    events += [event("dot.1", 0, 9000), event("dot.1", 100, 2000, process=7), event("other.9", 5000, 100, process=7)]
    assert milliseconds(events, steps=2) == {"dot.1": 1.0, "other.9": 0.05}


def test_the_newest_trace_is_read_and_a_missing_one_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="contains no profiler trace"):
        read_trace(tmp_path)
    for day in ("2026_01_01", "2026_01_02"):
        folder = tmp_path / "plugins" / "profile" / day
        folder.mkdir(parents=True)
        with gzip.open(folder / "host.trace.json.gz", "wt") as file:
            json.dump({"traceEvents": [{"name": day}]}, file)
    assert read_trace(tmp_path) == [{"name": "2026_01_02"}]


SMALL = ["--config", "yolox_nano", "--train.multiscale-px", "None", "--data.input-size", "32", "32"]


@pytest.mark.slow
def test_profile_times_a_step_and_lists_every_operation(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = [*SMALL, "--train.batch-size", "2", "--output", str(tmp_path), "--steps", "2", "--num-classes", "3"]
    assert main(["profile", *words]) == 0
    out = capsys.readouterr().out
    assert "ms per step" in out and "matrix products, backward" in out and "ui.perfetto.dev" in out
    with (tmp_path / "operations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100 and {"forward", "backward", "update"} <= {row["source"].split()[0] for row in rows}
    assert sum(float(row["ms"]) for row in rows) > 0


@pytest.mark.parametrize(("flag", "value"), [("--steps", "0"), ("--top", "-1")])
def test_profile_refuses_counts_below_one(flag: str, value: str, capsys: pytest.CaptureFixture[str]):
    assert main(["profile", *SMALL, flag, value]) == 2
    assert f"{flag} must be at least 1, got {value}" in capsys.readouterr().err
