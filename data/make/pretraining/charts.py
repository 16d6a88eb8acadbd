"""Bodies of pages that are charts. One function a layout family."""

import numpy as np

from .canvas import Page
from .text_layouts import key_values, prose


def chart_area(p: Page, low: float = 0.45, high: float = 0.85) -> tuple[float, float, float, float]:
    height = (p.bottom - p.y) * p.rng.uniform(low, high)
    return p.margin, p.y, p.w - p.margin, p.y + max(height, 50)


def vertical_bars(p: Page) -> None:
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


def horizontal_bars(p: Page) -> None:
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


def stacked_bars(p: Page) -> None:
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


def legend(p: Page, n: int) -> None:
    for j in range(n):
        if p.y > p.bottom - p.body:
            return
        label, value = p.fact(1, 2)
        p.rect(p.margin, p.y + 2, p.margin + 8, p.y + 10, fill=p.palette[j % 7])
        p.text(p.margin + 12, p.y, f"{label} {value}" if p.rng.random() < 0.7 else label, fit=p.inner - 12)
        p.y += p.body * 1.45


def line_chart(p: Page) -> None:
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


def area_chart(p: Page) -> None:
    x0, y0, x1, y1 = chart_area(p, 0.35, 0.6)
    pts = [(x0 + i * (x1 - x0) / 6, p.rng.uniform(y0, y1)) for i in range(7)]
    p.draw.polygon([(x * p.k, y * p.k) for x, y in [(x0, y1)] + pts + [(x1, y1)]], fill=p.palette[0])
    p.y = y1 + 4
    legend(p, 2)
    key_values(p)


def pie(p: Page, hole: bool = False) -> None:
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


def donut(p: Page) -> None:
    pie(p, hole=True)


def scatter(p: Page) -> None:
    x0, y0, x1, y1 = chart_area(p, 0.4, 0.7)
    p.rect(x0, y0, x1, y1 - 14, outline=p.ink)
    for _ in range(p.rng.randint(8, 25)):
        x, y = p.rng.uniform(x0 + 4, x1 - 4), p.rng.uniform(y0 + 4, y1 - 20)
        p.ellipse(x - 2, y - 2, x + 2, y + 2, fill=p.rng.choice(p.palette[:2]))
    p.text((x0 + x1) / 2, y1 - 12, p.note(p.words.title(1, 3)), align="center", fit=x1 - x0)
    p.y = y1 + 4
    key_values(p)


def gauges(p: Page) -> None:
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
