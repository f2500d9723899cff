"""Draws the diagrams of docs/yolox.md as SVG files beside this script: python docs/images/draw_diagrams.py.

The output depends on this file alone. Every diagram has an opaque white background, so that it reads the same on a
light and on a dark page.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

Point = tuple[float, float]

INK, MUTED, LINE = "#1f2328", "#57606a", "#57606a"
BLUE, GREEN, AMBER, VIOLET, GREY = "#dbe9fb", "#d9f2dd", "#fdecc8", "#e9def8", "#eef0f2"


class Diagram:
    """Collects shapes, later ones above earlier ones; positions in px from the top left."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect x="0" y="0" width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
        ]

    def rectangle(
        self, x: float, y: float, width: float, height: float, fill: str, stroke: str = LINE, radius: int = 6
    ) -> None:
        """Draw a rectangle; `none` leaves it unfilled."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}" fill="{fill}" '
            f'stroke="{stroke}" stroke-width="1.2"/>'
        )

    def text(self, x: float, y: float, content: str, size: int = 13, colour: str = INK, anchor: str = "middle") -> None:
        """Write a line whose baseline is at `y`."""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}">'
            f"{escape(content)}</text>"
        )

    def box(self, x: float, y: float, width: float, height: float, lines: Sequence[str], fill: str) -> None:
        """Draw a labelled box: the first line names it, the others explain it in smaller type."""
        self.rectangle(x, y, width, height, fill)
        top = y + height / 2 - 8 * (len(lines) - 1) + 5
        for place, line in enumerate(lines):
            self.text(x + width / 2, top + 16 * place, line, 13 if place == 0 else 11, INK if place == 0 else MUTED)

    def arrow(self, *points: Point) -> None:
        """Draw a polyline with an arrowhead at the last point. The last segment must be horizontal or vertical."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="1.4"/>')
        (x0, y0), (x1, y1) = points[-2:]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        head = [(x1, y1), (x1 - 8 * ux + 4 * uy, y1 - 8 * uy - 4 * ux), (x1 - 8 * ux - 4 * uy, y1 - 8 * uy + 4 * ux)]
        self._parts.append(f'<polygon points="{" ".join(f"{x:g},{y:g}" for x, y in head)}" fill="{LINE}"/>')

    def circle(self, x: float, y: float, radius: float, fill: str) -> None:
        """Draw a filled circle."""
        self._parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}"/>')

    def save(self, path: Path) -> None:
        """Write the file."""
        path.write_text("\n".join([*self._parts, "</svg>"]) + "\n")


def row_of_boxes(
    diagram: Diagram, y: float, boxes: Sequence[Sequence[str]], fill: str, *, left: float, width: float, gap: float
) -> list[float]:
    """Draw boxes of equal width from left to right, joined by arrows; returns the middle of each."""
    middles = []
    for place, lines in enumerate(boxes):
        x = left + place * (width + gap)
        if place:
            diagram.arrow((x - gap, y + 32), (x, y + 32))
        diagram.box(x, y, width, 64, lines, fill)
        middles.append(x + width / 2)
    return middles


