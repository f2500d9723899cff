"""The documentation site has every page and public name, and agrees with the repository; links lead somewhere."""

import importlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import model_zoo
import yolox_jax
from github_markdown import Links, site_markdown
from site_links import broken_links

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SITE = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]


def translated(text: str) -> str:
    return site_markdown(text, lambda link: f"<{link}>", lambda formula, own_line: f"<math>{formula}|{own_line}</math>")


def leaves(nav: Any) -> list[str]:
    """The pages and addresses of a navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    return [leaf for entry in nav for value in entry.values() for leaf in leaves(value)]


def resolved(name: str) -> Any:
    """The object of a dotted name."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_every_page_is_in_the_navigation_once() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} | {"guide.md", "contributing.md", "changelog.md"}
    assert sorted(leaf for leaf in leaves(SITE["nav"]) if leaf.endswith(".md")) == sorted(pages)


def test_the_model_zoo_says_what_the_configs_say() -> None:
    assert model_zoo.PAGE.read_text() == model_zoo.page(), "run `python docs/site/model_zoo.py`"
    configs = {str(path.relative_to(ROOT / "configs").with_suffix("")) for path in (ROOT / "configs").rglob("*.py")}
    assert configs == set(re.findall(r"^### (.+)$", model_zoo.page(), re.MULTILINE))


def test_a_config_without_its_cost_cannot_be_in_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_zoo, "ROOT", tmp_path)
    (tmp_path / "configs").mkdir()
    config = tmp_path / "configs/mine.py"
    config.write_text('"""Mine.\n\nReproduces: nothing.\nExpected: little.\nCommand: python train.py\n"""\n')
    with pytest.raises(ValueError, match="no line `Cost:"):
        model_zoo.read_entry(config)


def test_the_api_reference_has_all_public_names_and_only_names_that_exist() -> None:
    named = re.findall(r"^::: (\S+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    documented = [resolved(name) for name in named]
    missing = [
        name
        for name in yolox_jax.__all__
        if name not in ("__version__", "export") and getattr(yolox_jax, name) not in documented
    ]
    assert missing == []
    assert "yolox_jax.export.exporter.export" in named


def test_version_and_address_are_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    address = PROJECT["urls"]["Repository"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == address
    assert [leaf for leaf in leaves(SITE["nav"]) if leaf.startswith("https:")] == [address]
    assert re.search(rf"^## {re.escape(PROJECT['version'])}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    for notebook in (ROOT / "examples").glob("*.ipynb"):
        cells = json.loads(notebook.read_text())["cells"]
        assert set(re.findall(r"https://github\.com/[\w-]+/yolox_jax", str(cells))) <= {address}


def test_lists_are_indented_by_fours_for_python_markdown() -> None:
    text = "Then\n- a\n  more\n  - b\n\n    ```\n    code $x$\n    ```\n\nend\n\n1. c\n\n   d\n\n    $HOME of `e`\n"
    assert translated(text).splitlines() == [
        "Then",
        "",
        "- a",
        "    more",
        "    - b",
        "",
        "        ```",
        "        code $x$",
        "        ```",
        "",
        "end",
        "",
        "1. c",
        "",
        "    d",
        "",
        "     $HOME of `e`",
    ]


def test_formulas_become_mathml_whose_letters_are_no_markdown() -> None:
    text = "Let $a_i *\nb*$ and `$c$` cost $5:\n\n```math\nx_1 \\\\\ny\n```\n\n    code=$a; b=$a;\n"
    assert translated(text).splitlines() == [
        'Let <span class="formula"><math>a&#95;i &#42; b&#42;&#124;False</math></span> and `$c$` cost $5:',
        "",
        '<span class="formula"><math>x&#95;1 &#92;&#92; y&#124;True</math></span>',
        "",
        "    code=$a; b=$a;",
    ]


def test_links_lead_to_pages_pictures_and_the_repository() -> None:
    moved = {"README.md": "guide.md", "docs/data.md": "data.md", "docs/images/head.svg": "images/head.svg"}
    links = Links(ROOT, moved, repository="https://host/name")
    for page, link, expected in (
        ("docs/data.md", "../README.md#install", "guide.md#install"),
        ("README.md", "docs/data.md", "data.md"),
        ("docs/data.md", "images/head.svg", "images/head.svg"),
        ("docs/data.md", "#formats", "#formats"),
        ("docs/data.md", "https://a.b", "https://a.b"),
        ("docs/data.md", "../configs/yolox_s.py", "https://host/name/blob/main/configs/yolox_s.py"),
        ("README.md", "configs", "https://host/name/tree/main/configs"),
    ):
        assert links.resolve(page, link) == expected
    with pytest.raises(ValueError, match=r"docs/data.md links to ../nothing.md, which does not exist"):
        links.resolve("docs/data.md", "../nothing.md")


def test_links_of_a_built_site_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<h1 id="top">A</h1><a href="b.html#part">B</a> <a href="#top">up</a>')
    (tmp_path / "b.html").write_text('<a href="a.html#top">A</a> <img src="c.png"> <a href="https://x.y">out</a>')
    assert broken_links(tmp_path) == ["a.html: b.html#part", "b.html: c.png"]
