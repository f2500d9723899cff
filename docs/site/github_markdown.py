"""Pages written for GitHub, as Python-Markdown wants them.

The pages of this documentation are read on GitHub and on the site. Three things differ there, and are translated when
the site is built: links that leave the pages lead to the repository, lists are indented by four spaces a level, and
formulas become MathML, which browsers show without a script.
"""

import dataclasses
import html
import itertools
import os.path
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

LIST_ITEM = re.compile(r"( *)([-*] |\d+\. )")
FENCE = re.compile(r" *(`{3,})(\w*)")
INLINE = re.compile(
    r"(?P<code>(?P<ticks>`+).+?(?P=ticks))"
    r"|(?<![\\\w$])\$(?P<formula>[^\s$](?:[^$]*[^\s$])?)\$(?!\w)"
    r"|\]\((?P<link>[^)\s]+)\)",
    re.DOTALL,
)
MATHML_TEXT = re.compile(r"(?<=>)[^<>]+(?=<)")
LONG_FORMULA = 60
"""Letters of TeX above which a formula may be wider than the screen of a phone."""


@dataclasses.dataclass(frozen=True)
class Links:
    """Where the links of a page lead on the site.

    Attributes:
        root: The checkout.
        moved: The name on the site of everything that it contains, pages and pictures, by path in the checkout.
        repository: Address of the repository, for everything else.
    """

    root: Path
    moved: Mapping[str, str]
    repository: str

    def resolve(self, page: str, link: str) -> str:
        """The link of a page, given by its path in the checkout, on the site.

        Raises:
            ValueError: the link leads nowhere.
        """
        path, hash_sign, fragment = link.partition("#")
        if re.match(r"[a-z]+:", link) or not path:
            return link
        target = os.path.normpath(PurePosixPath(page).parent / path)
        if not (self.root / target).exists():
            raise ValueError(f"{page} links to {link}, which does not exist")
        if target in self.moved:
            return os.path.relpath(self.moved[target], PurePosixPath(self.moved[page]).parent) + hash_sign + fragment
        kind = "tree" if (self.root / target).is_dir() else "blob"
        return f"{self.repository}/{kind}/main/{target}{hash_sign}{fragment}"


def site_markdown(text: str, link: Callable[[str], str], mathml: Callable[[str, bool], str]) -> str:
    """A page for Python-Markdown.

    Args:
        text: The page as written for GitHub.
        link: Gives the target of a link on the site.
        mathml: Converts a formula in TeX; the second argument tells whether it stands on a line of its own.
    """

    def inline(match: re.Match[str]) -> str:
        if match["formula"]:
            style = "formula formula-long" if len(match["formula"]) > LONG_FORMULA else "formula"
            return escaped_mathml(mathml(match["formula"], False), style)
        return f"]({link(match['link'])})" if match["link"] else match[0]

    parts = []
    for kind, lines in _blocks(text):
        if kind == "prose":
            parts.append(INLINE.sub(inline, "\n".join(lines)))
        elif kind == "formula":
            parts += [_margin(line) + escaped_mathml(mathml(line.strip(), True), "formula") for line in lines]
        else:
            parts += lines
    return "\n".join(parts) + "\n"


def escaped_mathml(formula: str, style: str) -> str:
    """MathML inside Markdown, with a class of site.css: one line, no block of HTML, and its letters are no Markdown."""
    one_line = " ".join(formula.split())
    safe = MATHML_TEXT.sub(
        lambda text: re.sub(r"[^\w\s]|_", lambda letter: f"&#{ord(letter[0])};", html.unescape(text[0])), one_line
    )
    return f'<span class="{style}">{safe}</span>'


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """The parts of a page and what they are, "prose", "code" or "formula", with lists indented by fours."""
    kind, part = "prose", list[str]()
    for next_kind, line in _lines(text):
        if next_kind != kind:
            yield kind, part
            kind, part = next_kind, []
        part.append(line)
    yield kind, part


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """The lines of a page and what they belong to. A formula is one line."""
    offsets: list[int] = []  # of the text in each list item around the line
    after_blank = True
    lines = iter(text.splitlines())
    for line in lines:
        if not line.strip():
            yield "prose", ""
            after_blank = True
            continue
        indent = len(_margin(line))
        while offsets and indent < offsets[-1]:
            offsets.pop()
        base, margin = (offsets[-1] if offsets else 0), " " * (4 * len(offsets))
        is_code = after_blank and indent - base >= 4
        if fence := FENCE.match(line):
            block = list(_until(fence[1], lines))
            if fence[2] == "math":
                yield "formula", margin + " ".join(map(str.strip, block))
            else:
                for inner in (line, *block, " " * base + fence[1]):
                    yield "code", margin + inner[base:]
        elif is_code:
            yield "code", margin + line[base:]
        else:
            if item := LIST_ITEM.match(line):
                if not offsets and not after_blank:
                    yield "prose", ""  # on GitHub, a list needs no blank line before it
                offsets.append(len(item[0]))
            yield "prose", margin + line[base:]
        after_blank = is_code


def _until(fence: str, lines: Iterator[str]) -> Iterator[str]:
    """The lines before the end of a fenced block, which is consumed too."""
    return itertools.takewhile(lambda line: line.strip() != fence, lines)


def _margin(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