def data_flow() -> Diagram:
    """Training on the host and the device, and detection."""
    diagram = Diagram(1000, 470, "Data flow of training and detection")
    for x, y, height, label in (
        (28, 14, 118, "Host: NumPy and OpenCV, in threads or worker processes"),
        (104, 158, 118, "Device: one jitted training step; state in, state out"),
        (28, 302, 154, "Detection: one jitted call after the letterbox"),
    ):
        diagram.rectangle(14, y, 972, height, "#fafbfc", "#d0d7de")
        diagram.text(x, y + 22, label, 13, MUTED, "start")
    loading = row_of_boxes(
        diagram,
        54,
        [
            ("Annotation files", "COCO, VOC, YOLO, TFDS"),
            ("Records", "data/sources"),
            ("Sample plan", "mosaic, MixUp, boxes"),
            ("Painted image", "data/augment"),
            ("Batch", "uint8 [B, H, W, 3]", "boxes [B, G, 4]"),
        ],
        BLUE,
        left=28,
        width=164,
        gap=31,
    )
    step = row_of_boxes(
        diagram,
        198,
        [
            ("Resize", "multi-scale"),
            ("Network", "raw [B, A, 5 + C]"),
            ("Assignment", "SimOTA"),
            ("Losses", "IoU, obj, class, L1"),
            ("Gradients", "over all devices"),
            ("SGD", "with momentum"),
            ("EMA", "averaged weights"),
        ],
        GREEN,
        left=28,
        width=118,
        gap=19.5,
    )
    detection = row_of_boxes(
        diagram,
        342,
        [
            ("Image", "any size"),
            ("Letterbox", "uint8 [B, H, W, 3]"),
            ("Network", "averaged weights"),
            ("Decode", "boxes and scores"),
            ("NMS", "fixed shapes"),
            ("Detections", "drawing, JSON, AP"),
        ],
        AMBER,
        left=28,
        width=136,
        gap=25.5,
    )
    diagram.arrow((loading[-1], 118), (loading[-1], 145), (step[0], 145), (step[0], 198))
    diagram.arrow((step[-1], 262), (step[-1], 290), (detection[2], 290), (detection[2], 342))
    diagram.text(28, 438, "B images, G object slots, A anchors, C classes", 11, MUTED, "start")
    return diagram


def network() -> Diagram:
    """CSPDarknet, PAFPN and head of YOLOX-s with the shape of every feature map at 640 px."""
    diagram = Diagram(1000, 640, "YOLOX-s at 640 x 640 px: backbone, neck and head")
    for x, label in ((110, "CSPDarknet"), (360, "PAFPN, top-down"), (610, "PAFPN, bottom-up"), (870, "Decoupled head")):
        diagram.text(x, 32, label, 15)
    backbone = [
        (50, ("Image", "640 x 640 x 3"), GREY),
        (136, ("Focus stem", "320 x 320 x 32"), BLUE),
        (222, ("dark2", "160 x 160 x 64"), BLUE),
        (308, ("dark3", "80 x 80 x 128"), BLUE),
        (418, ("dark4", "40 x 40 x 256"), BLUE),
        (528, ("dark5 with SPP", "20 x 20 x 512"), BLUE),
    ]
    bottom = 0.0
    for y, lines, fill in backbone:
        if bottom:
            diagram.arrow((110, bottom), (110, y))
        diagram.box(30, y, 160, 56, lines, fill)
        bottom = y + 56
    left, right, head = 270, 520, 780
    diagram.box(left, 528, 180, 56, ("lateral_conv0, 1x1", "20 x 20 x 256"), GREEN)
    diagram.box(left, 410, 180, 72, ("C3_p4, reduce_conv1", "40 x 40 x 256 to", "40 x 40 x 128"), GREEN)
    diagram.box(left, 308, 180, 56, ("C3_p3", "80 x 80 x 128"), GREEN)
    diagram.box(right, 410, 180, 72, ("C3_n3", "40 x 40 x 256"), GREEN)
    diagram.box(right, 520, 180, 72, ("C3_n4", "20 x 20 x 512"), GREEN)
    for y in (336, 446, 556):
        diagram.arrow((190, y), (left, y))
    diagram.arrow((left + 90, 528), (left + 90, 482))
    diagram.arrow((left + 90, 410), (left + 90, 364))
    diagram.text(left + 98, 509, "up x2", 11, MUTED, "start")
    diagram.text(left + 98, 391, "up x2", 11, MUTED, "start")
    diagram.arrow((left + 180, 446), (right, 446))
    diagram.arrow((left + 180, 556), (right, 556))
    diagram.arrow((right + 90, 336), (right + 90, 410))
    diagram.arrow((right + 90, 482), (right + 90, 520))
    diagram.text(right + 98, 380, "bu_conv2, 3x3 stride 2", 11, MUTED, "start")
    diagram.text(right + 98, 506, "bu_conv1, 3x3 stride 2", 11, MUTED, "start")
    for y, name, cells in ((336, "stride 8", "80 x 80"), (446, "stride 16", "40 x 40"), (556, "stride 32", "20 x 20")):
        diagram.arrow(((left if y == 336 else right) + 180, y), (head, y))
        diagram.box(head, y - 28, 180, 56, (f"Head, {name}", f"{cells} x (4 + 1 + C)"), VIOLET)
    for y in (336, 446, 556):
        diagram.arrow((head + 180, y), (978, y), (978, 218), (head + 180, 218))
    diagram.box(head, 186, 180, 64, ("Raw predictions", "[B, 8400, 5 + C]", "levels concatenated"), VIOLET)
    diagram.text(500, 622, "Two inputs of a block are concatenated along the channels before it.", 12, MUTED)
    return diagram


