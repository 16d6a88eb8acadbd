"""Pages that the small checkpoint learns to read from: made on the fly, never stored.

A page is an RGB array at the small profile's resolution together with what is written where, so that every
16 x 16 px patch and every 32 x 32 px visual token has its own target. The generator shares nothing with
``documents.py``: other names, topics, layouts and wordings, drawn with Pillow instead of a PDF writer.
"""

from __future__ import annotations

import io
import math
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

#: Page sizes in pixels (width, height). All have at most 70 visual tokens of 32 x 32 px.
FORMATS = [(224, 320), (320, 224), (352, 192), (256, 256), (192, 352), (256, 224), (224, 288)]
FORMAT_WEIGHTS = [10, 5, 4, 1, 1, 1, 1]
PATCH = 16
#: Characters that the patch-level target knows; index 0 is "nothing is written here".
CHARS = " abcdefghijklmnopqrstuvwxyz0123456789.,%$€£-/&:()'+#!?"
CHAR_INDEX = {c: i for i, c in enumerate(CHARS)}


class Words:
    """Draws words, made-up names, numbers and dates from one random generator."""

    ONSETS = (
        "b br c ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p ph pl pr qu r s sc sh sk sl sm sp st str t "
        "th tr v w y z"
    ).split()
    VOWELS = "a a e e i i o o u ai au ea ee ia ie io oa ou ue y".split()
    CODAS = [
        "",
        "",
        "",
        "",
        "n",
        "r",
        "l",
        "s",
        "t",
        "m",
        "x",
        "nd",
        "rd",
        "st",
        "ck",
        "th",
        "ng",
        "lt",
        "rn",
        "k",
        "p",
    ]
    MONTHS = ("January February March April May June July August September October November December").split()
    SUFFIX = (
        "Group Ltd Inc Corp Institute Partners Holdings Systems Works Trust University Bank Foods Energy "
        "Labs Council "
        "Airlines Media Motors Software Clinic Foundation Society Agency Services Press Studio Museum"
    ).split()
    UNITS = (
        "% kg km m t MW GWh hours days units points EUR USD million thousand bn k people items °C litres"
    ).split()

    def __init__(self, vocabulary: list[str], rng: random.Random):
        self.vocabulary, self.rng = vocabulary, rng
        self.common = vocabulary[:150]

    def word(self) -> str:
        # Skewed to the front: frequent words come more often, rare ones still come.
        return self.vocabulary[int(len(self.vocabulary) * self.rng.random() ** 1.6)]

    def name(self, syllables: int | None = None) -> str:
        r = self.rng
        n = syllables or r.choice([2, 2, 2, 3, 3])
        return "".join(
            r.choice(self.ONSETS) + r.choice(self.VOWELS) for _ in range(n)
        ).capitalize() + r.choice(self.CODAS)

    def organization(self) -> str:
        r = self.rng
        k = r.random()
        if k < 0.62:
            return f"{self.name()} {r.choice(self.SUFFIX) if r.random() < 0.4 else self.word().capitalize()}"
        if k < 0.8:
            return f"{self.name()} {self.name()}"
        if k < 0.92:
            return self.name(3)
        return f"{self.word().capitalize()} {self.word().capitalize()} {self.name()}"

    def phrase(self, low: int = 1, high: int = 3) -> str:
        return " ".join(self.word() for _ in range(self.rng.randint(low, high)))

    def title(self, low: int = 1, high: int = 3) -> str:
        p = self.phrase(low, high)
        k = self.rng.random()
        return p.title() if k < 0.4 else p.upper() if k < 0.5 else p[0].upper() + p[1:]

    def sentence(self, low: int = 5, high: int = 12) -> str:
        r = self.rng
        words = [
            r.choice(self.common) if r.random() < 0.35 else self.word() for _ in range(r.randint(low, high))
        ]
        return (" ".join(words)).capitalize() + "."

    def year(self) -> int:
        return self.rng.randint(1985, 2035) if self.rng.random() < 0.3 else self.rng.randint(2008, 2027)

    def period(self) -> str:
        r, y = self.rng, self.year()
        k = r.random()
        if k < 0.5:
            return str(y)
        if k < 0.64:
            return f"{r.choice(self.MONTHS)} {y}"
        if k < 0.76:
            return f"Q{r.randint(1, 4)} {y}"
        if k < 0.82:
            return f"{y}/{(y + 1) % 100:02d}"
        if k < 0.9:
            return f"{r.randint(1, 28)} {r.choice(self.MONTHS)} {y}"
        if k < 0.95:
            part = r.choice(["quarter", "half", "term"])
            return f"{r.choice(['first', 'second', 'third', 'fourth'])} {part} {y}"
        before = ["FY", f"week {r.randint(1, 52)},", "edition", "version", "spring", "winter"]
        return f"{r.choice(before)} {y}"

    def number(self) -> str:
        r = self.rng
        k = r.random()
        if k < 0.3:
            return str(r.randint(2, 999))
        if k < 0.5:
            return f"{r.uniform(0, 100):.1f}" + r.choice(["", "%", "%", " " + r.choice(self.UNITS)])
        if k < 0.65:
            return f"{r.choice('$€£')}{r.randint(1, 999)}" + r.choice(
                ["", "k", "m", f",{r.randint(0, 999):03d}", ".50"]
            )
        if k < 0.8:
            return f"{r.randint(1, 99)},{r.randint(0, 999):03d}"
        return f"{r.randint(1, 400)} {r.choice(self.UNITS)}"

    def code(self) -> str:
        r = self.rng
        letters = "".join(r.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(r.randint(1, 3)))
        return f"{letters}{r.choice(['-', '', '/', ' '])}{r.randint(1, 99999)}"


@dataclass
class Content:
    """What a page says: the parts that a query may ask for, filled in as the layout places them."""

    organization: str
    topic: str
    period: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    shown: set[str] = field(default_factory=set)


