"""The report as one HTML page that needs no other file and no network, for light and dark screens."""

import html
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from yolox_jax.data.image import BrokenImage
from yolox_jax.evaluation.coco import FIGURES
from yolox_jax.evaluation.errors import BACKGROUND_IOU, FOREGROUND_IOU, ErrorKind
from yolox_jax.report import tables
from yolox_jax.report.data import Material
from yolox_jax.report.pictures import as_data_url, picture_of
from yolox_jax.report.plots import plots
from yolox_jax.text import counted

TEXT_COLOUR = "#0a0b0c"
"""Stands for the text colour of the page in plots; no plot draws anything else in it."""

MOST_CONFUSIONS = 15
"""Pairs of classes that the table of confusions lists."""

WHAT_KINDS_MEAN = {
    ErrorKind.CLASSIFICATION: "on an object of another class",
    ErrorKind.LOCALISATION: "near an object of its class, but not on it: IoU between "
    f"{BACKGROUND_IOU} and {FOREGROUND_IOU}",
    ErrorKind.BOTH: "near an object of another class",
    ErrorKind.DUPLICATE: "on an object that a better detection has found already",
    ErrorKind.BACKGROUND: "near no object; look whether annotations are missing",
    ErrorKind.MISSED: "an object that no detection matches, nor any of the first two kinds was meant for",
}


def render(material: Material) -> tuple[str, list[str]]:
    """The page, and the images that could not be shown, each with the reason."""
    missing: dict[str, str] = {}
    document = material.document
    parts = [
        _headline(material),
        _section("Figures", _figures(document)),
        *(_section(heading, _svg(figure, name)) for name, heading, figure in _drawn(material)),
        _section("Classes", _table(*tables.per_class(document))),
        _section("Confused classes", _confusions(document)),
        *_galleries(document, missing),
        _section("Data", _data(document["data"])),
        _section("Settings", _folded(json.dumps(document["settings"], indent=2))),
        _section("Environment", _table(["", ""], list(document["environment"].items()))),
    ]
    named = [f"{path} {why}" for path, why in missing.items()]
    if named:
        note = f"<p class=note>{counted(len(named), 'image')} could not be read, and cannot be shown:</p>"
        parts.insert(2, _section("Missing images", note + _list(named)))
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    title = html.escape(f"{material.title}: evaluation")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    icon = '<link rel="icon" href="data:,">'  # else browsers ask for one
    body = "\n".join(parts)
    page = f'<!doctype html>\n<html lang="en">\n<head>{head}{icon}\n<style>\n{style}</style></head>\n<body>\n{body}\n'
    return page + "</body>\n</html>\n", named


def _drawn(material: Material) -> Iterator[tuple[str, str, Figure]]:
    colours = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    settings: Any = {**dict.fromkeys(colours, TEXT_COLOUR), "svg.fonttype": "none"}  # text stays text
    with matplotlib.rc_context(settings):
        yield from plots(material.document, material.records)


