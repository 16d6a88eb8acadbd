"""What a page of the course's documents says, and the sheet that it is drawn on with reportlab.

All sizes here are pixels of the page as the small profile sees it (71,680 pixels a page), so that type sizes
say at once whether a page is legible there; a scale on the canvas turns them into points. Nothing is set
under 9 px.
"""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass, field
from pathlib import Path

from course_domain import SEED, Kind, Organization, Period, Topic
from reportlab import rl_config
from reportlab.lib.colors import Color, HexColor
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

rl_config.useA85 = 0  # binary streams: a fifth smaller

SIZES = {
    "portrait": (224, 320),
    "landscape": (320, 224),
    "slide": (352, 192),
    "square": (256, 256),
    "tall": (192, 352),
}
MIN_SIZE = 9.0
DARK = [
    "#123a5c",
    "#5b1a3a",
    "#1f4d2b",
    "#3b2a6b",
    "#7a3b00",
    "#0f4f55",
    "#333333",
    "#6b1414",
    "#284a8f",
    "#4a4a12",
]
ACCENT = ["#e07b00", "#2f7fc1", "#4f9e3a", "#c23b5a", "#8a63c7", "#1e9a93", "#c9a100", "#777777"]
PAPER = ["#ffffff", "#ffffff", "#ffffff", "#fffaf0", "#f4f6f8", "#f3f7ee"]
FACES = {
    "helvetica": ("Helvetica", "Helvetica-Bold"),
    "times": ("Times-Roman", "Times-Bold"),
    "courier": ("Courier", "Courier-Bold"),
    "vera": ("Vera", "VeraBd"),
    "serif": ("DejaVuSerif", "DejaVuSerif-Bold"),
}


def register_fonts() -> None:
    """Register the two embedded families, Vera from reportlab and DejaVu Serif from matplotlib.

    They are cut down to plain ASCII without hinting first: 8 KB a face in a PDF instead of 20.
    """
    import matplotlib
    import reportlab
    from fontTools import subset

    if "Vera" in pdfmetrics.getRegisteredFontNames():
        return
    vera = Path(reportlab.__file__).parent / "fonts"
    dejavu = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for file in (
        vera / "Vera.ttf",
        vera / "VeraBd.ttf",
        dejavu / "DejaVuSerif.ttf",
        dejavu / "DejaVuSerif-Bold.ttf",
    ):
        options = subset.Options(
            hinting=False, layout_features=[], recalc_timestamp=False, notdef_outline=True
        )
        options.drop_tables += ["FFTM", "PCLT", "GPOS", "GSUB", "GDEF", "kern"]
        font = subset.load_font(str(file), options)
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=range(32, 127))
        cutter.subset(font)
        buffer = io.BytesIO()
        subset.save_font(font, buffer, options)
        buffer.seek(0)
        pdfmetrics.registerFont(TTFont(file.stem, buffer))


@dataclass
class Page:
    """What one page says. `rows` are all label/value pairs on it; `second` is a table's further column."""

    document_id: str
    number: int
    layout: str
    topic: Topic
    part: int = 0  # 1 or 2 when the topic runs over two pages
    rows: list[tuple[str, str]] = field(default_factory=list)
    second: list[str] = field(default_factory=list)
    unit: str = ""
    person: str = ""
    reference: str = ""  # an invoice number or the like
    scanned: bool = False

    @property
    def page_id(self) -> str:
        return f"{self.document_id}-p{self.number:02d}"

    @property
    def heading(self) -> str:
        return self.topic.title + (f" {self.part} of 2" if self.part else "")


@dataclass
class Document:
    """One PDF file: who, what, when, and its pages."""

    document_id: str
    organization: Organization
    kind: Kind
    period: Period
    split: str
    series: str  # documents of one series share layout and topics
    format: str
    subject: str  # a product's or a project's name, or ""
    author: str
    pages: list[Page] = field(default_factory=list)

    @property
    def file(self) -> str:
        return f"{self.document_id}.pdf"


class Style:
    """Colors, faces and furniture of an organization's series of documents."""

    def __init__(self, document: Document) -> None:
        rng = random.Random(f"{SEED}/style/{document.organization.slug}")
        self.dark = HexColor(rng.choice(DARK))
        self.accent = HexColor(rng.choice(ACCENT))
        self.logo = rng.randrange(7)
        rng = random.Random(f"{SEED}/style/{document.series}")
        self.paper = HexColor(rng.choice(PAPER))
        face = rng.choices(["helvetica", "times", "courier", "vera", "serif"], [44, 26, 10, 12, 8])[0]
        self.regular, self.bold = FACES[face]
        self.zoom = {"times": 1.08, "vera": 0.95, "serif": 0.95, "courier": 1.0}.get(face, 1.0)
        self.header = rng.randrange(6)
        self.heading_size = rng.choice([15, 16, 17, 18])
        self.centered = rng.random() < 0.25
        self.rule = rng.random() < 0.6
        self.footer = rng.randrange(3)
        self.table = rng.randrange(4)
        self.bullet = rng.randrange(4)
        self.points_per_pixel = rng.choice([1.25, 1.33, 1.5, 2.0, 2.6])
        self.tint = Color(*(0.82 + 0.18 * c for c in self.accent.rgb()))