class Page:
    """A canvas in pixels that remembers every run of text with the centre of each of its characters."""

    def __init__(
        self, words: Words, fonts: list[list[str]], content: Content, size: tuple[int, int], draw: bool = True
    ):
        self.words, self.rng, self.content = words, words.rng, content
        self.w, self.h = size
        r = self.rng
        self.k = r.choice(
            [1, 2, 2]
        )  # drawn at twice the size and reduced: unhinted edges, as a PDF renderer has them
        self.family = r.choice(fonts)
        self.heading_family = self.family if r.random() < 0.6 else r.choice(fonts)
        dark = r.random() < 0.1
        self.bg = (
            tuple(r.randint(0, 70) for _ in range(3))
            if dark
            else (255, 255, 255)
            if r.random() < 0.6
            else tuple(r.randint(225, 255) for _ in range(3))
        )
        self.ink = tuple(r.randint(205, 255) for _ in range(3)) if dark else tuple([r.randint(0, 60)] * 3)
        hue = [r.randint(0, 190) for _ in range(3)]
        self.accent = tuple(min(255, c + 110) for c in hue) if dark else tuple(hue)
        self.dark = dark
        self.palette = [tuple(r.randint(30, 225) for _ in range(3)) for _ in range(7)]
        # Where only the words are wanted, one pixel is canvas enough.
        self.image = Image.new("RGB", (self.w * self.k, self.h * self.k) if draw else (1, 1), self.bg)
        self.draw = ImageDraw.Draw(self.image)
        self.margin = r.randint(6, 22)
        self.body = r.uniform(9.2, 12.8)
        self.runs: list[tuple[str, np.ndarray]] = []
        self.y = float(self.margin)
        self.bottom = self.h - self.margin

    # -- drawing
    # -----------------------------------------------------------------------------------------------------
    def font(self, size: float, bold: bool = False, heading: bool = False) -> Face:
        family = self.heading_family if heading else self.family
        return load_face(family[1 if bold and len(family) > 1 else 0], round(size * self.k))

    def width(self, s: str, size: float, bold: bool = False, heading: bool = False) -> float:
        return self.font(size, bold, heading).getlength(s) / self.k

    def text(
        self,
        x: float,
        y: float,
        s: str,
        size: float | None = None,
        bold=False,
        color=None,
        align="left",
        heading=False,
        fit=None,
    ) -> float:
        """Draws one line with its top left (or top centre, top right) at (x, y); returns its width."""
        size = size or self.body
        if not s:
            return 0.0
        font = self.font(size, bold, heading)
        total = font.getlength(s) / self.k
        if fit and total > fit:
            size = max(7.5, size * fit / total)
            font = self.font(size, bold, heading)
            total = font.getlength(s) / self.k
            while (
                total > fit and len(s) > 3
            ):  # drop whole words, then letters, rather than paint past the edge
                s = s.rsplit(" ", 1)[0] if " " in s else s[:-1]
                total = font.getlength(s) / self.k
        x = x - total / 2 if align == "center" else x - total if align == "right" else x
        across = font.draw(self.image, x * self.k, y * self.k, s, color or self.ink) / self.k
        centers = np.stack([across, np.full(len(s), y + font.middle / self.k)], 1)
        self.runs.append((s, centers))
        return total

    def wrap(self, s: str, width: float, size: float, bold=False, heading=False) -> list[str]:
        font, limit, lines, line = self.font(size, bold, heading), width * self.k, [], ""
        for word in s.split():
            if line and font.getlength(line + " " + word) > limit:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        return lines + [line] if line else lines

    def paragraph(
        self,
        x,
        y,
        s,
        width,
        size=None,
        max_lines=99,
        bottom=None,
        bold=False,
        color=None,
        align="left",
        leading=1.28,
        heading=False,
    ) -> float:
        size = size or self.body
        bottom = bottom or self.bottom
        for line in self.wrap(s, width, size, bold, heading)[:max_lines]:
            if y + size > bottom:
                break
            at = x if align == "left" else x + width / 2 if align == "center" else x + width
            self.text(at, y, line, size, bold, color, align, heading, fit=width)
            y += size * leading
        return y

    def rect(self, x0, y0, x1, y1, fill=None, outline=None, width=1, radius=0):
        box = [x0 * self.k, y0 * self.k, max(x1, x0 + 1) * self.k, max(y1, y0 + 1) * self.k]
        if radius:
            self.draw.rounded_rectangle(box, radius * self.k, fill, outline, width * self.k)
        else:
            self.draw.rectangle(box, fill, outline, width * self.k)

    def line(self, points, fill=None, width=1):
        self.draw.line([(x * self.k, y * self.k) for x, y in points], fill or self.ink, width * self.k)

    def ellipse(self, x0, y0, x1, y1, fill=None, outline=None):
        self.draw.ellipse(
            [x0 * self.k, y0 * self.k, max(x1, x0 + 1) * self.k, max(y1, y0 + 1) * self.k], fill, outline
        )

    def tint(self) -> tuple:
        a = self.rng.uniform(0.08, 0.22)
        return tuple(int(b * (1 - a) + c * a) for b, c in zip(self.bg, self.accent))

    # -- content
    # -----------------------------------------------------------------------------------------------------
    def fact(self, low=1, high=2) -> tuple[str, str]:
        label, value = self.words.title(low, high), self.words.number()
        self.content.facts.append((label, value))
        return label, value

    def note(self, s: str) -> str:
        self.content.extra.append(s)
        return s

    @property
    def inner(self) -> float:
        return self.w - 2 * self.margin


