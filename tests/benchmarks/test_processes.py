"""Processes that take turns are timed fairly."""

from processes import BenchmarkProcess


class Recorded(BenchmarkProcess):
    """Answers like a process whose first run of a turn waits for its memory."""

    def __init__(self) -> None:
        self.parts, self.seconds, self.facts = ["step"], {"step": []}, {}
        self.counts: list[int] = []

    def _ask(self, part: str, count: int) -> dict[str, float]:
        self.counts.append(count)
        return {"seconds": 5.0 if count == 1 else 0.5}


def test_the_first_run_of_every_turn_does_not_count() -> None:
    process = Recorded()
    process.seconds["step"] = [0.5]  # of an earlier turn
    process.measure(seconds=3)
    process.measure(seconds=3)
    assert process.counts == [1, 6, 1, 6]
    assert process.seconds["step"] == [0.5, 0.5, 0.5]
