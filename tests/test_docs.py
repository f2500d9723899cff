"""The documentation names only files, sections, functions and settings that exist."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from yolox_jax.config import Config

ROOT = Path(__file__).parents[1]
METHOD = ROOT / "docs/yolox.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = [
    path
    for folder in ("yolox_jax", "configs", "benchmarks", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__)
]

LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"(?:yolox_jax|configs|benchmarks|tests|docs)/[\w./-]*\.(?:py|md|json|png|jpg|svg)\b")
SECTION = re.compile(r"^#+ (\d+(?:\.\d+)?) ", re.MULTILINE)
CITATION = re.compile(r"docs/yolox\.md, (\d+(?:\.\d+)?(?:(?:, | and | to )\d+(?:\.\d+)?)*)")
PATH_ROW = re.compile(r"^\| \d+[a-z]?\. [^|]* \| `([^`]+)` \| `([^`]+)` \|", re.MULTILINE)
FLAG = re.compile(r"--((?:model|data|schedule|optimizer|assignment|loss|train|evaluation)\.[\w.-]+)")
SETTING = re.compile(
    r"`((?:model|data|schedule|optimizer|assignment|loss|train|evaluation)(?:\.(?!(?:json|py|yaml)`)[a-z0-9_]+)+)`"
)


def anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)}


def settings(section: Any, prefix: str = "") -> Iterator[str]:
    """The dotted name of every setting and section."""
    for field in dataclasses.fields(section):
        yield prefix + field.name
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings(value, f"{prefix}{field.name}.")


def joined(text: str) -> str:
    """Text without the line breaks of docstrings and comments."""
    return re.sub(r"\s*\n\s*(?:#\s*)?", " ", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, fragment = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}, which does not exist"
        if fragment:
            assert fragment in anchors(target), f"{page.name} links to {link}, but there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_exist(page: Path) -> None:
    missing = [name for name in FILE.findall(page.read_text()) if not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_named_exist(page: Path) -> None:
    known = set(settings(Config()))
    text = page.read_text()
    named = {flag.rstrip(".").replace("-", "_") for flag in FLAG.findall(text)} | set(SETTING.findall(text))
    assert named - known == set()


def test_citations_in_the_code_name_sections_that_exist() -> None:
    sections = set(SECTION.findall(METHOD.read_text()))
    wrong = [
        f"{path.relative_to(ROOT)} cites docs/yolox.md, {number}"
        for path in CODE
        for citation in CITATION.findall(joined(path.read_text()))
        for number in re.findall(r"\d+(?:\.\d+)?", citation)
        if number not in sections
    ]
    assert wrong == []


def test_the_path_of_a_box_names_definitions_that_exist() -> None:
    rows = PATH_ROW.findall(METHOD.read_text())
    assert rows, "the table in section 1 has another form"
    for file, name in rows:
        tree = ast.parse((ROOT / file).read_text())
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert name in defined, f"{file} defines no {name}"
