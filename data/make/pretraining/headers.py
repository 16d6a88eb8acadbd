"""Where a page says whose it is, what about, and when."""

from __future__ import annotations

from .canvas import Page


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
