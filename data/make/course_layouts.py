"""Draws what a page of the course's documents says: one function a layout."""

from __future__ import annotations

import math
import random

from course_domain import MONTHS, PARTS
from course_sheet import Document, Page, Sheet
from reportlab.lib.colors import HexColor, white


def draw_title(sheet: Sheet, document: Document, page: Page, shared: random.Random) -> None:
    s, w, h = sheet.s, sheet.w, sheet.h
    variant = shared.randrange(4)
    ink, back = (white, s.dark) if variant == 0 else (s.dark, s.paper)
    if variant == 0:
        sheet.box(0, 0, w, h, back)
    elif variant == 1:
        sheet.box(0, h * 0.72, w, h * 0.28, s.accent)
    elif variant == 2:
        sheet.box(0, 0, w * 0.12, h, s.accent)
    else:
        sheet.box(8, 8, w - 16, h - 16, None, s.dark, 2)
    left, room = (w * 0.12 + 12, w * 0.88 - 24) if variant == 2 else (20, w - 40)
    sheet.logo(left, h * 0.09, 30, s.accent if variant != 1 else s.dark, ink)
    y = h * 0.09 + 52
    for line in sheet.wrap(document.organization.name, 19, room, True)[:2]:
        sheet.text(left, y, line, 19, True, ink, room=room)
        y += 21
    y += 4
    for line in sheet.wrap(document.kind.name, 16, room)[:2]:
        sheet.text(left, y, line, 16, False, ink, room=room)
        y += 18
    sheet.text(left, y + 2, document.period.text, 15, True, ink, room=room)
    y += 20
    if document.subject:
        sheet.text(left, y, document.subject, 13, False, ink, room=room)
        y += 16
    if h > 200:
        sheet.text(
            left, h - 22, f"by {document.author}", 10.5, False, white if variant == 1 else ink, room=room
        )


def _bar(sheet: Sheet, document: Document, page: Page, rng, shared, x, y, w, h) -> None:
    s, rows = sheet.s, page.rows
    values = [_number(v) for _, v in rows]
    peak, n = max(values), len(rows)
    step = w / n
    widest = max(sheet.width_of(label, 10 * s.zoom) for label, _ in rows)
    if widest < step - 2 and h > 70 and shared.random() < 0.75:
        base = y + h - 14
        for i, (label, value) in enumerate(rows):
            size = (h - 30) * values[i] / peak
            cx = x + step * (i + 0.5)
            sheet.box(
                cx - step * 0.32,
                base - size,
                step * 0.64,
                size,
                s.accent if shared.random() < 0.8 else s.dark,
            )
            sheet.text(cx, base - size - 3, value, 10.5, True, None, "center", room=step)
            sheet.text(cx, base + 11, label, 10, False, None, "center", room=step)
        sheet.line(x, base, x + w, base)
        return
    label_room = min(widest + 5, w * 0.42)
    step = min(h / n, 26)
    for i, (label, value) in enumerate(rows):
        cy = y + step * (i + 0.5)
        sheet.text(x + label_room - 4, cy + 3.5, label, 10, False, None, "right", room=label_room - 2)
        room = w - label_room - 36
        sheet.box(x + label_room, cy - step * 0.32, room * values[i] / peak, step * 0.64, s.accent)
        sheet.text(x + label_room + room * values[i] / peak + 3, cy + 3.5, value, 10.5, True, room=33)
    sheet.line(x + label_room, y, x + label_room, y + step * n)


