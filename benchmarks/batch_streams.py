"""Streams of batches that compete in alternating rounds, and the tables of what was measured."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from common import cpu_seconds, settle, spread, summary
from stage_times import Stage, timed_stages

Cache = Literal["none", "ram", "disk"]


@dataclasses.dataclass
class Contestant:
    """A stream of batches that is measured round after round."""

    name: str
    loaded_by: str
    cache: Cache
    batches: Iterator[Any]
    stages: tuple[Stage, ...]
    ahead: int
    """Batches that may lie ready when a round starts, and are not counted."""
    rates: list[float] = dataclasses.field(default_factory=list)
    """Images a second of each round."""
    cpu_ms: list[float] = dataclasses.field(default_factory=list)
    """CPU milliseconds an image of each round, which other programs on the same cores lengthen less."""
    stage_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    """CPU milliseconds an image of each stage; `rest` is what no stage accounts for."""

    def measure(self, num_batches: int, batch_size: int) -> None:
        """Make some batches and note the speed."""
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
        """Make some batches with the clocks of the stages running."""
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
        """What was measured."""
        result: dict[str, Any] = {
            "name": self.name,
            "loaded_by": self.loaded_by,
            "cache": self.cache,
            "images_per_s": summary(self.rates),
            "cpu_ms_per_image": summary(self.cpu_ms),
        }
        if self.stage_ms:
            total = sum(self.stage_ms.values())
            result["stages_cpu_ms_per_image"] = {stage: round(value, 3) for stage, value in self.stage_ms.items()}
            result["jpeg_share"] = round(self.stage_ms.get("decode", 0.0) / total, 3)
        return result


def run_rounds(contestants: Sequence[Contestant], num_rounds: int, num_batches: int, batch_size: int) -> None:
    """Measure each in turn, again and again; nothing else of this program works meanwhile."""
    for one in contestants:
        next(one.batches)  # processes are started
    for number in range(num_rounds):
        for one in contestants:
            settle()
            one.measure(num_batches, batch_size)
        rates = ", ".join(f"{one.rates[-1]:.1f}" for one in contestants)
        print(f"round {number + 1} of {num_rounds}: {rates} images/s", flush=True)


def print_speeds(title: str, contestants: Sequence[Contestant]) -> None:
    """A table of the images a second."""
    table = Table(
        "", "loaded by", "cache", "images/s: median (range)", "CPU ms an image", title=title, title_justify="left"
    )
    for one in contestants:
        table.add_row(one.name, one.loaded_by, one.cache, spread(summary(one.rates)), spread(summary(one.cpu_ms)))
    Console().print(table)


def print_stages(contestants: Sequence[Contestant]) -> None:
    """A table of the time of each stage."""
    timed = [one for one in contestants if one.stage_ms]
    if not timed:
        print("stages: not timed, as other processes do the work; --workers 0 times them")
        return
    names = list(dict.fromkeys(stage for one in timed for stage in one.stage_ms if stage != "rest"))
    table = Table("CPU ms an image", title="Stages", title_justify="left")
    for one in timed:
        table.add_column(f"{one.name}\ncache {one.cache}", justify="right")
    for stage in [*names, "rest"]:
        table.add_row(stage, *(f"{one.stage_ms[stage]:.2f}" if stage in one.stage_ms else "" for one in timed))
    totals = [sum(one.stage_ms.values()) for one in timed]
    table.add_row("all", *(f"{total:.2f}" for total in totals), end_section=True)
    shares = [one.stage_ms.get("decode", 0.0) / total for one, total in zip(timed, totals, strict=True)]
    table.add_row("share of decoding", *(f"{100 * share:.0f} %" for share in shares))
    Console().print(table)
