"""Where a page says whose it is, what about, and when: one function an arrangement."""

from __future__ import annotations

from dataclasses import dataclass

from .canvas import Page


@dataclass
class Heading:
    """What a heading says, "" where the page keeps it to itself, and the sizes of its type in pixels."""

    organization: str
    topic: str
    period: str
    title: float
    small: float
    align: str = "left"


def header(p: Page) -> None:
    """Draws organisation, topic and period in one of many arrangements, and moves ``p.y`` below them."""
    c, r = p.content, p.rng
    title, small = r.uniform(12.5, 20), r.uniform(9, 11.5)
    style = r.randrange(len(STYLES))
    h = Heading(c.organization, c.topic, c.period, title, small)
    c.shown |= {"organization", "topic", "period"}
    if r.random() < 0.07:
        missing = r.choice(["organization", "period"])
        c.shown.discard(missing)
        setattr(h, missing, "")
    h.align = r.choice(["left", "left", "left", "center"])
    STYLES[style](p, h)
    p.y += r.uniform(2, 7)


def paragraph(p: Page, text: str, size: float, align: str, **kw) -> None:
    """A part of the heading over the whole width, if there is one, and ``p.y`` below it."""
    if text:
        p.y = (
            p.paragraph(p.margin, p.y, text, p.inner, size, max_lines=3, align=align, leading=1.15, **kw) + 2
        )


def running_head(p: Page, h: Heading) -> None:
    """Organisation and period above a line, then the title."""
    x, w = p.margin, p.inner
    p.text(x, p.y, h.organization, h.small, fit=w * 0.62)
    p.text(p.w - x, p.y, h.period, h.small, align="right", fit=w * 0.36)
    p.y += h.small * 1.3
    p.line([(x, p.y), (p.w - x, p.y)], p.accent)
    p.y += 5
    paragraph(p, h.topic, h.title, h.align, bold=True, heading=True, color=p.accent)


def title_first(p: Page, h: Heading) -> None:
    """The title, then "organisation, period"."""
    paragraph(p, h.topic, h.title, h.align, bold=True, heading=True)
    between = p.rng.choice([", ", " | ", " - ", " · "])
    paragraph(p, between.join(s for s in (h.organization, h.period) if s), h.small, h.align, color=p.accent)


def colour_band(p: Page, h: Heading) -> None:
    """A colour band with the title in it."""
    lines = p.wrap(h.topic, p.inner, h.title, True, True)[:2]
    height = len(lines) * h.title * 1.15 + 8
    p.rect(0, 0, p.w, p.y + height, fill=p.accent)
    white = (255, 255, 255) if not p.dark else (10, 10, 10)
    look = {"max_lines": 2, "bold": True, "heading": True, "color": white, "leading": 1.15}
    p.y = p.paragraph(p.margin, p.y, h.topic, p.inner, h.title, **look) + 8
    paragraph(p, h.organization, h.small, h.align, bold=True)
    paragraph(p, h.period, h.small, h.align)


def one_heading(p: Page, h: Heading) -> None:
    """Everything in one heading."""
    text = " ".join(s for s in (h.organization, h.topic, h.period) if s)
    paragraph(p, text, h.title * 0.92, h.align, bold=True, heading=True)


def organization_large(p: Page, h: Heading) -> None:
    """The organisation large, the rest below."""
    paragraph(p, h.organization, h.title, h.align, bold=True, heading=True, color=p.accent)
    paragraph(p, f"{h.topic} {h.period}".strip(), h.small * 1.1, h.align, bold=True)


def footer(p: Page, h: Heading) -> None:
    """The title; a footer carries organisation and period."""
    paragraph(p, h.topic, h.title, h.align, bold=True, heading=True)
    p.bottom -= h.small * 1.5
    p.text(p.margin, p.bottom + 3, h.organization, h.small, fit=p.inner * 0.6)
    p.text(p.w - p.margin, p.bottom + 3, h.period, h.small, align="right", fit=p.inner * 0.36)


def tag(p: Page, h: Heading) -> None:
    """The period as a tag."""
    x, small = p.margin, h.small
    wide = p.width(h.period, small) + 8 if h.period else 0
    if h.period:
        p.rect(p.w - x - wide, p.y - 2, p.w - x, p.y + small * 1.4, fill=p.accent, radius=2)
        color = (255, 255, 255) if not p.dark else (0, 0, 0)
        p.text(p.w - x - wide / 2, p.y, h.period, small, align="center", color=color)
    p.text(x, p.y, h.organization, small, bold=True, fit=p.inner - wide - 4)
    p.y += small * 1.6
    paragraph(p, h.topic, h.title, h.align, heading=True)


def title_and_period(p: Page, h: Heading) -> None:
    """Title and period on one line, the organisation in the footer."""
    text = f"{h.topic} {h.period}".strip()
    paragraph(p, text, h.title, h.align, bold=True, heading=True, color=p.accent)
    p.bottom -= h.small * 1.5
    p.text(p.w / 2, p.bottom + 3, h.organization, h.small, align="center", fit=p.inner)


def logo(p: Page, h: Heading) -> None:
    """Logo and organisation, then a centred title."""
    x, s = p.margin, p.rng.uniform(10, 18)
    p.rng.choice([p.rect, p.ellipse])(x, p.y, x + s, p.y + s, fill=p.accent)
    p.text(x + s + 4, p.y + s / 2 - h.small * 0.6, h.organization, h.small, bold=True, fit=p.inner - s - 4)
    p.y += s + 5
    paragraph(p, h.topic, h.title, "center", bold=True, heading=True)
    paragraph(p, h.period, h.small, "center")


def side_bar(p: Page, h: Heading) -> None:
    """A side bar with a heading beside it."""
    p.rect(0, 0, p.margin * 0.6, p.h, fill=p.accent)
    paragraph(p, h.period, h.small, h.align)
    paragraph(p, h.topic, h.title, h.align, bold=True, heading=True)
    by = p.rng.choice(["by ", "", "for ", "© "]) if h.organization else ""
    paragraph(p, by + h.organization, h.small, h.align)


def labelled(p: Page, h: Heading) -> None:
    """A line each, with a label."""
    for label, value in (("Company", h.organization), ("Subject", h.topic), ("Period", h.period)):
        if value:
            text = f"{p.rng.choice([label, label.upper()])}: {value}"
            paragraph(p, text, h.small * 1.1, "left", bold=label == "Subject")


def underlined(p: Page, h: Heading) -> None:
    """The organisation at the right, then a title with a line under it."""
    x = p.margin
    p.text(p.w - x, p.y, h.organization, h.small, align="right", bold=True, fit=p.inner)
    p.y += h.small * 1.4
    paragraph(p, h.topic, h.title, h.align, heading=True)
    p.line([(x, p.y), (p.w - x, p.y)], p.accent, 2)
    p.y += 4
    paragraph(p, h.period, h.small, h.align)


STYLES = [
    running_head,
    title_first,
    colour_band,
    one_heading,
    organization_large,
    footer,
    tag,
    title_and_period,
    logo,
    side_bar,
    labelled,
    underlined,
]
