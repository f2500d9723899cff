"""Parts that the HTML pages share: the page around its sections, sections, cards, tables and lists."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def whole_page(title: str, parts: Sequence[str]) -> str:
    """A self-contained page, for light and dark screens; `parts` are HTML."""
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    icon = '<link rel="icon" href="data:,">'  # else browsers ask for one
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}{icon}\n<style>\n{style}</style></head>\n<body>\n{body}\n'
        "</body>\n</html>\n"
    )


def section(heading: str, content: str) -> str:
    """A section with HTML under a heading of plain text."""
    return f"<section><h2>{html.escape(heading)}</h2>{content}</section>"


def cards(figures: Sequence[tuple[str, Any]]) -> str:
    """Figures that stand out, each with its name, which is HTML."""
    inner = "".join(f"<div class=card><b>{cell(value)}</b><span>{name}</span></div>" for name, value in figures)
    return f"<div class=cards>{inner}</div>"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of plain values."""
    top = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<div class=table><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def cell(value: Any) -> str:
    """A value as HTML: a dash for None, four decimals for floats."""
    if value is None:
        return "&ndash;"
    return f"{value:.4f}" if isinstance(value, float) else html.escape(str(value))


def listed(lines: Sequence[str]) -> str:
    """A list of plain lines."""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def folded(text: str) -> str:
    """Plain text that is shown on a click."""
    return f"<details><summary>show</summary><pre>{html.escape(text)}</pre></details>"
