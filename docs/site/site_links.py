"""Links between the pages of a built site."""

import dataclasses
import html.parser
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclasses.dataclass
class Page(html.parser.HTMLParser):
    """The links of a page and what can be linked to in it."""

    links: set[str] = dataclasses.field(default_factory=set)
    targets: set[str] = dataclasses.field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects the links and identifiers of a tag."""
        self.links |= {value for name, value in attrs if name in ("href", "src") and value}
        self.targets |= {value for name, value in attrs if name in ("id", "name") and value}


def broken_links(site: Path) -> list[str]:
    """The links between pages of a site that lead to no file or heading, each after the name of its page."""
    pages = {path: _read(path) for path in sorted(site.rglob("*.html"))}
    return [
        f"{path.relative_to(site)}: {link}"
        for path, page in pages.items()
        if path.name != "404.html"  # which is served at any address, so its links start from the root of the host
        for link in sorted(page.links)
        if not _leads_somewhere(path, link, pages)
    ]


def _read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    return page


def _leads_somewhere(path: Path, link: str, pages: Mapping[Path, Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if parts.fragment and target in pages:
        return unquote(parts.fragment) in pages[target].targets
    return target.exists()