def _line(sheet: Sheet, document: Document, page: Page, rng, shared, x, y, w, h) -> None:
    s, rows = sheet.s, page.rows
    values = [_number(v) for _, v in rows]
    low, high = min(values), max(values)
    base, n = y + h - 14, len(rows)
    left, step = x + 6, (w - 12) / n
    if shared.random() < 0.6:
        for i in range(4):
            gy = base - (h - 26) * i / 3
            sheet.line(left, gy, x + w, gy, HexColor("#cccccc"), 0.5)
    points = [
        (left + step * (i + 0.5), base - 18 - (h - 54) * (v - low) / max(high - low, 1))
        for i, v in enumerate(values)
    ]
    for (x1, y1), (x2, y2) in zip(points, points[1:], strict=False):
        sheet.line(x1, y1, x2, y2, s.dark, 1.8)
    for i, ((label, value), (px, py)) in enumerate(zip(rows, points, strict=True)):
        sheet.circle(px, py, 2.6, s.accent)
        near = [points[k][1] for k in (i - 1, i + 1) if 0 <= k < n]
        below = all(py > other for other in near) and py < base - 16  # a valley: the line is above the point
        sheet.text(px, py + (12 if below else -5), value, 10.5, True, None, "center", room=step + 4)
        sheet.text(px, base + 11, label, 10, False, None, "center", room=step)
    sheet.line(left, base, x + w, base)
    sheet.line(left, y, left, base)


def _pie(sheet: Sheet, document: Document, page: Page, rng, shared, x, y, w, h) -> None:
    s = sheet.s
    values = [_number(v) for _, v in page.rows]
    tones = [s.dark, s.accent, HexColor("#9aa5b1"), s.tint, HexColor("#d9c7a0"), HexColor("#555555")]
    wide = w > h * 1.15
    legend = 14.5 * len(values)
    r = min(h / 2, w * 0.24) - 2 if wide else min((h - legend) / 2 - 3, w * 0.33)
    cx, cy = (x + r + 4, y + h / 2) if wide else (x + w / 2, y + r + 2)
    angle = 90.0
    for value, tone in zip(values, tones, strict=False):
        extent = -360 * value / sum(values)
        sheet.c.setFillColor(tone)
        sheet.c.setStrokeColor(white)
        sheet.c.setLineWidth(1)
        sheet.c.wedge(cx - r, -cy - r, cx + r, -cy + r, angle, extent, 1, 1)
        angle += extent
    if shared.random() < 0.4:
        sheet.circle(cx, cy, r * 0.5, s.paper)
    lx = cx + r + 14 if wide else x + w * 0.14
    ly = y + (h - legend) / 2 + 10 if wide else cy + r + 15
    for (label, value), tone in zip(page.rows, tones, strict=False):
        sheet.box(lx, ly - 8, 8, 8, tone, HexColor("#888888"), 0.4)
        sheet.text(lx + 12, ly, label, 10.5, room=(x + w - lx) - 50)
        sheet.text(x + w - (2 if wide else w * 0.12), ly, f"{value} %", 10.5, True, None, "right")
        ly += 14.5


def _table(sheet: Sheet, document: Document, page: Page, rng, shared, x, y, w, h) -> None:
    s, rows = sheet.s, page.rows
    third = bool(page.second)
    step = min(h / (len(rows) + 1), 23 if h > 190 else 19)
    head = ["Item" if page.topic.items != "people" else "Name", page.unit or "Value"]
    if third:
        head.append(shared.choice(["Plan", "Before", "Limit"]))
    edges = [x + 4, x + w * (0.74 if third else 0.97), x + w * 0.98]
    look = s.table
    if look in (0, 1):
        sheet.box(x, y, w, step, s.dark)
    for i, title in enumerate(head):
        sheet.text(
            edges[i],
            y + step * 0.72,
            title,
            10,
            True,
            white if look in (0, 1) else s.dark,
            "left" if i == 0 else "right",
            room=w * (0.48 if i == 0 else 0.25),
        )
    for r, (label, value) in enumerate(rows, 1):
        top = y + r * step
        if look == 0 and r % 2 == 0:
            sheet.box(x, top, w, step, s.tint)
        if look in (1, 2):
            sheet.line(x, top, x + w, top, HexColor("#999999"), 0.6)
        sheet.text(edges[0], top + step * 0.72, label, 10.5, room=w * (0.5 if third else 0.68))
        sheet.text(edges[1], top + step * 0.72, value, 10.5, True, None, "right")
        if third:
            sheet.text(edges[2], top + step * 0.72, page.second[r - 1], 10, False, None, "right")
    if look == 1:
        sheet.box(x, y, w, step * (len(rows) + 1), None, HexColor("#777777"))
    if look == 3:
        for edge in (y, y + step, y + step * (len(rows) + 1)):
            sheet.line(x, edge, x + w, edge, s.dark, 1.2)
    _notes(sheet, document, rng, x, y + step * (len(rows) + 1), w, y + h)


