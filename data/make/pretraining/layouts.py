"""All layout families of pretraining, and the bodies that are neither plain text nor charts."""

from .canvas import Page
from .charts import (
    area_chart,
    chart_area,
    donut,
    gauges,
    horizontal_bars,
    line_chart,
    pie,
    scatter,
    stacked_bars,
    vertical_bars,
)
from .text_layouts import (
    bullets,
    columns,
    columns3,
    form,
    invoice,
    key_values,
    numbered,
    prose,
    prose_heads,
    receipt,
    table,
    table_text,
)


def tiles(p: Page) -> None:
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


def timeline_vertical(p: Page) -> None:
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


def timeline_horizontal(p: Page) -> None:
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


def boxes_flow(p: Page) -> None:
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


def org_chart(p: Page) -> None:
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


def letter(p: Page) -> None:
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


def memo(p: Page) -> None:
    for label in ("To", "From", "Re"):
        p.text(p.margin, p.y, f"{label}: {p.note(p.words.title(1, 3))}", fit=p.inner)
        p.y += p.body * 1.4
    p.line([(p.margin, p.y), (p.w - p.margin, p.y)])
    p.y += 4
    prose(p)


def faq(p: Page) -> None:
    while p.y < p.bottom - p.body * 3.2:
        p.y = p.paragraph(
            p.margin, p.y, "Q: " + p.note(p.words.phrase(3, 6)) + "?", p.inner, bold=True, max_lines=2
        )
        p.y = p.paragraph(p.margin, p.y, "A: " + p.words.sentence(), p.inner, max_lines=3) + 4


def quote(p: Page) -> None:
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


def checklist(p: Page) -> None:
    while p.y < p.bottom - p.body * 1.6:
        p.rect(p.margin, p.y + 1, p.margin + 9, p.y + 10, outline=p.ink)
        if p.rng.random() < 0.5:
            p.line([(p.margin + 2, p.y + 5), (p.margin + 4, p.y + 9), (p.margin + 9, p.y)], p.accent, 2)
        p.text(p.margin + 14, p.y, p.note(p.words.title(1, 4)), fit=p.inner - 14)
        p.y += p.body * 1.7


def agenda(p: Page) -> None:
    hour = p.rng.randint(8, 10)
    while p.y < p.bottom - p.body * 1.6:
        when = f"{hour}:{p.rng.choice(['00', '15', '30', '45'])}"
        what = p.words.title(1, 3)
        p.content.facts.append((what, when))
        p.text(p.margin, p.y, when, bold=True, color=p.accent, fit=36)
        p.text(p.margin + 42, p.y, what, fit=p.inner - 42)
        p.y += p.body * 1.7
        hour += 1


def comparison(p: Page) -> None:
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


def glossary(p: Page) -> None:
    while p.y < p.bottom - p.body * 2.5:
        term = p.note(p.words.title(1, 2))
        p.text(p.margin, p.y, term, bold=True, fit=p.inner)
        p.y = (
            p.paragraph(p.margin + 8, p.y + p.body * 1.25, p.words.sentence(4, 9), p.inner - 8, max_lines=2)
            + 3
        )


def contents_page(p: Page) -> None:
    page = 1
    while p.y < p.bottom - p.body * 1.5:
        p.text(p.margin, p.y, p.note(p.words.title(1, 3)), fit=p.inner - 30)
        p.text(p.w - p.margin, p.y, str(page), align="right")
        page += p.rng.randint(1, 9)
        p.y += p.body * 1.6


def cover(p: Page) -> None:
    r = p.rng
    p.y += r.uniform(0, 60)
    if p.y < p.bottom - 60:
        for _ in range(r.randint(1, 5)):
            x, y, s = r.uniform(0, p.w), r.uniform(p.y + 20, p.h), r.uniform(10, 60)
            r.choice([p.rect, p.ellipse])(x, y, x + s, y + s, fill=p.tint())
    p.y = max(p.y, p.bottom - p.body * 3)
    p.text(p.margin, p.y, p.note(p.words.title(2, 4)), fit=p.inner)


def spec_drawing(p: Page) -> None:
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


def manual_steps(p: Page) -> None:
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


def cards(p: Page) -> None:
    while p.y < p.bottom - p.body * 4:
        p.rect(p.margin, p.y, p.w - p.margin, p.y + p.body * 3.6, outline=p.accent, radius=4)
        p.text(
            p.margin + 5, p.y + 3, p.note(f"{p.words.name()} {p.words.name()}"), bold=True, fit=p.inner - 10
        )
        p.text(p.margin + 5, p.y + 3 + p.body * 1.4, p.note(p.words.title(1, 3)), fit=p.inner - 10)
        p.y += p.body * 4


def notice(p: Page) -> None:
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


def codes_list(p: Page) -> None:
    while p.y < p.bottom - p.body * 1.5:
        code, what = p.words.code(), p.words.title(1, 2)
        p.content.facts.append((what, code))
        p.text(p.margin, p.y, code, bold=True, fit=64)
        p.text(p.margin + 68, p.y, what, fit=p.inner - 68)
        p.y += p.body * 1.6


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