def head() -> Diagram:
    """One level of the decoupled head."""
    diagram = Diagram(1000, 280, "The decoupled head at one level")
    diagram.box(20, 108, 130, 64, ("Feature map", "h x w x channels"), GREEN)
    diagram.box(180, 108, 130, 64, ("Stem, 1x1", "h x w x hidden"), BLUE)
    diagram.arrow((150, 140), (180, 140))
    for y, name in ((32, "cls_convs"), (184, "reg_convs")):
        diagram.box(350, y, 190, 64, (name, "two 3x3 convolutions", "h x w x hidden"), BLUE)
        diagram.arrow((310, 140), (330, 140), (330, y + 32), (350, y + 32))
    for y, name, channels, source in (
        (32, "cls_preds, 1x1", "C class logits", 64),
        (146, "reg_preds, 1x1", "tx, ty, tw, th", 216),
        (214, "obj_preds, 1x1", "objectness logit", 216),
    ):
        height = 64 if y == 32 else 54
        diagram.box(590, y, 150, height, (name, channels), VIOLET)
        diagram.arrow((540, source), (565, source), (565, y + height / 2), (590, y + height / 2))
        diagram.arrow((740, y + height / 2), (770, y + height / 2), (770, 140), (800, 140))
    diagram.box(800, 104, 180, 72, ("Concatenated", "h w rows of 5 + C:", "box, objectness, classes"), VIOLET)
    diagram.text(85, 262, "hidden = int(256 width)", 11, MUTED)
    return diagram


def candidates() -> Diagram:
    """The candidates of one object at the three levels, by the rule of section 4."""
    diagram = Diagram(1000, 380, "Candidate anchors of one object at strides 8, 16 and 32")
    region, scale = 160, 1.8
    centre, size = (75.0, 85.0), (90.0, 64.0)
    for panel, stride in enumerate((8, 16, 32)):
        left, top = 26 + panel * 325, 42
        diagram.rectangle(left, top, region * scale, region * scale, "#fafbfc", "#d0d7de", radius=0)
        count = 0
        for row in range(region // stride):
            for column in range(region // stride):
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                near = max(abs(x - centre[0]), abs(y - centre[1])) < 1.5 * stride
                count += near
                corner = left + column * stride * scale, top + row * stride * scale
                if near:
                    diagram.rectangle(*corner, stride * scale, stride * scale, GREEN, "#2da44e", radius=0)
                diagram.circle(
                    left + x * scale, top + y * scale, 3.2 if near else 1.4, "#1a7f37" if near else "#8c959f"
                )
        x, y = left + (centre[0] - size[0] / 2) * scale, top + (centre[1] - size[1] / 2) * scale
        diagram.rectangle(x, y, size[0] * scale, size[1] * scale, "none", "#cf222e", radius=0)
        diagram.circle(left + centre[0] * scale, top + centre[1] * scale, 4, "#cf222e")
        diagram.text(left + region * scale / 2, 28, f"Stride {stride}: {count} candidates", 14)
    diagram.text(500, 360, "Red: an object and its centre. Green: anchors less than 1.5 strides from it.", 12, MUTED)
    return diagram


def main() -> None:
    """Write all diagrams."""
    folder = Path(__file__).parent
    for name, draw in {
        "data_flow": data_flow,
        "network": network,
        "head": head,
        "simota_candidates": candidates,
    }.items():
        draw().save(folder / f"{name}.svg")


if __name__ == "__main__":
    main()