def _form(sheet: Sheet, document: Document, page: Page, rng, shared, x, y, w, h) -> None:
    s, bottom = sheet.s, y + h
    month = document.period.month or (rng.randint(1, 12))
    fields = [
        ("Number", page.reference),
        ("Name", page.person),
        ("Date", f"{rng.randint(1, 28)} {MONTHS[month - 1]}"),
    ]
    boxed = shared.random() < 0.5
    if shared.random() < 0.4:
        fields = [fields[1], fields[0], fields[2]]
    columns = 2 if w > 260 else 1
    total = columns == 1 or h > 120
    lines = len(page.rows) + 1
    step = min((h - 4) / (math.ceil(3 / columns) + lines + total), 21 if h > 190 else 18)
    for i, (label, value) in enumerate(fields):
        fx = x + (i % columns) * w / columns
        fy = y + (i // columns) * step
        fw = w / columns - (6 if columns == 2 else 0)
        if boxed:
            sheet.box(fx + 46, fy + 1, fw - 46, step - 3, white, HexColor("#888888"), 0.6)
        else:
            sheet.line(fx + 46, fy + step - 3, fx + fw, fy + step - 3, HexColor("#888888"), 0.5)
        sheet.text(fx, fy + step * 0.7, label, 10, False, s.dark, room=44)
        sheet.text(fx + 49, fy + step * 0.7, value, 10.5, True, room=fw - 50)
    y += math.ceil(3 / columns) * step + 2
    sheet.box(x, y, w, step - 1, s.tint)
    sheet.text(x + 3, y + step * 0.7, "Item", 10, True, s.dark)
    sheet.text(x + w - 3, y + step * 0.7, page.unit or "Value", 10, True, s.dark, "right")
    y += step
    for label, value in page.rows:
        sheet.text(x + 3, y + step * 0.7, label, 10.5, room=w * 0.6)
        sheet.text(x + w - 3, y + step * 0.7, value, 10.5, True, None, "right")
        sheet.line(x, y + step - 1.5, x + w, y + step - 1.5, HexColor("#bbbbbb"), 0.5)
        y += step
    if y + step < sheet.h - 16 and total:
        if shared.random() < 0.5:
            sheet.line(x + w * 0.5, y + step, x + w, y + step, s.dark, 0.8)
            sheet.text(x, y + step, "Signed", 10, False, s.dark)
            path = sheet.c.beginPath()
            path.moveTo(x + w * 0.55, -(y + step - 3))
            for i in range(4):
                path.curveTo(
                    x + w * (0.57 + i * 0.09),
                    -(y + rng.uniform(0, step)),
                    x + w * (0.6 + i * 0.09),
                    -(y + rng.uniform(0, step)),
                    x + w * (0.64 + i * 0.09),
                    -(y + step - 4),
                )
            sheet.c.setStrokeColor(HexColor("#1d2f8a"))
            sheet.c.setLineWidth(1)
            sheet.c.drawPath(path, stroke=1, fill=0)
        else:
            for i, label in enumerate(["Paid", "Open", "Copy"]):
                bx = x + i * w / 3
                sheet.box(bx, y + step - 9, 8, 8, white, s.dark, 0.9)
                sheet.text(bx + 12, y + step - 1, label, 10)
                if i == rng.randrange(3):
                    sheet.line(bx + 1, y + step - 8, bx + 7, y + step - 2, s.dark, 1.4)
                    sheet.line(bx + 7, y + step - 8, bx + 1, y + step - 2, s.dark, 1.4)
    _notes(sheet, document, rng, x, y + step * 1.5, w, bottom)


FRAMES = [
    "{a} came to {v}.",
    "{a} is now at {v}.",
    "We set {a} at {v}.",
    "For {a} the figure is {v}.",
    "{a} ended near {v}.",
    "{a} needs {v}.",
]
NOTES = [
    "Check {a} every {n} days.",
    "Stop {a} after {n} minutes.",
    "Keep {a} {n} cm away.",
    "{a}: see step {n}.",
    "Ask {p} about {a}.",
    "{a} goes to {t} first.",
    "Close {a} before step {n}.",
    "Use {n} clips for {a}.",
]
FILL = [
    "Ask {p} for details.",
    "The next check is in {m}.",
    "{t} follows in {m}.",
    "Figures are final.",
    "{p} wrote this part.",
    "See also page {n}.",
    "The team in {t} agrees.",
    "More is planned for {m}.",
    "Please keep this page.",
]


def _sentence(frame: str, rng: random.Random, document: Document, label: str = "", value: str = "") -> str:
    sites = document.organization.sites
    text = frame.format(
        a=label.lower() if not frame.startswith("{a}") and label else label,
        v=value,
        n=rng.randint(2, 12),
        p=document.author.split()[1],
        t=rng.choice(sites),
        m=rng.choice(MONTHS),
    )
    return text[0].upper() + text[1:]


def _sentences(page: Page, document: Document, rng: random.Random) -> list[str]:
    result = []
    for label, value in page.rows:
        if page.topic.items == "people":
            result.append(f"{label}: {rng.choice(PARTS).lower()} tests, no. {rng.randint(2, 40)}.")
        elif page.topic.items == "events":
            result.append(f"{label} by {value}.")
        else:
            frames = FRAMES if page.unit else NOTES
            shown = f"{value} {page.unit}".strip()
            result.append(_sentence(rng.choice(frames), rng, document, label, shown))
    return result


def _notes(
    sheet: Sheet, document: Document, rng: random.Random, x: float, y: float, w: float, bottom: float
) -> None:
    """One to three short sentences in the space that a table or form leaves, if there is enough."""
    y += 18
    for _ in range(rng.randint(1, 3)):
        if y + 12 > bottom:
            return
        y = sheet.paragraph(x, y, _sentence(rng.choice(FILL), rng, document), 10.2, w, bottom - 2) + 3


def _bullets(sheet: Sheet, document: Document, page: Page, rng, shared, x, y, w, h) -> None:
    s = sheet.s
    size = 11.5 if h > 130 and w > 200 else 11
    y += size * 0.9
    bottom = y + h - size * 1.4
    for text in [*_sentences(page, document, rng), _sentence(rng.choice(FILL), rng, document)]:
        lines = sheet.wrap(text, size, w - 15)
        if y + (len(lines) - 1) * size * 1.22 > bottom:
            break
        if s.bullet == 0:
            sheet.circle(x + 4, y - 3.5, 2.6, s.accent)
        elif s.bullet == 1:
            sheet.box(x + 1.5, y - 6.5, 5.5, 5.5, s.accent)
        elif s.bullet == 2:
            sheet.line(x, y - 3.5, x + 8, y - 3.5, s.accent, 1.6)
        else:
            sheet.polygon([(x + 1, y - 8), (x + 8, y - 4), (x + 1, y)], s.accent)
        y = sheet.paragraph(x + 13, y, text, size, w - 13, bottom) + 4


def _columns(sheet: Sheet, document: Document, page: Page, rng, shared, x, y, w, h) -> None:
    s = sheet.s
    columns = 1 if sheet.w < 200 else 2
    gap = 10
    room = (w - gap * (columns - 1)) / columns
    texts = _sentences(page, document, rng)
    while len(texts) < 16:
        texts.append(_sentence(rng.choice(FILL), rng, document))
    if columns == 2:
        sheet.line(x + room + gap / 2, y, x + room + gap / 2, y + h - 4, HexColor("#bbbbbb"), 0.6)
    heads = iter(shared.sample(["Overview", "Details", "Scope", "Rules", "Notes", "Background"], 3))
    size = 9.8
    bottom = y + h - 6
    for column in range(columns):
        cx, cy = x + column * (room + gap), y + 9
        cy = sheet.paragraph(cx, cy, next(heads), 10.5, room, bottom, True, s.dark) + 1
        while texts and cy < bottom:
            text = texts.pop(0)
            if cy + (len(sheet.wrap(text, size, room)) - 1) * size * 1.22 * s.zoom > bottom:
                break
            cy = sheet.paragraph(cx, cy, text, size, room, bottom)


def _diagram(sheet: Sheet, document: Document, page: Page, rng, shared, x, y, w, h) -> None:
    s = sheet.s
    wide = w > h * 1.1
    rows = page.rows[: 5 if h > 100 or not wide else 4]
    legend = 14 * len(rows)
    dx, dy, dw, dh = (x, y, w * 0.52, h) if wide else (x + w * 0.08, y, w * 0.84, h - legend - 8)
    metal = HexColor("#dfe3e8")
    spots = []
    sheet.box(
        dx + dw * 0.2, dy + dh * 0.3, dw * 0.55, dh * 0.5, metal, s.dark, 1.4, shared.choice([0, 6, 10])
    )
    spots.append((dx + dw * 0.47, dy + dh * 0.55))
    for _ in range(len(rows) - 1):
        kind = shared.randrange(4)
        px, py = dx + dw * shared.uniform(0.12, 0.85), dy + dh * shared.uniform(0.14, 0.84)
        for _ in range(30):
            if all(math.hypot(px - qx, py - qy) > 27 for qx, qy in spots):
                break
            px, py = dx + dw * shared.uniform(0.1, 0.9), dy + dh * shared.uniform(0.12, 0.88)
        if kind == 0:
            sheet.circle(px, py, 12, s.tint, s.dark, 1.2)
        elif kind == 1:
            sheet.box(px - 13, py - 9, 26, 18, white, s.dark, 1.2)
        elif kind == 2:
            sheet.polygon([(px - 13, py + 11), (px, py - 13), (px + 13, py + 11)], s.accent)
        else:
            sheet.box(px - 7, py - 14, 14, 28, s.accent, s.dark, 1)
        sheet.line(spots[0][0], spots[0][1], px, py, s.dark, 1.2, (3, 2))
        spots.append((px, py))
    for i, (px, py) in enumerate(spots, 1):
        sheet.circle(px, py, 7.5, white, s.dark, 1)
        sheet.text(px, py + 3.7, str(i), 10.5, True, None, "center")
    lx = x + w * 0.56 if wide else x + 6
    ly = y + (h - legend) / 2 + 10 if wide else y + h - legend + 8
    for i, (label, value) in enumerate(rows, 1):
        sheet.text(lx, ly, f"{i}", 10.5, True, s.dark)
        sheet.text(lx + 12, ly, label, 10.5, room=x + w - lx - 50)
        sheet.text(x + w - 2, ly, f"{value} {page.unit}".strip(), 10.5, True, None, "right")
        ly += 14


def _timeline(sheet: Sheet, document: Document, page: Page, rng, shared, x, y, w, h) -> None:
    s, rows = sheet.s, page.rows
    if w > h * 1.3 and shared.random() < 0.75:
        cy, step = y + h * 0.5, w / len(rows)
        sheet.line(x, cy, x + w, cy, s.dark, 2)
        for i, (label, when) in enumerate((a, f"{b} {page.unit}".strip()) for a, b in rows):
            cx = x + step * (i + 0.5)
            sheet.circle(cx, cy, 4.5, s.accent, s.dark)
            above = i % 2 == 0
            sheet.line(cx, cy - 5 if above else cy + 5, cx, cy - 14 if above else cy + 14, s.dark, 0.8)
            base = cy - 30 if above else cy + 24
            sheet.text(cx, base, label, 10.5, True, s.dark, "center", room=step * 1.7)
            sheet.text(cx, base + 12, when, 10, False, None, "center", room=step * 1.5)
        return
    step = min(h / len(rows), 46)
    sheet.line(x + 8, y + 4, x + 8, y + step * len(rows) - 4, s.dark, 2)
    for i, (label, when) in enumerate((a, f"{b} {page.unit}".strip()) for a, b in rows):
        cy = y + step * (i + 0.5)
        sheet.circle(x + 8, cy, 4.5, s.accent, s.dark)
        if step > 27:
            sheet.text(x + 20, cy - 2, label, 11, True, s.dark, room=w - 22)
            sheet.text(x + 20, cy + 10, when, 10.5, False, None, room=w - 22)
        else:
            sheet.text(x + 20, cy + 4, label, 10.5, True, s.dark, room=w * 0.55)
            sheet.text(x + w, cy + 4, when, 10.5, False, None, "right", room=w * 0.42)


def _letter(sheet: Sheet, document: Document, page: Page, rng, shared, x, y, w, h) -> None:
    s = sheet.s
    month = MONTHS[(document.period.month or rng.randint(1, 12)) - 1]
    bottom = y + h
    place = rng.choice(document.organization.sites)
    sheet.text(x + w, y + 9, f"{place}, {rng.randint(1, 28)} {month}", 10, False, None, "right")
    tight = h < 190
    y += 12 if tight else 24
    if not tight:
        sheet.text(x, y, f"To {page.person}", 10.5, room=w)
        y += 6
    size = min(s.heading_size, 15)
    sheet.text(x, y + size, page.heading, size, True, s.dark, room=w)
    y += size + (14 if tight else 20)
    sheet.text(x, y, f"Dear {page.person},", 10.5, room=w)
    y += 14 if tight else 17
    body = [
        f"This is about the {page.topic.title.lower()}.",
        f"We meet on {rng.randint(1, 28)} {rng.choice(MONTHS)} in {rng.choice(document.organization.sites)}.",
        f"{rng.choice(document.organization.sites)} gets {rng.randint(20, 990)} EUR.",
        f"Please answer within {rng.randint(3, 40)} days.",
        f"The papers lie in room {rng.randint(10, 490)}.",
        f"Call us on {rng.randint(200, 999)} {rng.randint(10, 99)}.",
        f"{rng.randint(10, 99)} percent agree so far.",
        f"The work starts in {rng.choice(MONTHS)}.",
    ]
    body[1:] = rng.sample(body[1:], len(body) - 1)
    for text in body[: 3 if tight else 6]:
        if y + 12 * (len(sheet.wrap(text, 10.2, w)) - 1) > bottom - 24:
            break
        y = sheet.paragraph(x, y, text, 10.2, w, bottom - 22) + (0 if tight else 3)
    y = min(y + (6 if tight else 12), bottom - 12)
    sheet.text(x, y + 4, "Yours,", 10, room=w * 0.4)
    sheet.text(x + 42, y + 4, document.author, 10.5, True, room=w - 44)


def _figures(sheet: Sheet, document: Document, page: Page, rng, shared, x, y, w, h) -> None:
    s, rows = sheet.s, page.rows[:4]
    columns = 4 if w > h * 2.6 else 2 if w > 160 and h < 260 else 1
    lines = math.ceil(len(rows) / columns)
    cw, ch = (w + 6) / columns, min((h + 6) / lines, 80)
    for i, (label, value) in enumerate(rows):
        bx, by = x + (i % columns) * cw, y + (i // columns) * ch
        sheet.box(bx, by, cw - 6, ch - 6, s.tint if (i + shared.randrange(2)) % 2 else white, s.dark, 0.8, 5)
        middle = bx + (cw - 6) / 2
        sheet.text(middle, by + ch * 0.42, value, 18, True, s.dark, "center", room=cw - 12)
        sheet.text(middle, by + ch * 0.42 + 15, label, 10.5, False, None, "center", room=cw - 10)


def _number(text: str) -> float:
    return float(text.replace(",", ""))


DRAW = {
    "bar": _bar,
    "line": _line,
    "pie": _pie,
    "table": _table,
    "form": _form,
    "bullets": _bullets,
    "columns": _columns,
    "diagram": _diagram,
    "timeline": _timeline,
    "letter": _letter,
    "figures": _figures,
}
LAYOUTS = ("title", *DRAW)