class Face:
    """One font file at one size, its glyphs drawn once and then pasted."""

    def __init__(self, path: str, size: int):
        self.font = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
        self.size = size
        self.middle = (
            self.font.getmetrics()[0] - 0.27 * size
        )  # from the top of the line to the middle of an x
        self.glyphs: dict[str, tuple] = {}

    def glyph(self, char: str) -> tuple:
        """Coverage mask (drawn ``size // 2`` pixels right of its left edge) and advance width in pixels."""
        found = self.glyphs.get(char)
        if found is None:
            advance = self.font.getlength(char)
            mask = None
            if not char.isspace():
                mask = Image.new("L", (int(advance) + self.size, self.size * 3 // 2 + 2))
                ImageDraw.Draw(mask).text((self.size // 2, 0), char, font=self.font, fill=255)
            found = self.glyphs[char] = (mask and mask.im, advance)
        return found

    def getlength(self, s: str) -> float:
        return sum(self.glyph(c)[1] for c in s)

    def draw(self, image: Image.Image, x: float, y: float, s: str, color: tuple) -> np.ndarray:
        """Draws ``s`` with its top left at (x, y); returns each character's horizontal centre in pixels."""
        half, centers = self.size // 2, np.empty(len(s))
        core = image.im  # Image.paste checks more than it paints at this size
        for i, char in enumerate(s):
            mask, advance = self.glyph(char)
            if mask is not None and image.size[0] > 1:
                at, top = round(x) - half, round(y)
                core.paste(color, (at, top, at + mask.size[0], top + mask.size[1]), mask)
            centers[i] = x + advance / 2
            x += advance
        return centers


_faces: dict[tuple[str, int], Face] = {}


def load_face(path: str, size: int) -> Face:
    key = (path, size)
    if key not in _faces:
        _faces[key] = Face(path, size)
    return _faces[key]


# -- headers: where a page says whose it is, what about, and when
# -------------------------------------------------------


def header(p: Page) -> None:
    """Draws organisation, topic and period in one of many arrangements, and moves ``p.y`` below them."""
    c, r = p.content, p.rng
    title = r.uniform(12.5, 20)
    small = r.uniform(9, 11.5)
    style = r.randrange(12)
    org, topic, period = c.organization, c.topic, c.period
    c.shown |= {"organization", "topic", "period"}
    if r.random() < 0.07:
        missing = r.choice(["organization", "period"])
        c.shown.discard(missing)
        org, period = ("" if missing == "organization" else org), ("" if missing == "period" else period)
    align = r.choice(["left", "left", "left", "center"])
    x, w = p.margin, p.inner

    def para(s, size, **kw):
        if s:
            p.y = (
                p.paragraph(x, p.y, s, w, size, max_lines=3, align=kw.pop("align", align), leading=1.15, **kw)
                + 2
            )

    if style == 0:  # running head, then title
        p.text(x, p.y, org, small, fit=w * 0.62)
        p.text(p.w - x, p.y, period, small, align="right", fit=w * 0.36)
        p.y += small * 1.3
        p.line([(x, p.y), (p.w - x, p.y)], p.accent)
        p.y += 5
        para(topic, title, bold=True, heading=True, color=p.accent)
    elif style == 1:  # title, then "organisation, period"
        para(topic, title, bold=True, heading=True)
        para(r.choice([", ", " | ", " - ", " · "]).join(s for s in (org, period) if s), small, color=p.accent)
    elif style == 2:  # colour band with the title in it
        lines = p.wrap(topic, w, title, True, True)[:2]
        height = len(lines) * title * 1.15 + 8
        p.rect(0, 0, p.w, p.y + height, fill=p.accent)
        white = (255, 255, 255) if not p.dark else (10, 10, 10)
        p.y = (
            p.paragraph(
                x, p.y, topic, w, title, max_lines=2, bold=True, heading=True, color=white, leading=1.15
            )
            + 8
        )
        para(org, small, bold=True)
        para(period, small)
    elif style == 3:  # everything in one heading
        para(" ".join(s for s in (org, topic, period) if s), title * 0.92, bold=True, heading=True)
    elif style == 4:  # organisation large, the rest below
        para(org, title, bold=True, heading=True, color=p.accent)
        para(f"{topic} {period}".strip(), small * 1.1, bold=True)
    elif style == 5:  # footer carries organisation and period
        para(topic, title, bold=True, heading=True)
        p.bottom -= small * 1.5
        p.text(x, p.bottom + 3, org, small, fit=w * 0.6)
        p.text(p.w - x, p.bottom + 3, period, small, align="right", fit=w * 0.36)
    elif style == 6:  # period as a tag
        tag = p.width(period, small) + 8 if period else 0
        if period:
            p.rect(p.w - x - tag, p.y - 2, p.w - x, p.y + small * 1.4, fill=p.accent, radius=2)
            p.text(
                p.w - x - tag / 2,
                p.y,
                period,
                small,
                align="center",
                color=(255, 255, 255) if not p.dark else (0, 0, 0),
            )
        p.text(x, p.y, org, small, bold=True, fit=w - tag - 4)
        p.y += small * 1.6
        para(topic, title, heading=True)
    elif style == 7:  # title and period on one line, organisation in the footer
        para(f"{topic} {period}".strip(), title, bold=True, heading=True, color=p.accent)
        p.bottom -= small * 1.5
        p.text(p.w / 2, p.bottom + 3, org, small, align="center", fit=w)
    elif style == 8:  # logo and organisation, centred title
        s = r.uniform(10, 18)
        r.choice([p.rect, p.ellipse])(x, p.y, x + s, p.y + s, fill=p.accent)
        p.text(x + s + 4, p.y + s / 2 - small * 0.6, org, small, bold=True, fit=w - s - 4)
        p.y += s + 5
        para(topic, title, bold=True, heading=True, align="center")
        para(period, small, align="center")
    elif style == 9:  # side bar with a heading beside it
        p.rect(0, 0, x * 0.6, p.h, fill=p.accent)
        para(period, small)
        para(topic, title, bold=True, heading=True)
        para(r.choice(["by ", "", "for ", "© "]) + org if org else "", small)
    elif style == 10:  # labelled lines
        for label, value in (("Company", org), ("Subject", topic), ("Period", period)):
            if value:
                para(
                    f"{r.choice([label, label.upper()])}: {value}",
                    small * 1.1,
                    align="left",
                    bold=label == "Subject",
                )
    else:  # underlined, organisation right
        p.text(p.w - x, p.y, org, small, align="right", bold=True, fit=w)
        p.y += small * 1.4
        para(topic, title, heading=True)
        p.line([(x, p.y), (p.w - x, p.y)], p.accent, 2)
        p.y += 4
        para(period, small)
    p.y += r.uniform(2, 7)


# -- bodies: one function a layout family
# -----------------------------------------------------------------------------


def bullets(p, mark=None):
    mark = mark or p.rng.choice(["•", "-", "*", "+", "#"])
    for i in range(p.rng.randint(3, 6)):
        if p.y > p.bottom - p.body:
            return
        m = f"{i + 1}." if mark == "1" else mark
        if mark in "•":
            p.ellipse(p.margin + 1, p.y + 4, p.margin + 5, p.y + 8, fill=p.accent)
        else:
            p.text(p.margin, p.y, m, color=p.accent)
        s = p.note(p.words.phrase(2, 5)) if p.rng.random() < 0.6 else p.words.sentence(3, 7)
        p.y = p.paragraph(p.margin + 14, p.y, s, p.inner - 14) + 3


def numbered(p):
    bullets(p, "1")


def prose(p):
    while p.y < p.bottom - p.body * 1.5:
        p.y = (
            p.paragraph(
                p.margin, p.y, " ".join([p.words.sentence(), p.words.sentence()]), p.inner, max_lines=6
            )
            + p.body * 0.5
        )


def prose_heads(p):
    while p.y < p.bottom - p.body * 3.5:
        p.y = p.paragraph(
            p.margin,
            p.y,
            p.note(p.words.title()),
            p.inner,
            p.body * 1.15,
            bold=True,
            color=p.accent,
            max_lines=1,
        )
        p.y = p.paragraph(p.margin, p.y, p.words.sentence(6, 14), p.inner, max_lines=4) + p.body * 0.4


def columns(p, n=2):
    gap, top = 8, p.y
    w = (p.inner - gap * (n - 1)) / n
    for i in range(n):
        y, x = top, p.margin + i * (w + gap)
        if p.rng.random() < 0.5:
            y = p.paragraph(x, y, p.note(p.words.title(1, 2)), w, bold=True, max_lines=1)
        while y < p.bottom - p.body:
            y = p.paragraph(x, y, p.words.sentence(6, 14), w) + 3


def columns3(p):
    columns(p, 3) if p.w > 300 else columns(p, 2)


def table(p, rows=None, cols=None, rule=None):
    r = p.rng
    cols = cols or r.choice([2, 2, 3, 3, 4] if p.w > 250 else [2, 2, 3])
    rh = p.body * r.uniform(1.35, 1.8)
    rows = min(rows or r.randint(4, 9), int((p.bottom - p.y) / rh) - 1)
    if rows < 1:
        return
    rule = rule or r.choice(["lines", "stripes", "grid", "none"])
    first = p.inner * (0.55 if cols == 2 else 0.42 if cols == 3 else 0.34)
    xs = [p.margin] + [p.margin + first + i * (p.inner - first) / (cols - 1) for i in range(cols)]
    heads = [p.words.title(1, 1)] + [
        r.choice([p.words.title(1, 1), str(p.words.year())]) for _ in range(cols - 1)
    ]
    if rule != "none" and r.random() < 0.6:
        p.rect(p.margin, p.y, p.w - p.margin, p.y + rh, fill=p.tint())
    for row in range(rows + 1):
        y = p.y + 1
        if row and rule == "stripes" and row % 2 == 0:
            p.rect(p.margin, p.y, p.w - p.margin, p.y + rh, fill=p.tint())
        if row:
            label, value = p.fact()
            cells = [label, value] + [p.words.number() for _ in range(cols - 2)]
        else:
            cells = heads
        for i, cell in enumerate(cells):
            if i == 0:
                p.text(xs[0] + 2, y, cell, bold=not row, fit=first - 4)
            else:
                p.text(xs[i + 1] - 2, y, cell, bold=not row, align="right", fit=xs[i + 1] - xs[i] - 4)
        p.y += rh
        if rule in ("lines", "grid"):
            p.line([(p.margin, p.y), (p.w - p.margin, p.y)], p.accent if row == 0 else (150, 150, 150))
    if rule == "grid":
        for x in xs:
            p.line([(x, p.y - rh * (rows + 1)), (x, p.y)], (150, 150, 150))


def table_text(p):
    table(p, rows=p.rng.randint(2, 5))
    p.y += 5
    prose(p)


def key_values(p):
    r = p.rng
    sep = r.choice([":", "", " =", "..."])
    while p.y < p.bottom - p.body * 1.3:
        label, value = p.fact(1, 2)
        p.text(p.margin, p.y, label + sep, bold=r.random() < 0.5, fit=p.inner * 0.5)
        p.text(
            p.margin + p.inner * 0.55,
            p.y,
            value if r.random() < 0.7 else p.note(p.words.title()),
            fit=p.inner * 0.45,
        )
        p.y += p.body * 1.6


def form(p):
    while p.y < p.bottom - p.body * 3:
        label, value = p.fact(1, 2)
        p.text(p.margin, p.y, label, p.body * 0.95, fit=p.inner)
        p.y += p.body * 1.2
        p.rect(p.margin, p.y, p.w - p.margin, p.y + p.body * 1.5, outline=p.accent)
        p.text(p.margin + 3, p.y + 2, p.rng.choice([value, p.note(p.words.title(1, 3))]), fit=p.inner - 6)
        p.y += p.body * 1.9


def invoice(p):
    p.text(
        p.margin,
        p.y,
        p.note(f"{p.rng.choice(['No.', 'Ref', 'Order', 'Account'])} {p.words.code()}"),
        bold=True,
        fit=p.inner,
    )
    p.y += p.body * 1.6
    table(p, cols=3 if p.inner > 190 else 2, rows=5)
    label, value = p.rng.choice(["Total", "Balance", "Amount due", "Sum"]), p.words.number()
    p.content.facts.append((label, value))
    p.text(p.w - p.margin, p.y + 3, f"{label} {value}", p.body * 1.15, bold=True, align="right", fit=p.inner)


def receipt(p):
    for _ in range(p.rng.randint(4, 9)):
        if p.y > p.bottom - p.body * 1.4:
            return
        label, value = p.fact(1, 2)
        dots = "." * max(
            2, int((p.inner - p.width(label, p.body) - p.width(value, p.body)) / p.width(".", p.body)) - 2
        )
        p.text(p.margin, p.y, label, fit=p.inner * 0.6)
        p.text(p.w - p.margin, p.y, value, align="right", fit=p.inner * 0.35)
        if p.rng.random() < 0.5:
            p.font(p.body).draw(
                p.image, (p.margin + p.width(label, p.body) + 3) * p.k, p.y * p.k, dots[:-2], (160, 160, 160)
            )
        p.y += p.body * 1.45


def chart_area(p, low=0.45, high=0.85):
    height = (p.bottom - p.y) * p.rng.uniform(low, high)
    return p.margin, p.y, p.w - p.margin, p.y + max(height, 50)


def vertical_bars(p):
    x0, y0, x1, y1 = chart_area(p)
    n = p.rng.randint(3, 6 if p.w > 250 else 5)
    step = (x1 - x0) / n
    base = y1 - p.body * 1.3
    one = p.rng.choice(p.palette)
    for i in range(n):
        label, value = p.fact(1, 1)
        height = (base - y0 - p.body * 1.3) * p.rng.uniform(0.15, 1)
        p.rect(
            x0 + i * step + step * 0.15,
            base - height,
            x0 + (i + 1) * step - step * 0.15,
            base,
            fill=one if p.rng.random() < 0.7 else p.palette[i % 7],
        )
        p.text(
            x0 + (i + 0.5) * step,
            base - height - p.body * 1.2,
            value,
            p.body * 0.95,
            align="center",
            fit=step,
        )
        p.text(x0 + (i + 0.5) * step, base + 2, label, p.body * 0.95, align="center", fit=step - 1)
    p.line([(x0, base), (x1, base)])
    p.y = y1 + 5
    prose(p)


def horizontal_bars(p):
    n = p.rng.randint(3, 7)
    step = min((p.bottom - p.y) / n, p.body * 2.2)
    left = p.inner * p.rng.uniform(0.3, 0.45)
    for i in range(n):
        label, value = p.fact(1, 2)
        p.text(p.margin, p.y + 1, label, fit=left - 3)
        length = (p.inner - left - 34) * p.rng.uniform(0.1, 1)
        p.rect(
            p.margin + left,
            p.y + 1,
            p.margin + left + length,
            p.y + step * 0.75,
            fill=p.palette[0 if p.rng.random() < 0.8 else i % 7],
        )
        p.text(p.margin + left + length + 3, p.y + 1, value, fit=p.inner - left - length - 3)
        p.y += step


def stacked_bars(p):
    x0, y0, x1, y1 = chart_area(p, 0.4, 0.65)
    n, parts = p.rng.randint(3, 5), p.rng.randint(2, 3)
    step = (x1 - x0) / n
    base = y1 - p.body * 1.3
    for i in range(n):
        y = base
        for j in range(parts):
            height = (base - y0) / parts * p.rng.uniform(0.3, 1)
            p.rect(x0 + (i + 0.2) * step, y - height, x0 + (i + 0.8) * step, y, fill=p.palette[j])
            y -= height
        p.text(
            x0 + (i + 0.5) * step,
            base + 2,
            p.rng.choice([str(p.words.year()), p.words.title(1, 1)]),
            p.body * 0.95,
            align="center",
            fit=step,
        )
    p.y = y1 + 4
    legend(p, parts)


def legend(p, n):
    for j in range(n):
        if p.y > p.bottom - p.body:
            return
        label, value = p.fact(1, 2)
        p.rect(p.margin, p.y + 2, p.margin + 8, p.y + 10, fill=p.palette[j % 7])
        p.text(p.margin + 12, p.y, f"{label} {value}" if p.rng.random() < 0.7 else label, fit=p.inner - 12)
        p.y += p.body * 1.45


def line_chart(p):
    x0, y0, x1, y1 = chart_area(p, 0.4, 0.7)
    base, n = y1 - p.body * 1.3, p.rng.randint(4, 8)
    left = x0 + 24
    p.line([(left, y0), (left, base), (x1, base)])
    for i in range(3):
        p.text(
            left - 3,
            y0 + i * (base - y0 - p.body) / 2,
            str(p.rng.randint(0, 900)),
            p.body * 0.9,
            align="right",
            fit=22,
        )
    first, step = p.words.year(), p.rng.choice([1, 1, 2, 5])
    k = p.rng.randint(1, 3)
    for j in range(k):
        pts = [(left + 4 + i * (x1 - left - 8) / (n - 1), p.rng.uniform(y0 + 3, base - 3)) for i in range(n)]
        p.line(pts, p.palette[j], 2)
    labels = max(2, min(n, int((x1 - left) / 34)))
    for i in range(labels):
        p.text(
            left + 14 + i * (x1 - left - 28) / (labels - 1),
            base + 2,
            str(first + step * i),
            p.body * 0.95,
            align="center",
            fit=32,
        )
    p.y = y1 + 4
    legend(p, k)
    prose(p)


def area_chart(p):
    x0, y0, x1, y1 = chart_area(p, 0.35, 0.6)
    pts = [(x0 + i * (x1 - x0) / 6, p.rng.uniform(y0, y1)) for i in range(7)]
    p.draw.polygon([(x * p.k, y * p.k) for x, y in [(x0, y1)] + pts + [(x1, y1)]], fill=p.palette[0])
    p.y = y1 + 4
    legend(p, 2)
    key_values(p)


def pie(p, hole=False):
    n = p.rng.randint(3, 5)
    s = min(p.inner * 0.55, (p.bottom - p.y) * 0.6)
    wide = p.w > 300
    x0 = p.margin if wide else p.w / 2 - s / 2
    y0, start = p.y, p.rng.uniform(0, 360)
    cuts = np.cumsum([p.rng.uniform(0.5, 2) for _ in range(n)])
    for j in range(n):
        end = start + 360 * (cuts[j] - (cuts[j - 1] if j else 0)) / cuts[-1]
        p.draw.pieslice(
            [x0 * p.k, y0 * p.k, (x0 + s) * p.k, (y0 + s) * p.k], start, end, fill=p.palette[j], outline=p.bg
        )
        start = end
    if hole:
        p.ellipse(x0 + s * 0.28, y0 + s * 0.28, x0 + s * 0.72, y0 + s * 0.72, fill=p.bg)
    if wide:
        saved, p.margin = p.margin, p.margin + s + 10
        right = p.w - saved
        for j in range(n):
            label, value = p.fact(1, 2)
            p.rect(p.margin, p.y + 2, p.margin + 8, p.y + 10, fill=p.palette[j])
            p.text(p.margin + 12, p.y, f"{label} {value}", fit=right - p.margin - 12)
            p.y += p.body * 1.6
        p.margin = saved
    else:
        p.y = y0 + s + 6
        legend(p, n)


def donut(p):
    pie(p, hole=True)


def scatter(p):
    x0, y0, x1, y1 = chart_area(p, 0.4, 0.7)
    p.rect(x0, y0, x1, y1 - 14, outline=p.ink)
    for _ in range(p.rng.randint(8, 25)):
        x, y = p.rng.uniform(x0 + 4, x1 - 4), p.rng.uniform(y0 + 4, y1 - 20)
        p.ellipse(x - 2, y - 2, x + 2, y + 2, fill=p.rng.choice(p.palette[:2]))
    p.text((x0 + x1) / 2, y1 - 12, p.note(p.words.title(1, 3)), align="center", fit=x1 - x0)
    p.y = y1 + 4
    key_values(p)


def gauges(p):
    for _ in range(p.rng.randint(3, 5)):
        if p.y > p.bottom - p.body * 2.4:
            return
        label, value = p.fact(1, 2)
        p.text(p.margin, p.y, label, fit=p.inner * 0.65)
        p.text(p.w - p.margin, p.y, value, bold=True, align="right", fit=p.inner * 0.33)
        p.y += p.body * 1.25
        p.rect(p.margin, p.y, p.w - p.margin, p.y + 5, fill=p.tint())
        p.rect(p.margin, p.y, p.margin + p.inner * p.rng.random(), p.y + 5, fill=p.palette[0])
        p.y += 5 + p.body * 0.6


def tiles(p):
    cols, rows, gap = p.rng.choice([(2, 2), (2, 3), (3, 2)] if p.w > 300 else [(2, 2), (2, 3), (1, 3)]) + (6,)
    w, h = (p.inner - gap * (cols - 1)) / cols, min((p.bottom - p.y - gap * (rows - 1)) / rows, 62)
    if h < 28:
        return key_values(p)
    for i in range(cols * rows):
        x, y = p.margin + (i % cols) * (w + gap), p.y + (i // cols) * (h + gap)
        p.rect(x, y, x + w, y + h, fill=p.tint(), radius=p.rng.choice([0, 4]))
        label, value = p.fact(1, 2)
        p.text(
            x + w / 2, y + 3, value, min(18, h * 0.42), bold=True, align="center", color=p.accent, fit=w - 6
        )
        p.text(x + w / 2, y + h * 0.58, label, align="center", fit=w - 6)


def timeline_vertical(p):
    x = p.margin + 5
    p.line([(x, p.y), (x, p.bottom)], p.accent, 2)
    while p.y < p.bottom - p.body * 2.4:
        p.ellipse(x - 4, p.y + 2, x + 4, p.y + 10, fill=p.accent)
        when = p.words.period()
        what = p.note(p.words.title(1, 3))
        p.content.facts.append((what, when))
        p.text(x + 10, p.y, when, bold=True, fit=p.inner - 15)
        p.text(x + 10, p.y + p.body * 1.2, what, fit=p.inner - 15)
        p.y += p.body * 3


def timeline_horizontal(p):
    n = p.rng.randint(3, 5 if p.w > 300 else 3)
    y, step = p.y + 26, p.inner / n
    p.line([(p.margin, y), (p.w - p.margin, y)], p.accent, 2)
    for i in range(n):
        x = p.margin + (i + 0.5) * step
        p.ellipse(x - 4, y - 4, x + 4, y + 4, fill=p.palette[i])
        p.text(x, y - 20, str(p.words.year()), bold=True, align="center", fit=step - 2)
        p.paragraph(
            x - step / 2 + 1, y + 8, p.note(p.words.title(1, 2)), step - 2, max_lines=3, align="center"
        )
    p.y = y + 14 + p.body * 4
    prose(p)


def boxes_flow(p):
    n = p.rng.randint(3, 4)
    if p.w > 300:
        w, gap = (p.inner - 14 * (n - 1)) / n, 14
        for i in range(n):
            x = p.margin + i * (w + gap)
            p.rect(x, p.y, x + w, p.y + 40, outline=p.accent, fill=p.tint())
            p.paragraph(x + 2, p.y + 5, p.note(p.words.title(1, 2)), w - 4, max_lines=3, align="center")
            if i < n - 1:
                p.line([(x + w, p.y + 20), (x + w + gap, p.y + 20)], p.accent, 2)
        p.y += 50
    else:
        for _ in range(n):
            if p.y > p.bottom - 24:
                return
            p.rect(
                p.margin + 15,
                p.y,
                p.w - p.margin - 15,
                p.y + p.body * 1.8,
                outline=p.accent,
                fill=p.tint(),
                radius=4,
            )
            p.text(p.w / 2, p.y + 2, p.note(p.words.title(1, 2)), align="center", fit=p.inner - 34)
            p.y += p.body * 1.8
            p.line([(p.w / 2, p.y), (p.w / 2, p.y + 8)], p.accent, 2)
            p.y += 8
    prose(p)


def org_chart(p):
    p.rect(p.w / 2 - 50, p.y, p.w / 2 + 50, p.y + 18, fill=p.tint(), outline=p.accent)
    p.text(p.w / 2, p.y + 3, p.note(f"{p.words.name()} {p.words.name()}"), align="center", fit=96)
    n = 2 if p.w < 300 else 3
    step = p.inner / n
    for i in range(n):
        x = p.margin + (i + 0.5) * step
        p.line([(p.w / 2, p.y + 18), (x, p.y + 34)])
        p.rect(x - step / 2 + 3, p.y + 34, x + step / 2 - 3, p.y + 64, outline=p.accent)
        p.text(x, p.y + 36, p.note(p.words.name() + " " + p.words.name()), align="center", fit=step - 10)
        p.text(x, p.y + 49, p.words.title(1, 2), align="center", fit=step - 10)
    p.y += 72
    bullets(p)


def letter(p):
    p.text(p.margin, p.y, p.note(f"{p.words.name()} {p.words.name()}"), fit=p.inner)
    p.y += p.body * 1.4
    p.text(
        p.margin,
        p.y,
        f"{p.rng.randint(1, 200)} {p.words.title(1, 1)} {p.rng.choice(['Street', 'Road', 'Lane', 'Square'])}",
        fit=p.inner,
    )
    p.y += p.body * 2
    p.text(p.margin, p.y, f"Dear {p.words.name()},", fit=p.inner)
    p.y += p.body * 1.6
    saved, p.bottom = p.bottom, p.bottom - p.body * 3
    prose(p)
    p.bottom = saved
    p.text(p.margin, p.y, p.rng.choice(["Yours sincerely,", "Kind regards,", "With thanks,"]))
    p.text(
        p.margin, p.y + p.body * 1.3, p.note(p.words.name() + " " + p.words.name()), bold=True, fit=p.inner
    )


def memo(p):
    for label in ("To", "From", "Re"):
        p.text(p.margin, p.y, f"{label}: {p.note(p.words.title(1, 3))}", fit=p.inner)
        p.y += p.body * 1.4
    p.line([(p.margin, p.y), (p.w - p.margin, p.y)])
    p.y += 4
    prose(p)


def faq(p):
    while p.y < p.bottom - p.body * 3.2:
        p.y = p.paragraph(
            p.margin, p.y, "Q: " + p.note(p.words.phrase(3, 6)) + "?", p.inner, bold=True, max_lines=2
        )
        p.y = p.paragraph(p.margin, p.y, "A: " + p.words.sentence(), p.inner, max_lines=3) + 4


def quote(p):
    p.rect(p.margin, p.y, p.margin + 3, p.y + 70, fill=p.accent)
    end = p.paragraph(
        p.margin + 10, p.y + 2, p.words.sentence(8, 14), p.inner - 12, p.body * 1.3, max_lines=5
    )
    p.text(
        p.margin + 10,
        end + 4,
        "- " + p.note(f"{p.words.name()} {p.words.name()}"),
        bold=True,
        fit=p.inner - 12,
    )
    p.y = end + 8 + p.body * 2
    prose(p)


def checklist(p):
    while p.y < p.bottom - p.body * 1.6:
        p.rect(p.margin, p.y + 1, p.margin + 9, p.y + 10, outline=p.ink)
        if p.rng.random() < 0.5:
            p.line([(p.margin + 2, p.y + 5), (p.margin + 4, p.y + 9), (p.margin + 9, p.y)], p.accent, 2)
        p.text(p.margin + 14, p.y, p.note(p.words.title(1, 4)), fit=p.inner - 14)
        p.y += p.body * 1.7


def agenda(p):
    hour = p.rng.randint(8, 10)
    while p.y < p.bottom - p.body * 1.6:
        when = f"{hour}:{p.rng.choice(['00', '15', '30', '45'])}"
        what = p.words.title(1, 3)
        p.content.facts.append((what, when))
        p.text(p.margin, p.y, when, bold=True, color=p.accent, fit=36)
        p.text(p.margin + 42, p.y, what, fit=p.inner - 42)
        p.y += p.body * 1.7
        hour += 1


def comparison(p):
    gap = 8
    w = (p.inner - gap) / 2
    top = p.y
    for i in range(2):
        x, y = p.margin + i * (w + gap), top
        p.rect(x, y, x + w, p.bottom, fill=p.tint(), radius=3)
        p.text(
            x + w / 2, y + 3, p.note(p.words.title(1, 2)), p.body * 1.15, bold=True, align="center", fit=w - 6
        )
        y += p.body * 2
        while y < p.bottom - p.body * 1.4:
            p.text(x + 4, y, p.note(p.words.phrase(1, 2)), fit=w - 8)
            y += p.body * 1.5


def glossary(p):
    while p.y < p.bottom - p.body * 2.5:
        term = p.note(p.words.title(1, 2))
        p.text(p.margin, p.y, term, bold=True, fit=p.inner)
        p.y = (
            p.paragraph(p.margin + 8, p.y + p.body * 1.25, p.words.sentence(4, 9), p.inner - 8, max_lines=2)
            + 3
        )


def contents_page(p):
    page = 1
    while p.y < p.bottom - p.body * 1.5:
        p.text(p.margin, p.y, p.note(p.words.title(1, 3)), fit=p.inner - 30)
        p.text(p.w - p.margin, p.y, str(page), align="right")
        page += p.rng.randint(1, 9)
        p.y += p.body * 1.6


def cover(p):
    r = p.rng
    p.y += r.uniform(0, 60)
    if p.y < p.bottom - 60:
        for _ in range(r.randint(1, 5)):
            x, y, s = r.uniform(0, p.w), r.uniform(p.y + 20, p.h), r.uniform(10, 60)
            r.choice([p.rect, p.ellipse])(x, y, x + s, y + s, fill=p.tint())
    p.y = max(p.y, p.bottom - p.body * 3)
    p.text(p.margin, p.y, p.note(p.words.title(2, 4)), fit=p.inner)


def spec_drawing(p):
    x0, y0, x1, y1 = chart_area(p, 0.35, 0.5)
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    p.rng.choice([p.rect, p.ellipse])(cx - 32, cy - 20, cx + 32, cy + 20, outline=p.ink)
    for i, (dx, dy) in enumerate([(-1, -1), (1, -1), (-1, 1), (1, 1)][: p.rng.randint(2, 4)]):
        label = p.note(p.words.title(1, 1))
        p.line([(cx + dx * 20, cy + dy * 10), (cx + dx * 46, cy + dy * (y1 - y0) * 0.4)], p.accent)
        p.text(
            cx + dx * 48,
            cy + dy * (y1 - y0) * 0.4 - 6,
            f"{i + 1} {label}",
            p.body,
            align="left" if dx > 0 else "right",
            fit=cx - p.margin - 48,
        )
    p.y = y1 + 5
    numbered(p)


def manual_steps(p):
    for i in range(p.rng.randint(2, 4)):
        if p.y > p.bottom - 30:
            return
        p.ellipse(p.margin, p.y, p.margin + 18, p.y + 18, fill=p.accent)
        p.text(p.margin + 9, p.y + 2, str(i + 1), p.body * 1.1, bold=True, align="center", color=p.bg)
        p.text(p.margin + 24, p.y, p.note(p.words.title(1, 3)), bold=True, fit=p.inner - 24)
        p.y = (
            p.paragraph(p.margin + 24, p.y + p.body * 1.3, p.words.sentence(4, 9), p.inner - 24, max_lines=2)
            + 5
        )


def cards(p):
    while p.y < p.bottom - p.body * 4:
        p.rect(p.margin, p.y, p.w - p.margin, p.y + p.body * 3.6, outline=p.accent, radius=4)
        p.text(
            p.margin + 5, p.y + 3, p.note(f"{p.words.name()} {p.words.name()}"), bold=True, fit=p.inner - 10
        )
        p.text(p.margin + 5, p.y + 3 + p.body * 1.4, p.note(p.words.title(1, 3)), fit=p.inner - 10)
        p.y += p.body * 4


def notice(p):
    p.rect(p.margin, p.y, p.w - p.margin, min(p.bottom, p.y + 80), fill=p.accent, radius=5)
    color = (255, 255, 255) if not p.dark else (0, 0, 0)
    p.paragraph(
        p.margin + 6,
        p.y + 5,
        p.note(p.words.title(2, 5)),
        p.inner - 12,
        p.body * 1.4,
        bold=True,
        color=color,
        max_lines=3,
        align="center",
    )
    p.y += 88
    key_values(p)


def codes_list(p):
    while p.y < p.bottom - p.body * 1.5:
        code, what = p.words.code(), p.words.title(1, 2)
        p.content.facts.append((what, code))
        p.text(p.margin, p.y, code, bold=True, fit=64)
        p.text(p.margin + 68, p.y, what, fit=p.inner - 68)
        p.y += p.body * 1.6


def pieces_of(encoding, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Per character of a text that was encoded behind a space: its piece, and its share of it."""
    piece, weight = np.zeros(length, int), np.zeros(length)
    for i, (a, b) in zip(encoding.ids, encoding.offsets):
        a, b = max(a - 1, 0), max(b - 1, 0)  # the leading space
        piece[a:b], weight[a:b] = i, 1 / max(1, b - a)
    return piece, weight


class WordBank:
    """Words drawn once and placed on many pages: the cheapest way to have much to read.

    Every entry is a coverage mask at page resolution with the centre and the class of each of its
    characters and the
    vocabulary pieces they belong to. A twelfth of the bank is redrawn every ``size`` placements.
    """

    def __init__(self, words: Words, fonts: list[list[str]], tokenizer, size: int = 6000):
        self.words, self.fonts, self.tokenizer, self.rng = words, fonts, tokenizer, words.rng
        self.entries = [self.draw() for _ in range(size)]
        self.placed = 0

    def draw(self) -> tuple:
        w, r = self.words, self.rng
        k = r.random()
        s = (
            w.word()
            if k < 0.45
            else w.name()
            if k < 0.65
            else w.number()
            if k < 0.78
            else w.period()
            if k < 0.85
            else w.organization()
            if k < 0.92
            else w.code()
            if k < 0.94
            else w.phrase(2, 4)
        )
        s = s.upper() if r.random() < 0.1 else s.capitalize() if r.random() < 0.3 else s
        scale = r.choice([1, 2, 2, 3])
        family = r.choice(self.fonts)
        size = r.uniform(7.5, 13) if r.random() < 0.75 else r.uniform(12, 20)
        face = load_face(r.choice(family), round(size * scale))
        width, height = int(face.getlength(s)) + 8 * scale, int(face.size * 1.45)
        image = Image.new("L", (width + -width % scale, height + -height % scale))
        dx, dy = r.uniform(1, 4) * scale, r.uniform(0, 1) * scale
        across = face.draw(image, dx, dy, s, 255)
        mask = np.asarray(image.reduce(scale) if scale > 1 else image)[:, :340]
        ys = np.full(len(s), (dy + face.middle) / scale)
        chars = np.array([CHAR_INDEX.get(c, 0) for c in s.lower()])
        encoding = self.tokenizer.backend_tokenizer.encode(" " + s, add_special_tokens=False)
        piece, weight = pieces_of(encoding, len(s))
        keep = (chars > 0) & (across / scale < 340)
        return mask, (across / scale)[keep], ys[keep], chars[keep], piece[keep], weight[keep]

    def page(self, size: tuple[int, int], plain: bool) -> tuple[np.ndarray, tuple]:
        """One page full of words: pixels, and per character its x, y, class, piece and weight."""
        r = self.rng
        w, h = size
        canvas, found, y = np.zeros((h + 40, w + 360), np.uint8), [], r.randint(-3, 4)
        gap = r.choice([1.0, 1.0, 1.15, 1.6])
        while y < h - 8:
            x, line = r.randint(-2, 12), 0
            while x < w - 16:
                mask, cx, cy, *rest = entry = self.entries[r.randrange(len(self.entries))]
                if x + mask.shape[1] > w + 4 and x > 12:
                    if r.random() < 0.6:
                        break
                    x += 30
                    continue
                top = max(y, 0)
                part = canvas[top : top + mask.shape[0], max(x, 0) : max(x, 0) + mask.shape[1]]
                np.maximum(part, mask[: part.shape[0], : part.shape[1]], out=part)
                found.append((cx + max(x, 0), cy + top, *rest))
                x += mask.shape[1] + r.randint(-3, 12)
                line = max(line, entry[0].shape[0])
                self.placed += 1
            y += int((line or 14) * r.uniform(0.82, 1.0) * gap)
        if self.placed > len(self.entries):
            self.placed = 0
            for _ in range(len(self.entries) // 12):
                self.entries[r.randrange(len(self.entries))] = self.draw()
        cover = canvas[:h, :w, None].astype(np.float32) / 255
        dark = not plain and r.random() < 0.2
        level = r.uniform(0, 0.3) if dark else 1.0 if plain or r.random() < 0.5 else r.uniform(0.85, 1)
        tint = 0 if plain else 0.07
        bg = np.array([np.clip(level + r.uniform(-tint, tint), 0, 1) for _ in range(3)], np.float32)
        # Every band of lines has an ink of its own: headings and labels are coloured more often than prose.
        ink = np.empty((h, 1, 3), np.float32)
        top = 0
        while top < h:
            bottom = top + r.randint(14, 90)
            if dark:
                ink[top:bottom] = [r.uniform(0.7, 1) for _ in range(3)]
            elif plain or r.random() < 0.5:
                ink[top:bottom] = r.uniform(0, 0.25)
            else:
                ink[top:bottom] = [r.uniform(0, 0.72) for _ in range(3)]
            top = bottom
        pixels = bg + (ink - bg) * cover
        if not plain and r.random() < 0.3:
            pixels = pixels + np.random.default_rng(r.getrandbits(32)).normal(
                0, r.uniform(0.01, 0.04), (h, w, 1)
            )
        return (np.clip(pixels, 0, 1) * 255).astype(np.uint8), tuple(np.concatenate(c) for c in zip(*found))


FAMILIES = [
    bullets,
    numbered,
    prose,
    prose_heads,
    columns,
    columns3,
    table,
    table_text,
    key_values,
    form,
    invoice,
    receipt,
    vertical_bars,
    horizontal_bars,
    stacked_bars,
    line_chart,
    area_chart,
    pie,
    donut,
    scatter,
    gauges,
    tiles,
    timeline_vertical,
    timeline_horizontal,
    boxes_flow,
    org_chart,
    letter,
    memo,
    faq,
    quote,
    checklist,
    agenda,
    comparison,
    glossary,
    contents_page,
    cover,
    spec_drawing,
    manual_steps,
    cards,
    notice,
    codes_list,
]


# -- queries
# ----------------------------------------------------------------------------------------------------------

#: o organisation, t topic, p period, l label, v value, x another thing that the page says
WORDINGS = {
    "otp": [
        "{o} {t} {p}",
        "{t} {o} {p}",
        "{p} {o} {t}",
        "what does {o} say about {t} in {p}?",
        "{t} at {o}, {p}",
        "{o}: {t} for {p}",
        "show me the {t} page of {o} from {p}",
        "where can i find {t} of {o} for {p}?",
        "how did {t} develop at {o} in {p}?",
        "{o} report on {t} dated {p}",
        "which page covers {t} for {o} in {p}?",
        "in {p}, what was the {t} of {o}?",
        "find {o} {p} {t}",
        "what were {o}'s {t} in {p}?",
        "{p} {t} {o}",
        "tell me about {t} at {o} during {p}",
        "summary of {t} by {o} {p}",
        "{o} {p}: {t}",
    ],
    "ot": [
        "{o} {t}",
        "{t} {o}",
        "what is {o}'s {t}?",
        "how does {o} deal with {t}?",
        "{t} of {o}",
        "who handles {t} at {o}?",
        "where does {o} describe {t}?",
        "does {o} have a page on {t}?",
        "{o} overview of {t}",
    ],
    "tp": ["{t} {p}", "{p} {t}", "what was {t} in {p}?", "{t} as of {p}", "status of {t} in {p}"],
    "olp": [
        "how much was {l} at {o} in {p}?",
        "{o} {l} {p}",
        "what is the value of {l} for {o} in {p}?",
        "{l} {o} {p}",
        "{p} {l} figure of {o}",
        "what number does {o} give for {l} in {p}?",
    ],
    "ol": ["{l} at {o}", "{o} {l}", "which {o} page lists {l}?", "what does {o} report for {l}?"],
    "otl": ["{o} {t} {l}", "{l} in the {t} of {o}", "what is {l} in {o}'s {t}?", "{t} {l} {o}"],
    "lv": ["{l} {v}", "which page shows {l} of {v}?", "{l} = {v}", "where is {l} given as {v}?"],
    "olv": ["{o} {l} {v}", "{o} with {l} at {v}"],
    "olvp": ["{o} {p} {l} {v}", "where has {o} put {v} as {l} in {p}?", "{l} {v} from {o}, {p}"],
    "otlp": [
        "{o} {t} {p} {l}",
        "{l} under {t} at {o}, {p}",
        "{p}: {l} of {o} in its {t}",
        "read {l} off the {t} of {o}, {p}",
        "how high is {l} in {o}'s {t} for {p}?",
    ],
    "otlv": ["{o} {t} {l} {v}", "{v} {l} {t} {o}", "page of {o} on {t} with {l} {v}", "{t}: {l} {v} ({o})"],
    "otx": ["{o} {t} {x}", "{x} in {t} by {o}"],
    "ox": ["{o} {x}", "{x} {o}", "where does {o} mention {x}?", "what does {o} say about {x}?"],
    "xp": ["{x} {p}"],
    "tx": ["{t} {x}", "{x} and {t}", "{t} with {x}"],
}


def make_query(content: Content, rng: random.Random, need: str = "") -> str:
    """One query for what a page shows; ``need`` names the slots that must be in it, e.g. ``"otp"``."""
    have = {
        "o": "organization" in content.shown,
        "t": True,
        "p": "period" in content.shown,
        "l": bool(content.facts),
        "v": bool(content.facts),
        "x": bool(content.extra),
    }
    kinds = [k for k in WORDINGS if all(have[s] for s in k) and all(s in k for s in need if have[s])] or [
        "tp" if have["p"] else "ot"
    ]
    weights = [6 if k == "otp" else 3 if "o" in k and len(k) > 2 else 2 for k in kinds]
    kind = rng.choices(kinds, weights)[0]
    label, value = rng.choice(content.facts) if content.facts else ("", "")
    o = content.organization
    if rng.random() < 0.2:
        o = max(o.split(), key=len)
    return rng.choice(WORDINGS[kind]).format(
        o=o,
        t=content.topic,
        p=content.period,
        l=label,
        v=value,
        x=rng.choice(content.extra) if content.extra else "",
    )


@dataclass
class Sample:
    """A finished page: pixels (height, width, 3) uint8, runs of text, what it says, and its layout family."""

    pixels: np.ndarray
    runs: list[tuple[str, np.ndarray]]
    content: Content
    family: str


class PageMaker:
    """Makes pages without end. ``seed`` fixes everything; ``families`` restricts the layouts."""

    def __init__(self, vocabulary: list[str], fonts: list[list[str]], seed: int, families=None):
        self.rng = random.Random(seed)
        self.words = Words(vocabulary, self.rng)
        self.fonts = fonts
        self.families = families or FAMILIES

    def content(self, organization=None, topic=None, period=None) -> Content:
        w = self.words
        return Content(organization or w.organization(), topic or w.title(1, 3), period or w.period())

    def page(
        self,
        content: Content | None = None,
        size: tuple[int, int] = FORMATS[0],
        family=None,
        draw: bool = True,
    ) -> Sample:
        """A page of ``content`` in the layout ``family``; both are drawn at random where they are None.

        ``draw=False`` lays the words out without painting them: ``pixels`` are then all black.
        """
        content = content or self.content()
        p = Page(self.words, self.fonts, content, size, draw)
        family = family or self.rng.choice(self.families)
        self.lay_out(p, family)
        pixels = self.finish(p) if draw else np.broadcast_to(np.uint8(0), (p.h, p.w, 3))
        return Sample(pixels, p.runs, content, family.__name__)

    def twin(
        self,
        content: Content,
        size: tuple[int, int],
        state,
        value: str = "",
        new: str = "",
        draw: bool = True,
    ) -> Sample:
        """The page of ``content`` drawn from the random ``state``, with ``new`` where ``value`` was drawn."""
        words, after = self.words, self.rng.getstate()
        draw_number = words.number
        words.number = lambda: new if (drawn := draw_number()) == value else drawn
        self.rng.setstate(state)
        try:
            return self.page(Content(content.organization, content.topic, content.period), size, draw=draw)
        finally:
            del words.number  # the class's own again
            self.rng.setstate(after)

    def lay_out(self, page: Page, family) -> None:
        """Writes the heading and, where there is room, the body."""
        header(page)
        if page.y < page.bottom - 30:
            family(page)

    def finish(self, p: Page) -> np.ndarray:
        r, image = self.rng, p.image
        if p.k > 1:
            image = (
                image.reduce(2) if r.random() < 0.8 else image.resize((p.w, p.h), Image.Resampling.BICUBIC)
            )
        if r.random() < 0.15:
            image = compressed(image, r.randint(40, 85))
        if r.random() < 0.2:  # a scan: slightly turned, blurred, grey, noisy
            angle = r.uniform(-2, 2)
            image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=p.bg)
            p.runs = [(text, turned(centers, angle, (p.w, p.h))) for text, centers in p.runs]
            if r.random() < 0.6:
                image = image.filter(ImageFilter.GaussianBlur(r.uniform(0.2, 0.6)))
            if r.random() < 0.6:
                image = image.convert("L").convert("RGB")
            noise = np.random.default_rng(r.getrandbits(32)).normal(0, r.uniform(2, 10), (p.h, p.w, 1))
            return np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8)
        return np.asarray(image)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """A picture as it comes back from a JPEG file."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def turned(points: np.ndarray, degrees: float, size: tuple[int, int]) -> np.ndarray:
    """Where points (n, 2) of a picture lie after ``Image.rotate``, which turns it about its middle."""
    angle, middle = math.radians(degrees), np.array(size) / 2
    x, y = (points - middle).T
    back = np.stack([x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)], 1)
    return back + middle


def other_digit(text: str, r: random.Random) -> str:
    """The text with its last digit replaced."""
    found = list(re.finditer(r"\d", text))[-1]
    digit = r.choice([d for d in "0123456789" if d != found[0]])
    return text[: found.start()] + digit + text[found.end() :]


def written(sample: Sample) -> str:
    """All that stands on a page."""
    return " ".join(text for text, _ in sample.runs)


def figure_query(content: Content, label: str, value: str, r: random.Random) -> str:
    """A query for a page by a figure on it and what the figure is of."""
    kinds = [wording for kind in ("olv", "olvp", "otlv") for wording in WORDINGS[kind]]
    return r.choice(kinds).format(o=content.organization, t=content.topic, p=content.period, l=label, v=value)


def figure_twins(maker: PageMaker, size: tuple[int, int], draw: bool = True) -> list[tuple[Sample, tuple]]:
    """Two pages alike but for one digit of a figure, each with the figure's label and value.

    Or one page, where it shows no figure.
    """
    r, content = maker.rng, maker.content()
    state = r.getstate()
    first = maker.page(content, size, draw=draw)
    if not content.facts or not {"organization", "period"} <= content.shown:
        return [(first, ())]
    label, value = r.choice(content.facts)
    new = other_digit(value, r)
    second = maker.twin(content, size, state, value, new, draw)
    if written(first) == written(second):  # a layout may leave a figure out
        return [(first, ())]
    return [(first, (label, value)), (second, (label, new))]


def group_batch(
    maker: PageMaker,
    size: int,
    groups: float = 0.5,
    draw: bool = True,
    queries_a_page: int = 1,
    figures: float = 0.0,
) -> tuple[list[Sample], list[str]]:
    """``size`` pages of one format with queries; a part of them in groups that differ in one thing only.

    Queries come page by page, ``queries_a_page`` for each.

    A group shares organisation and period and differs in topic, or shares organisation and topic and
    differs in period,
    or shares topic and period and differs in organisation: hard negatives for one another. ``figures`` is the
    chance of a pair that differs in one digit of a figure, and is asked for by it.
    """
    r = maker.rng
    fmt = r.choices(FORMATS, FORMAT_WEIGHTS)[0]
    samples, queries = [], []
    while len(samples) < size:
        if figures and r.random() < figures and len(samples) + 2 <= size:
            for s, figure in figure_twins(maker, fmt, draw):
                samples.append(s)
                for _ in range(queries_a_page):
                    queries.append(
                        figure_query(s.content, *figure, r) if figure else make_query(s.content, r)
                    )
        elif r.random() < groups and len(samples) + 4 <= size:
            base, vary = maker.content(), r.choice(["topic", "topic", "period", "period", "organization"])
            same_family = r.choice(maker.families) if r.random() < 0.5 else None
            need = {"topic": "ot", "period": "op", "organization": "ot"}[vary]
            seen = set()
            while len(seen) < 4:
                c = maker.content(
                    **{k: getattr(base, k) for k in ("organization", "topic", "period") if k != vary}
                )
                if getattr(c, vary).lower() in seen:
                    continue
                seen.add(getattr(c, vary).lower())
                s = maker.page(c, fmt, same_family, draw)
                samples.append(s)
                queries += [make_query(c, r, need) for _ in range(queries_a_page)]
        else:
            s = maker.page(None, fmt, draw=draw)
            samples.append(s)
            queries += [make_query(s.content, r) for _ in range(queries_a_page)]
    return samples, queries


def read_assets(folder: Path) -> tuple[list[str], list[list[str]]]:
    """Words and font families of a folder that ``small_checkpoint.py gather`` filled.

    Returns the words, most frequent first, and per family its regular and (where there is one) bold file.
    Raises FileNotFoundError naming what is missing and the command that makes it.
    """
    words = folder / "words.txt"
    fonts = sorted((folder / "fonts").glob("*.?tf"))
    if not words.is_file() or not fonts:
        raise FileNotFoundError(
            f"{folder} holds no words.txt and fonts/: run `python data/make/small_checkpoint.py gather` first"
        )
    families: dict[str, list[str]] = {}
    for f in fonts:
        families.setdefault(f.stem.split("__")[0], []).append(str(f))
    return words.read_text(encoding="utf-8").split("\n"), [
        sorted(v, key=lambda f: "__b" in f) for v in families.values()
    ]
