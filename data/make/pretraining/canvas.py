"""A page in pixels that remembers what is written where, and the faces it is written in."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .words import Words

#: Page sizes in pixels (width, height). All have at most 70 visual tokens of 32 x 32 px.
FORMATS = [(224, 320), (320, 224), (352, 192), (256, 256), (192, 352), (256, 224), (224, 288)]
FORMAT_WEIGHTS = [10, 5, 4, 1, 1, 1, 1]


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
