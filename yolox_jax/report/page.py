"""The report as one self-contained HTML page, for light and dark screens."""

import html
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from yolox_jax.data.image import BrokenImage
from yolox_jax.evaluation.coco import FIGURES
from yolox_jax.evaluation.errors import BACKGROUND_IOU, FOREGROUND_IOU, ErrorKind
from yolox_jax.report import tables
from yolox_jax.report.class_labels import class_labels
from yolox_jax.report.data import ReportData
from yolox_jax.report.html_parts import cards, folded, listed, section, table, whole_page
from yolox_jax.report.pictures import as_data_url, picture_of
from yolox_jax.report.plots import plot_style, plots
from yolox_jax.text import counted

TEXT_COLOUR = "#0a0b0c"
"""A placeholder for the page's text colour in plots, which draw nothing else in this colour."""

MOST_CONFUSIONS = 15
"""Maximum number of pairs in the table of confused classes."""

ERROR_DESCRIPTIONS = {
    ErrorKind.CLASSIFICATION: f"the wrong class, with an IoU of at least {FOREGROUND_IOU}",
    ErrorKind.LOCALISATION: f"the right class, but an IoU between {BACKGROUND_IOU} and {FOREGROUND_IOU}",
    ErrorKind.BOTH: f"the wrong class, and an IoU between {BACKGROUND_IOU} and {FOREGROUND_IOU}",
    ErrorKind.DUPLICATE: "an object that a detection with a higher score already matches",
    ErrorKind.BACKGROUND: f"an IoU below {BACKGROUND_IOU} with every object; check for missing annotations",
    ErrorKind.MISSED: "an object without a match, a classification error or a localisation error",
}


def render(data: ReportData) -> tuple[str, list[str]]:
    """The page, and the images that could not be shown, each with the reason."""
    missing: dict[str, str] = {}
    document = data.document
    parts = [
        _headline(data),
        section("Figures", _figures(document)),
        *_plots(data),
        section("Classes", table(*tables.per_class(document))),
        section("Confused classes", _confusions(document)),
        *_galleries(document, missing),
        section("Data", _data(document["data"])),
        section("Settings", folded(json.dumps(document["settings"], indent=2))),
        section("Environment", table(["", ""], list(document["environment"].items()))),
    ]
    named = [f"{path} {why}" for path, why in missing.items()]
    if named:
        note = f"<p class=note>{counted(len(named), 'image')} could not be read:</p>"
        parts.insert(2, section("Missing images", note + listed(named)))
    return whole_page(f"{data.title}: evaluation", parts), named


def _plots(data: ReportData) -> list[str]:
    colours = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    as_text = {"svg.fonttype": "none"}  # not as shapes of letters
    settings: Any = {**plot_style(data.document), **dict.fromkeys(colours, TEXT_COLOUR), **as_text}
    with matplotlib.rc_context(settings):
        sections = [
            section(heading, _svg(figure, name)) for name, heading, figure in plots(data.document, data.records)
        ]
    labels = class_labels(data.document["data"]["class_names"])
    if labels.numbered:
        note = "<p class=note>No installed font has the letters of these names.</p>"
        key = table(["in the plots", "class"], [[labels.labels[name], name] for name in labels.numbered])
        sections.append(section("Classes shown by number", note + key))
    return sections