class Sheet:
    """A canvas whose y runs down from the top, in pixels, with text that is made to fit."""

    def __init__(self, canvas: Canvas, width: float, height: float, style: Style) -> None:
        self.c, self.w, self.h, self.s = canvas, width, height, style

    def width_of(self, text: str, size: float, bold: bool = False) -> float:
        return pdfmetrics.stringWidth(text, self.s.bold if bold else self.s.regular, size)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 10,
        bold: bool = False,
        color: Color | None = None,
        anchor: str = "left",
        room: float | None = None,
    ) -> float:
        """Draw one line with its baseline at y, smaller (not under 9 px) to fit `room`. Returns its width."""
        size = max(MIN_SIZE, size * self.s.zoom)
        if room is not None:
            while self.width_of(text, size, bold) > room and size > MIN_SIZE:
                size = max(MIN_SIZE, size - 0.25)
            while self.width_of(text, size, bold) > room and " " in text:
                text = text.rsplit(" ", 1)[0]
        width = self.width_of(text, size, bold)
        left = x - (width if anchor == "right" else width / 2 if anchor == "center" else 0)
        self.c.setFillColor(color or HexColor("#111111"))
        self.c.setFont(self.s.bold if bold else self.s.regular, size)
        self.c.drawString(left, -y, text)
        return width

    def wrap(self, text: str, size: float, room: float, bold: bool = False) -> list[str]:
        """The lines of `text`, broken at spaces to fit `room`."""
        lines, line = [], ""
        for word in text.split():
            trial = f"{line} {word}".strip()
            if line and self.width_of(trial, size * self.s.zoom, bold) > room:
                lines.append(line)
                line = word
            else:
                line = trial
        return [*lines, line] if line else lines

    def paragraph(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        room: float,
        bottom: float,
        bold: bool = False,
        color: Color | None = None,
        leading: float = 1.22,
    ) -> float:
        """Draw wrapped text from baseline y; stops above `bottom`. Returns the next free baseline."""
        for line in self.wrap(text, size, room, bold):
            if y > bottom:
                break
            self.text(x, y, line, size, bold, color, room=room)
            y += size * self.s.zoom * leading
        return y

    def _colors(self, fill: Color | None, stroke: Color | None, line: float) -> tuple[int, int]:
        """Set what a shape is drawn with; whether it is stroked, and filled, as reportlab asks."""
        if fill is not None:
            self.c.setFillColor(fill)
        if stroke is not None:
            self.c.setStrokeColor(stroke)
            self.c.setLineWidth(line)
        return int(stroke is not None), int(fill is not None)

    def box(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        fill: Color | None = None,
        stroke: Color | None = None,
        line: float = 0.8,
        radius: float = 0,
    ) -> None:
        stroked, filled = self._colors(fill, stroke, line)
        if radius:
            self.c.roundRect(x, -y - h, w, h, radius, stroked, filled)
        else:
            self.c.rect(x, -y - h, w, h, stroked, filled)

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        color: Color | None = None,
        width: float = 0.8,
        dash: tuple[int, int] | None = None,
    ) -> None:
        self.c.setStrokeColor(color or HexColor("#555555"))
        self.c.setLineWidth(width)
        self.c.setDash(*(dash,) if dash else ())
        self.c.line(x1, -y1, x2, -y2)
        self.c.setDash()

    def circle(
        self,
        x: float,
        y: float,
        r: float,
        fill: Color | None = None,
        stroke: Color | None = None,
        line: float = 0.8,
    ) -> None:
        self.c.circle(x, -y, r, *self._colors(fill, stroke, line))

    def polygon(self, points: list[tuple[float, float]], fill: Color) -> None:
        path = self.c.beginPath()
        path.moveTo(points[0][0], -points[0][1])
        for x, y in points[1:]:
            path.lineTo(x, -y)
        path.close()
        self.c.setFillColor(fill)
        self.c.drawPath(path, stroke=0, fill=1)

    def logo(self, x: float, y: float, size: float, color: Color, second: Color) -> None:
        """A simple mark in the square at (x, y)."""
        kind, r = self.s.logo, size / 2
        if kind == 0:
            self.circle(x + r, y + r, r, color)
            self.circle(x + r, y + r, r * 0.45, second)
        elif kind == 1:
            self.polygon([(x, y + size), (x + r, y), (x + size, y + size)], color)
        elif kind == 2:
            for i in range(3):
                self.box(x + i * size / 3, y + size * (2 - i) / 3, size / 4, size * (i + 1) / 3, color)
        elif kind == 3:
            self.polygon(
                [
                    (x + r * (1 + math.cos(a * math.pi / 3)), y + r * (1 + math.sin(a * math.pi / 3)))
                    for a in range(6)
                ],
                color,
            )
        elif kind == 4:
            self.box(x, y, size, size, color)
            self.polygon([(x, y), (x + size, y), (x, y + size)], second)
        elif kind == 5:
            self.circle(x + r * 0.7, y + r, r * 0.65, None, color, 2)
            self.circle(x + r * 1.35, y + r, r * 0.65, None, second, 2)
        else:
            self.polygon([(x + r, y), (x + size, y + r), (x + r, y + size), (x, y + r)], color)
