"""Five layouts that no pretraining has seen: what a small checkpoint is asked to read without having met it.

Headings, bodies and their order on the page differ from those of ``headers`` and ``layouts``. Nothing but
``reading`` and its tests may use them: once trained on, they prove nothing.
"""

from __future__ import annotations

from .canvas import Page
from .pages import PageMaker
from .text_layouts import columns


def newspaper(p: Page) -> None:
    """A masthead between rules, a line with the date, a headline, columns of text."""
    content, r = p.content, p.rng
    p.line([(p.margin, p.y), (p.w - p.margin, p.y)], p.ink)
    p.y = p.paragraph(
        p.margin, p.y + 3, content.organization, p.inner, 15, bold=True, align="center", heading=True
    )
    for gap in (1, 4):
        p.line([(p.margin, p.y + gap), (p.w - p.margin, p.y + gap)], p.ink)
    p.text(p.margin, p.y + 7, content.period, 10, fit=p.inner * 0.6)
    p.text(p.w - p.margin, p.y + 7, f"No. {r.randint(2, 999)}", 10, align="right", fit=p.inner * 0.3)
    p.y = p.paragraph(p.margin, p.y + 24, content.topic, p.inner, 17, max_lines=2, heading=True, leading=1.1)
    p.y += 4
    columns(p, 2)


def ticket(p: Page) -> None:
    """A card with a stub to be torn off, at the side or below: what is on it, and whose it is."""
    content = p.content
    edge = p.margin * 0.5
    p.rect(edge, edge, p.w - edge, p.h - edge, outline=p.accent, width=1, radius=6)
    wide = p.w > p.h
    tear = (p.w if wide else p.h) * 0.66
    for at in range(int(edge) + 3, int(p.h if wide else p.w) - int(edge), 7):
        p.line([(tear, at), (tear, at + 3)] if wide else [(at, tear), (at + 3, tear)], p.accent)
    inner = (tear if wide else p.w) - 2 * p.margin
    y = p.paragraph(p.margin, p.y + 4, content.topic, inner, 15, max_lines=3, bold=True, heading=True)
    bottom = (p.h if wide else tear) - p.margin
    while y < bottom - p.body * 1.6:
        label, value = p.fact(1, 1)
        p.text(p.margin, y + 4, label, fit=inner * 0.55)
        p.text(p.margin + inner, y + 4, value, align="right", fit=inner * 0.4)
        y += p.body * 1.6
    x, y = (tear + 8, p.margin + 4) if wide else (p.margin, tear + 8)
    width = p.w - x - p.margin
    y = p.paragraph(x, y, content.period, width, 12, max_lines=2, bold=True)
    p.paragraph(x, y + 5, content.organization, width, 11, max_lines=4)


def calendar(p: Page) -> None:
    """A month as a grid of days, a few of them with a word."""
    content, r = p.content, p.rng
    p.text(p.w - p.margin, p.y, content.organization, 10.5, align="right", fit=p.inner)
    p.y = p.paragraph(
        p.margin, p.y + 16, content.period, p.inner, 16, max_lines=1, color=p.accent, heading=True
    )
    p.y = p.paragraph(p.margin, p.y + 1, content.topic, p.inner, 13, max_lines=2, bold=True)
    p.y += 4
    days, weeks = 5, 5
    width, height = p.inner / days, (p.bottom - p.y) / weeks
    for day in range(1, days * weeks + 1):
        x = p.margin + (day - 1) % days * width
        y = p.y + (day - 1) // days * height
        p.rect(x, y, x + width, y + height, outline=(160, 160, 160))
        p.text(x + 2, y + 1, str(day), 9)
        if r.random() < 0.25 and height > 22:
            p.text(x + 2, y + 11, p.note(p.words.word()), 9, fit=width - 4)


def dashboard(p: Page) -> None:
    """A coloured menu down the left side, the heading to its right, figures in boxes."""
    content, r = p.content, p.rng
    side = p.w * 0.34
    p.rect(0, 0, side, p.h, fill=p.accent)
    light = (10, 10, 10) if p.dark else (255, 255, 255)
    y = p.paragraph(6, p.y, content.organization, side - 12, 11, max_lines=4, bold=True, color=light)
    for _ in range(r.randint(2, 5)):
        y += p.body * 1.5
        if y < p.bottom - p.body:
            p.text(10, y, p.note(p.words.word()), p.body, color=light, fit=side - 16)
    x, width = side + 8, p.w - side - 8 - p.margin
    y = p.paragraph(x, p.y, content.topic, width, 14, max_lines=4, heading=True, leading=1.15)
    y = p.paragraph(x, y + 2, content.period, width, 11, max_lines=2, color=p.accent) + 5
    while y < p.bottom - 34:
        label, value = p.fact(1, 1)
        p.rect(x, y, x + width, y + 30, fill=p.tint(), radius=3)
        p.text(x + 4, y + 2, value, 13, bold=True, fit=width - 8)
        p.text(x + 4, y + 17, label, 9.5, fit=width - 8)
        y += 35


def poster(p: Page) -> None:
    """A large shape with the words in the middle of the page; whose it is stands at the bottom."""
    content, r = p.content, p.rng
    radius = min(p.w, p.h) * 0.46
    p.ellipse(p.w / 2 - radius, p.h / 2 - radius, p.w / 2 + radius, p.h / 2 + radius, fill=p.tint())
    p.text(p.margin, p.y, p.note(p.words.title(1, 2)), p.body, fit=p.inner)
    lines = p.wrap(content.topic, p.inner * 0.86, 19, True, True)[:3]
    y = p.h / 2 - len(lines) * 12 - 8
    y = p.paragraph(
        p.w / 2 - p.inner * 0.43,
        y,
        content.topic,
        p.inner * 0.86,
        19,
        3,
        bold=True,
        align="center",
        heading=True,
    )
    p.text(p.w / 2, y + 3, content.period, 13, align="center", fit=p.inner * 0.9)
    for line in range(2):
        if r.random() < 0.5:
            p.text(p.w / 2, y + 24 + line * 13, p.words.phrase(2, 4), p.body, align="center", fit=p.inner)
    p.text(p.w / 2, p.h - p.margin - 14, content.organization, 12, True, align="center", fit=p.inner)


HELD_OUT = [newspaper, ticket, calendar, dashboard, poster]


class HeldOutMaker(PageMaker):
    """Makes pages of the five layouts, headings included."""

    def __init__(self, vocabulary: list[str], fonts: list[list[str]], seed: int):
        super().__init__(vocabulary, fonts, seed, HELD_OUT)

    def lay_out(self, page: Page, family) -> None:
        page.content.shown |= {"organization", "topic", "period"}
        family(page)