def _svg(figure: Figure, name: str) -> str:
    """A figure as part of the page, its text in the page's text colour."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):  # ids that are unique on the page
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(TEXT_COLOUR, "currentColor")
    width_pt, _ = re.findall(r' (?:width|height)="([\d.]+)pt"', svg)[:2]
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)  # the page sets them
    style = f"max-width:{float(width_pt) * 4 / 3:.0f}px"
    return f'<div class=plot style="{style}" id="plot-{name}">{svg}</div>'


def _headline(data: ReportData) -> str:
    document, images = data.document, data.document["data"]
    figures = [("AP", document["AP"]), ("AP50", document["AP50"]), ("AP75", document["AP75"])]
    figures += [("AR 100", document["AR_100"]), ("images", images["num_images"]), ("objects", images["num_objects"])]
    best_by = document.get("best_by", "AP")
    if best_by not in dict(figures):
        figures.insert(0, (html.escape(best_by), document[best_by]))
    chosen = f", the best by {document['best_by']}" if "best_by" in document and data.records else ""
    about = f"{document['weights']}{chosen} on {images['name']}, {document['date'].replace('T', ' ')}"
    return f"<h1>{html.escape(data.title)}</h1><p class=note>{html.escape(about)}</p>{cards(figures)}"


def _figures(document: dict[str, Any]) -> str:
    whole = table(["figure", "value"], [[name, document[name]] for name in FIGURES])
    point = document["operating_points"]["all"]
    more = [[f"{key} at this threshold", value] for key, value in point.items() if key != "threshold"]
    rows = [["score threshold with the best F1", point["threshold"]], *more]
    if tiling := document.get("tiling"):
        rows.append(["tiles (height x width px)", f"{tiling['height']} x {tiling['width']}"])
        rows.append(["overlap of tiles", tiling["overlap"]])
    rows += [
        ["validation loss (without l1)" if name == "loss" else f"validation {name}", value]
        for name, value in (document["losses"] or {}).items()
    ]
    for style in ("07", "10"):
        values = [value for value in document.get(f"voc{style}", {}).values() if value is not None]
        if values:
            rows.append([f"AP as in VOC20{style}", sum(values) / len(values)])
    rows += [["AP50 gain if false positives were removed", document["errors"]["false_positives"]]]
    rows += [["AP50 gain if missed objects were found", document["errors"]["false_negatives"]]]
    return f"<div class=columns>{whole}{table(['', ''], rows)}</div>"


def _confusions(document: dict[str, Any]) -> str:
    names = [*document["data"]["class_names"], "background"]
    counts = document["confusion"]["matrix"]
    pairs = [
        (counts[row][column], names[row], names[column], sum(counts[row]))
        for row in range(len(names) - 1)
        for column in range(len(names) - 1)
        if row != column and counts[row][column]
    ]
    pairs.sort(key=lambda pair: -pair[0])
    threshold, iou = document["confusion"]["score_threshold"], document["confusion"]["iou_threshold"]
    note = (
        f"<p class=note>Detections with a score of at least {threshold:.3f}, matched at an IoU of at least {iou}.</p>"
    )
    if not pairs:
        return note + "<p>No object was detected as another class.</p>"
    rows = [[thing, taken, count, count / total] for count, thing, taken, total in pairs[:MOST_CONFUSIONS]]
    return note + table(["object", "detected as", "count", "share of the objects"], rows)


def _galleries(document: dict[str, Any], missing: dict[str, str]) -> Iterator[str]:
    errors = document["errors"]
    for kind in ErrorKind:
        entries = document["galleries"][kind]
        if not entries:
            continue
        pictures = [_figure(entry, kind, missing) for entry in entries]
        cost = errors["costs"][kind]
        price = "" if cost is None else f" Correcting them alone would raise AP50 by {cost:.3f}."
        keys = (("wrong", "this type"), ("other", "other errors"), ("correct", "correct"), ("object", "annotated"))
        named = " ".join(f'<span><i class="key {colour}"></i> {name}</span>' for colour, name in keys)
        about = f"{kind.capitalize()}: {ERROR_DESCRIPTIONS[kind]}. {counted(errors['counts'][kind], 'error')}.{price}"
        legend = f"<p class=note>{about} {named}</p>"
        yield section(f"Worst images: {kind}", f"{legend}<div class=gallery>{''.join(pictures)}</div>")


def _figure(entry: dict[str, Any], kind: ErrorKind, missing: dict[str, str]) -> str:
    """The picture of an image, or the reason why there is none; an image that cannot be read is added to `missing`."""
    name = html.escape(entry["name"])
    if entry["path"] is None:
        shown = "<div class=gone>stored in an archive</div>"
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
    whole = table([data["name"], ""], rows)
    for heading, lines in (("Unreadable images", data["unreadable_images"]), ("Warnings", data["warnings"])):
        if lines:
            whole += f"<h3>{heading}</h3>{listed(lines)}"
    return whole
