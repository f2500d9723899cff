"""Builds the documentation site into build/site: `make docs`, or `python docs/site/build_site.py`.

The pages in `docs` are translated (github_markdown.py) into build/site-pages, from which Zensical makes the site as
`zensical.toml` says. Its warnings are errors, and so are links of the finished pages that lead nowhere (site_links.py).
"""

import functools
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from latex2mathml.converter import convert

from github_markdown import Links, site_markdown
from site_links import broken_links

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build/site"
STAGED = ROOT / "build/site-pages"
"""Where zensical.toml looks for the pages."""
OUTSIDE = {"README.md": "guide.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages that are not in `docs`, and their names on the site."""
PICTURES = ("docs/images", "benchmarks/results")
"""Folders of pictures, which the site has in one."""


def stage_pages(staged: Path) -> None:
    """Writes the pages, translated, and their pictures into a new folder.

    Raises:
        ValueError: a page links to a file that does not exist.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pages = {f"docs/{page.name}": page.name for page in (ROOT / "docs").glob("*.md")} | OUTSIDE
    pictures = {
        str(picture.relative_to(ROOT)): f"images/{picture.name}"
        for folder in PICTURES
        for picture in (ROOT / folder).iterdir()
        if picture.suffix in (".png", ".jpg", ".svg")
    }
    links = Links(ROOT, pages | pictures, repository=project["urls"]["Repository"])
    shutil.rmtree(staged, ignore_errors=True)
    (staged / "images").mkdir(parents=True)
    for page, name in pages.items():
        text = site_markdown((ROOT / page).read_text(), functools.partial(links.resolve, page), mathml)
        (staged / name).write_text(text)
    for picture, name in pictures.items():
        shutil.copy(ROOT / picture, staged / name)
    shutil.copy(ROOT / "docs/site/site.css", staged)


def mathml(formula: str, on_its_own_line: bool) -> str:
    """A formula in TeX as MathML."""
    return convert(formula, display="block" if on_its_own_line else "inline")


def main() -> None:
    """Builds the site, or exits with what is wrong."""
    try:
        stage_pages(STAGED)
    except ValueError as error:
        sys.exit(f"error: {error}")
    shutil.rmtree(SITE, ignore_errors=True)
    done = subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=ROOT)
    if done.returncode:
        sys.exit(done.returncode)
    if broken := broken_links(SITE):
        sys.exit("error: links that lead nowhere:\n" + "\n".join(broken))
    print(f"built {len(list(SITE.rglob('*.html')))} pages: {SITE / 'index.html'}")


if __name__ == "__main__":
    main()
