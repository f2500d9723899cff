"""Writes docs/model_zoo.md from the docstrings of the configs: `python docs/site/model_zoo.py`.

A test compares the page with what this would write.
"""

import ast
import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/model_zoo.md"
PUBLISHED = ("nano", "tiny", "s", "m", "l", "x", "darknet53")
FIELD = re.compile(r"^(Reproduces|Expected|Cost|Command): ", re.MULTILINE)
UNTRAINED = "Not yet trained to completion with this code."
UNTIMED = "Training time has not been measured yet."

INTRODUCTION = """# Model zoo

Every experiment is a file in [`configs/`](../configs), which spells out its whole recipe and names what it reproduces.
This page is generated from their docstrings. "Published" is the AP on COCO val2017 that the original or its paper
reports. No training of that size has been run with this code yet, so no AP of ours stands beside it; what has been
measured is in [Results](../README.md#results) and [below](#first-runs-own-data-and-variations).

**Weights.** The seven names below are also the names of the original's published weights: `--weights yolox_s` or
`yolox_jax.Detector("yolox_s")` downloads them from the
[original's release](https://github.com/Megvii-BaseDetection/YOLOX/releases/tag/0.1.1rc0) at first use and [keeps
them](../README.md#use-published-weights). There are no published weights for the other configs: train them, and pass
the run directory, as in `--weights runs/mine`.

A name is enough for the shipped configs, in any folder: `--config yolox_s` or `--config roadmap/ota`. Every setting can
be overridden on the command line; without flags for the data, the configs of COCO read it from `datasets/COCO`.
"""


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the docstring of a config says."""

    name: str
    title: str
    notes: str
    reproduces: str
    expected: str
    cost: str
    commands: tuple[str, ...]

    @property
    def published(self) -> tuple[str, str]:
        """The published AP and its input size; empty if there is none."""
        found = re.match(r"([\d.]+) AP on COCO val2017 at (\d+)x", self.reproduces)
        return (found[1], found[2]) if found else ("", "")

    @property
    def size(self) -> tuple[str, str]:
        """Parameters in millions and GFLOPs; empty if the docstring does not say."""
        found = re.match(r"([\d.]+) M parameters, ([\d.]+) GFLOPs", self.cost)
        return (found[1], found[2]) if found else ("", "")


def read_entry(path: Path) -> Entry:
    """Reads the docstring of a config.

    Raises:
        ValueError: it has no line such as `Cost: ...`.
    """
    name = str(path.relative_to(ROOT / "configs").with_suffix(""))
    about, *parts = FIELD.split(ast.get_docstring(ast.parse(path.read_text())) or "")
    fields = dict(zip(parts[::2], parts[1::2], strict=True))
    missing = {"Reproduces", "Expected", "Cost", "Command"} - set(fields)
    if missing:
        raise ValueError(f"the docstring of {path} has no line `{sorted(missing)[0]}: ...`")
    title, _, notes = about.strip().partition("\n\n")
    commands = re.split(r"\n\s*or: |, or (?=python)", fields["Command"].strip())
    return Entry(
        name,
        title=" ".join(title.split()),
        notes=notes.strip(),
        reproduces=" ".join(fields["Reproduces"].split()),
        expected=" ".join(fields["Expected"].split()),
        cost=" ".join(fields["Cost"].split()),
        commands=tuple(re.sub(r"\n\s+", "\n    ", command) for command in commands),
    )


def page() -> str:
    """The text of docs/model_zoo.md."""
    published = [read_entry(ROOT / f"configs/yolox_{name}.py") for name in PUBLISHED]
    others = [entry for path in sorted((ROOT / "configs").glob("*.py")) if (entry := read_entry(path)) not in published]
    roadmap = [read_entry(path) for path in sorted((ROOT / "configs/roadmap").glob("*.py"))]
    parts = [
        INTRODUCTION,
        "## The seven networks\n",
        _table(published),
        *map(_section, published),
        "## First runs, own data and variations\n",
        *map(_section, others),
        "## The roadmap\n",
        "The steps from a YOLOv3 baseline to YOLOX, and other experiments of the paper "
        "([From YOLOv3 to YOLOX](roadmap.md)).\n",
        _table(roadmap),
        *map(_section, roadmap),
    ]
    return "\n".join(parts)


def _table(entries: list[Entry]) -> str:
    rows = [
        f"| [{entry.name}](#{_anchor(entry.name)}) | {' | '.join((*entry.published[::-1], *entry.size))} |"
        for entry in entries
    ]
    head = ["| config | input (px) | published AP | parameters (M) | GFLOPs |", "|---|---|---|---|---|"]
    return "\n".join(head + rows) + "\n"


def _section(entry: Entry) -> str:
    untrained = UNTRAINED in entry.expected
    expected = entry.expected.replace(UNTRAINED, "").strip()
    cost = entry.cost.replace(UNTIMED, "").strip()
    notes = [_linked(entry.notes) + "\n"] if entry.notes else []
    return "\n".join(
        [
            f"### {entry.name}\n",
            f"{_linked(entry.title)} [`configs/{entry.name}.py`](../configs/{entry.name}.py)\n",
            *notes,
            f"- **Reproduces:** {_linked(entry.reproduces)}",
            f"- **{'Expected' if untrained else 'Measured here'}:** {_linked(expected)}",
            *(["- **Measured here:** not trained to completion yet."] if untrained else []),
            f"- **Cost:** {_linked(cost)}",
            "",
            "```",
            *entry.commands,
            "```",
            "",
        ]
    )


def _linked(text: str) -> str:
    """Text in which the sections of docs/yolox.md and the pages that it names are links."""
    headings = re.findall(r"^#+ ((\d+(?:\.\d+)?) .+)$", (ROOT / "docs/yolox.md").read_text(), re.MULTILINE)
    anchors = {number: _anchor(heading) for heading, number in headings}
    text = re.sub(
        r"docs/yolox\.md, (\d+(?:\.\d+)?)", lambda cited: f"[section {cited[1]}](yolox.md#{anchors[cited[1]]})", text
    )
    return text.replace("(docs/roadmap.md)", "([roadmap](roadmap.md))")


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(page())
