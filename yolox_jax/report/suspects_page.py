"""The page of `yolox-jax data suspects`: what a detector contradicts, with a picture of each."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from yolox_jax.evaluation.suspects import NEAR_IOU, SAME_OBJECT_IOU, WELL_PLACED_IOU, SuspectKind
from yolox_jax.inference.picture_files import encode_picture
from yolox_jax.report.contact_sheets import View
from yolox_jax.report.html_parts import cards, section, table, whole_page
from yolox_jax.report.pictures import as_data_url
from yolox_jax.report.suspect_pictures import what
from yolox_jax.text import counted

DESCRIPTIONS = {
    SuspectKind.MISSING: f"a confident detection has an IoU below {SAME_OBJECT_IOU} with every annotation",
    SuspectKind.WRONG_CLASS: f"a confident detection of another class has an IoU of at least {SAME_OBJECT_IOU} with "
    "the annotation, and none of its own class has",
    SuspectKind.MISPLACED: f"a confident detection of its class has an IoU from {NEAR_IOU} to {WELL_PLACED_IOU} with "
    "the annotation",
    SuspectKind.SPURIOUS: "no detection of any class and score is at the annotation that does not mean another one; it "
    "may be the second one of an object",
}

KEYS = (("annotation", "annotated"), ("detection", "detected"), ("object", "other annotations"))
"""Classes of page.css, and the names of the colours."""


def suspects_page(document: dict[str, Any], views: Mapping[int, View | None]) -> str:
    """The page as HTML.

    Args:
        document: from `describe_suspects`.
        views: the pictures of the suspects to show, by rank; None for an image that cannot be read.
    """
    by_kind = {
        kind: [entry for entry in document["suspects"] if entry["kind"] == kind and entry["rank"] in views]
        for kind in SuspectKind
    }
    parts = [_headline(document, len(views))]
    parts += [_gallery(kind, entries, document, views) for kind, entries in by_kind.items() if entries]
    return whole_page(f"{document['data']}: suspect annotations", parts)


def _headline(document: dict[str, Any], num_shown: int) -> str:
    figures: list[tuple[str, int]] = [(kind, document["counts"][kind]) for kind in SuspectKind]
    figures += [("annotations", document["num_annotations"]), ("images", document["num_images"])]
    about = f"{document['weights']} on {document['data']}, {document['date'].replace('T', ' ')}"
    total = len(document["suspects"])
    shown = f"{num_shown} of {total} suspects are shown, the first of each kind. " if num_shown < total else ""
    how = (
        f"{shown}Detections with a score of at least {document['score_threshold']:.3f} are confident. The score of a "
        "suspect, from 0 to 1, is the confidence of the detector times how far it contradicts the annotation. Either "
        "may be right: look before you correct."
    )
    heading = f"<h1>{html.escape(document['data'])}: suspect annotations</h1><p class=note>{html.escape(about)}</p>"
    verdict = "" if total else "<p>The detector contradicts no annotation with confidence.</p>"
    return f"{heading}{cards(figures)}<p class=note>{html.escape(how)}</p>{verdict}"


def _gallery(
    kind: SuspectKind, entries: Sequence[dict[str, Any]], document: dict[str, Any], views: Mapping[int, View | None]
) -> str:
    named = " ".join(f'<span><i class="key {colour}"></i> {name}</span>' for colour, name in KEYS)
    of_all = counted(document["counts"][kind], "suspect")
    about = f"<p class=note>{of_all}: {html.escape(DESCRIPTIONS[kind])}. {named}</p>"
    figures = "".join(_figure(entry, views[entry["rank"]]) for entry in entries)
    rows = [
        [entry["name"], entry["rank"], entry["score"], _identity(entry), what(entry), _box(entry)] for entry in entries
    ]
    listing = table(["image", "rank", "score", "annotation", "", "box (left, top, right, bottom px)"], rows)
    folded = f"<details><summary>table</summary>{listing}</details>"
    return section(kind.capitalize(), f"{about}<div class=gallery>{figures}</div>{folded}")


def _figure(entry: dict[str, Any], view: View | None) -> str:
    name = html.escape(entry["name"])
    if view is None:
        shown = "<div class=gone>cannot be read</div>"
    else:
        shown = f'<img src="{as_data_url(encode_picture(".jpg", view))}" alt="{name}">'
    text = f"{entry['rank']}: {entry['score']:.2f}, {what(entry)}, "
    return f"<figure>{shown}<figcaption>{html.escape(text)}{name}</figcaption></figure>"


def _identity(entry: dict[str, Any]) -> str:
    annotation = entry["annotation"]
    if annotation is None:
        return "none"
    return f"index {annotation['index']}" if annotation["id"] is None else f"id {annotation['id']}"


def _box(entry: dict[str, Any]) -> str:
    part = entry["annotation"] or entry["detection"]
    return ", ".join(f"{value:.0f}" for value in part["box_xyxy"])
