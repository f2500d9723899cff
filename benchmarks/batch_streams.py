"""Measures streams of batches in alternating rounds, and prints the results as tables."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from common import cpu_seconds, settle, spread, summary
from stage_times import Stage, timed_stages

Cache = Literal["none", "ram", "disk"]
Partners = Literal["dataset", "batch"]


@dataclasses.dataclass
class BatchStream:
    """A stream of batches from one loader, and its measurements."""

    name: str
    loaded_by: str
    cache: Cache
    batches: Iterator[Any]
    stages: tuple[Stage, ...]
    ahead: int
    """Batches that may already be loaded when a round starts; they are not measured."""
    partners: Partners = "dataset"
    """Where the partners of mosaics and MixUp come from."""
    rates: list[float] = dataclasses.field(default_factory=list)
    """Images per second in each round."""
    cpu_ms: list[float] = dataclasses.field(default_factory=list)
    """CPU milliseconds per image in each round, which other programs on the same cores affect less."""
    stage_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    """CPU milliseconds per image in each stage; `rest` is the time outside all stages."""

    def measure(self, num_batches: int, batch_size: int) -> None:
        """Load some batches and record the speed."""
        images = num_batches * batch_size
        self._take(self.ahead)
        start, cpu_start = time.perf_counter(), cpu_seconds()
        self._take(num_batches)
        self.rates.append(images / (time.perf_counter() - start))
        self.cpu_ms.append(1000 * (cpu_seconds() - cpu_start) / images)

    def _take(self, num_batches: int) -> None:
        for _ in range(num_batches):
            next(self.batches)

    def measure_stages(self, num_batches: int, batch_size: int) -> None:
        """Load some batches and record the time of each stage."""
        images = num_batches * batch_size
        with timed_stages(self.stages) as seconds:
            self._take(self.ahead)
            seconds.clear()
            start = time.process_time()
            self._take(num_batches)
            total = time.process_time() - start
            spent = dict(seconds)
        self.stage_ms = {stage: 1000 * value / images for stage, value in spent.items()}
        self.stage_ms["rest"] = 1000 * (total - sum(spent.values())) / images

    def to_json(self) -> dict[str, Any]:
        """Return the measurements."""
        result: dict[str, Any] = {
            "name": self.name,
            "loaded_by": self.loaded_by,
            "cache": self.cache,
            "partners": self.partners,
            "images_per_s": summary(self.rates),
            "cpu_ms_per_image": summary(self.cpu_ms),
        }
        if self.stage_ms:
            total = sum(self.stage_ms.values())
            result["stages_cpu_ms_per_image"] = {stage: round(value, 3) for stage, value in self.stage_ms.items()}
            result["jpeg_share"] = round(self.stage_ms.get("decode", 0.0) / total, 3)
        return result


def run_rounds(streams: Sequence[BatchStream], num_rounds: int, num_batches: int, batch_size: int) -> None:
    """Measure the streams in turn, round after round, while no other thread of this program works."""
    for one in streams:
        next(one.batches)  # starts its workers
    for number in range(num_rounds):
        for one in streams:
            settle()
            one.measure(num_batches, batch_size)
        rates = ", ".join(f"{one.rates[-1]:.1f}" for one in streams)
        print(f"round {number + 1} of {num_rounds}: {rates} images/s", flush=True)


def print_speeds(title: str, streams: Sequence[BatchStream]) -> None:
    """Print a table of the images per second."""
    heads = ("", "loaded by", "cache", "partners", "images/s: median (range)", "CPU ms per image")
    table = Table(*heads, title=title, title_justify="left")
    for one in streams:
        table.add_row(
            one.name, one.loaded_by, one.cache, one.partners, spread(summary(one.rates)), spread(summary(one.cpu_ms))
        )
    Console().print(table)


def print_stages(streams: Sequence[BatchStream]) -> None:
    """Print a table of the time of each stage."""
    timed = [one for one in streams if one.stage_ms]
    if not timed:
        print("stages: not timed, because worker processes load the images; --workers 0 times them")
        return
    names = list(dict.fromkeys(stage for one in timed for stage in one.stage_ms if stage != "rest"))
    table = Table("CPU ms per image", title="Stages", title_justify="left")
    for one in timed:
        table.add_column(f"{one.name}\ncache {one.cache}\npartners {one.partners}", justify="right")
    for stage in [*names, "rest"]:
        table.add_row(stage, *(f"{one.stage_ms[stage]:.2f}" if stage in one.stage_ms else "" for one in timed))
    totals = [sum(one.stage_ms.values()) for one in timed]
    table.add_row("all", *(f"{total:.2f}" for total in totals), end_section=True)
    shares = [one.stage_ms.get("decode", 0.0) / total for one, total in zip(timed, totals, strict=True)]
    table.add_row("share of decoding", *(f"{100 * share:.0f} %" for share in shares))
    Console().print(table)
