"""Bodies of pages that are text: lists, prose, columns, tables, forms. One function a layout family."""

from .canvas import Page


def bullets(p: Page, mark: str | None = None) -> None:
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


def numbered(p: Page) -> None:
    bullets(p, "1")


def prose(p: Page) -> None:
    while p.y < p.bottom - p.body * 1.5:
        p.y = (
            p.paragraph(
                p.margin, p.y, " ".join([p.words.sentence(), p.words.sentence()]), p.inner, max_lines=6
            )
            + p.body * 0.5
        )


def prose_heads(p: Page) -> None:
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


def columns(p: Page, n: int = 2) -> None:
    gap, top = 8, p.y
    w = (p.inner - gap * (n - 1)) / n
    for i in range(n):
        y, x = top, p.margin + i * (w + gap)
        if p.rng.random() < 0.5:
            y = p.paragraph(x, y, p.note(p.words.title(1, 2)), w, bold=True, max_lines=1)
        while y < p.bottom - p.body:
            y = p.paragraph(x, y, p.words.sentence(6, 14), w) + 3


def columns3(p: Page) -> None:
    columns(p, 3) if p.w > 300 else columns(p, 2)


def table(p: Page, rows: int | None = None, cols: int | None = None, rule: str | None = None) -> None:
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


def table_text(p: Page) -> None:
    table(p, rows=p.rng.randint(2, 5))
    p.y += 5
    prose(p)


def key_values(p: Page) -> None:
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


def form(p: Page) -> None:
    while p.y < p.bottom - p.body * 3:
        label, value = p.fact(1, 2)
        p.text(p.margin, p.y, label, p.body * 0.95, fit=p.inner)
        p.y += p.body * 1.2
        p.rect(p.margin, p.y, p.w - p.margin, p.y + p.body * 1.5, outline=p.accent)
        p.text(p.margin + 3, p.y + 2, p.rng.choice([value, p.note(p.words.title(1, 3))]), fit=p.inner - 6)
        p.y += p.body * 1.9


def invoice(p: Page) -> None:
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


def receipt(p: Page) -> None:
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
