"""Pages that the small checkpoint learns to read from, with queries: made on the fly, never stored.

A page is an RGB array at the small profile's resolution together with what is written where, so that every
16 x 16 px patch and every 32 x 32 px visual token has its own target. The generator shares nothing with
``documents.py``: other names, topics, layouts and wordings, drawn with Pillow instead of a PDF writer.
"""

from __future__ import annotations

import io
import math
import random
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from .canvas import FORMAT_WEIGHTS, FORMATS, Content, Page
from .headers import header
from .layouts import FAMILIES
from .words import Words

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