def _svg(figure: Figure, name: str) -> str:
    """A figure as part of the page, in whose text colour it writes."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):  # ids that no other plot of the page has
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(TEXT_COLOUR, "currentColor")
    width_pt, _ = re.findall(r' (?:width|height)="([\d.]+)pt"', svg)[:2]
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)  # the page sets them
    style = f"max-width:{float(width_pt) * 4 / 3:.0f}px"
    return f'<div class=plot style="{style}" id="plot-{name}">{svg}</div>'


def _headline(material: Material) -> str:
    document = material.document
    data = document["data"]
    cards = [("AP", document["AP"]), ("AP50", document["AP50"]), ("AP75", document["AP75"])]
    cards += [("AR 100", document["AR_100"]), ("images", data["num_images"]), ("objects", data["num_objects"])]
    inner = "".join(f"<div class=card><b>{_cell(value)}</b><span>{name}</span></div>" for name, value in cards)
    about = f"{document['weights']} on {data['name']}, {document['date'].replace('T', ' ')}"
    return f"<h1>{html.escape(material.title)}</h1><p class=note>{html.escape(about)}</p><div class=cards>{inner}</div>"


def _figures(document: dict[str, Any]) -> str:
    whole = _table(["figure", "value"], [[name, document[name]] for name in FIGURES])
    point = document["operating_points"]["all"]
    more = [[f"{key} at the best threshold", value] for key, value in point.items() if key != "threshold"]
    rows = [["score threshold of the largest F1", point["threshold"]], *more]
    rows += [
        ["validation loss, without l1" if name == "loss" else f"validation {name}", value]
        for name, value in (document["losses"] or {}).items()
    ]
    for style in ("07", "10"):
        values = [value for value in document.get(f"voc{style}", {}).values() if value is not None]
        if values:
            rows.append([f"AP as in VOC20{style}", sum(values) / len(values)])
    rows += [["gain without false positives", document["errors"]["false_positives"]]]
    rows += [["gain without the objects that no detection matches", document["errors"]["false_negatives"]]]
    return f"<div class=columns>{whole}{_table(['', ''], rows)}</div>"


def _confusions(document: dict[str, Any]) -> str:
    names = [*document["data"]["class_names"], "nothing"]
    counts = document["confusion"]["matrix"]
    pairs = [
        (counts[row][column], names[row], names[column], sum(counts[row]))
        for row in range(len(names) - 1)
        for column in range(len(names) - 1)
        if row != column and counts[row][column]
    ]
    pairs.sort(key=lambda pair: -pair[0])
    threshold, iou = document["confusion"]["score_threshold"], document["confusion"]["iou_threshold"]
    note = f"<p class=note>Detections with a score of at least {threshold:.3f}, IoU at least {iou}.</p>"
    if not pairs:
        return note + "<p>No object was taken for one of another class.</p>"
    rows = [[thing, taken, count, count / total] for count, thing, taken, total in pairs[:MOST_CONFUSIONS]]
    return note + _table(["object", "detected as", "times", "share of the objects"], rows)


def _galleries(document: dict[str, Any], missing: dict[str, str]) -> Iterator[str]:
    errors = document["errors"]
    for kind in ErrorKind:
        entries = document["galleries"][kind]
        if not entries:
            continue
        pictures = [_figure(entry, kind, missing) for entry in entries]
        cost = errors["costs"][kind]
        price = "" if cost is None else f"; with these alone mended AP50 would be {cost:.3f} higher"
        keys = (("wrong", "these"), ("other", "other errors"), ("correct", "correct"), ("object", "annotated"))
        named = " ".join(f'<span><i class="key {colour}"></i> {name}</span>' for colour, name in keys)
        what = f"{kind.capitalize()}: {WHAT_KINDS_MEAN[kind]}. {errors['counts'][kind]} of them{price}."
        legend = f"<p class=note>{what} {named}</p>"
        yield _section(f"Worst images: {kind}", f"{legend}<div class=gallery>{''.join(pictures)}</div>")


def _figure(entry: dict[str, Any], kind: ErrorKind, missing: dict[str, str]) -> str:
    """The picture of an image, or why there is none, which is noted in `missing` where something is amiss."""
    name = html.escape(entry["name"])
    if entry["path"] is None:
        shown = "<div class=gone>lies in an archive</div>"
    else:
        try:
            shown = f'<img src="{as_data_url(picture_of(entry, kind))}" alt="{name}">'
        except BrokenImage as error:
            missing[str(error.path)] = error.why
            shown = f"<div class=gone>{html.escape(error.why)}</div>"
    return f"<figure>{shown}<figcaption>{name}</figcaption></figure>"


def _data(data: dict[str, Any]) -> str:
    rows = [
        [key.replace("_", " ").removeprefix("num "), value] for key, value in data.items() if isinstance(value, int)
    ]
    rows += [[f"{size} objects", count] for size, count in data["objects_per_area"].items()]
    whole = _table([data["name"], ""], rows)
    for heading, lines in (("Unreadable images", data["unreadable_images"]), ("Mended", data["warnings"])):
        if lines:
            whole += f"<h3>{heading}</h3>{_list(lines)}"
    return whole


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{html.escape(heading)}</h2>{content}</section>"


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<div class=table><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(value: Any) -> str:
    if value is None:
        return "&ndash;"
    return f"{value:.4f}" if isinstance(value, float) else html.escape(str(value))


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _folded(text: str) -> str:
    return f"<details><summary>show</summary><pre>{html.escape(text)}</pre></details>"
