"""Write pages of other kinds than the course's: `python data/make/other_documents.py`.

Recipes, menus, timetables, posters and the like, with queries: what a retriever fine-tuned on business
reports was *not* trained for. Nothing here is trained on; the collection shows what fine-tuning did to the
rest of the model's abilities. Everything follows from one seed. Sizes are pixels of the page at 71,680
pixels, as in `course_sheet.py`; nothing is set under 9 px, and there is no jargon.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from reportlab import rl_config
from reportlab.lib.colors import HexColor, white
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

rl_config.useA85 = 0  # binary streams: smaller

OUT = Path(__file__).resolve().parents[1] / "other"
SEED = "other-2026"
DOCUMENTS_A_KIND = 5
PAGES = (5, 7)  # a document
QUERIES = 150
POINTS = 2.4  # a pixel at 71,680 pixels a page

SIZES = [(224, 320), (224, 320), (320, 224), (256, 256)]
FACES = [("Helvetica", "Helvetica-Bold"), ("Times-Roman", "Times-Bold"), ("Courier", "Courier-Bold")]
INKS = ["#222222", "#14405e", "#6a1b2d", "#22502f", "#4b2e83", "#7a4300"]
TINTS = ["#ffffff", "#ffffff", "#fdf6e3", "#eef4fb", "#f7efe9"]

STARTS = (
    "Ald Ber Cor Dun Elm Far Gil Hol Ing Jes Kel Lum Mar Nor Oak Pen Rad Sel Tor Ulv Ves Wal Yar Zed".split()
)
ENDS = "by ford ham mere nick ock rigg sall ton ville wick worth".split()
FIRST = "Ada Bruno Clara Dario Edith Felix Greta Hugo Irene Jonas Karin Leo Marta Nils Olga Pavel".split()
LAST = "Abbot Brandt Cole Draper Ellis Foster Grimm Hale Iver Joyce Kerr Lund Moss Nash Orr Pike".split()
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


@dataclass
class Sheet:
    """One page: who issued it, what it is about, and its labelled values."""

    issuer: str
    title: str
    rows: list[tuple[str, str]]
    lines: list[str] = field(default_factory=list)  # running text
    note: str = ""  # a date, a place, a price: one line more


def place(rng: random.Random) -> str:
    return rng.choice(STARTS) + rng.choice(ENDS)


def person(rng: random.Random) -> str:
    return f"{rng.choice(FIRST)} {rng.choice(LAST)}"


def day(rng: random.Random) -> str:
    return f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(2012, 2025)}"


# Each maker returns the sheets of one document. Titles come back in other documents of the kind, so that the
# issuer matters; within a document they differ.

DISHES = (
    "Leek soup|Apple cake|Potato bread|Lentil stew|Plum jam|Fish pie|Mushroom rice|Bean salad|"
    "Honey biscuits|Cheese tart"
)
FOODS = (
    "flour butter sugar eggs milk onions carrots salt cream garlic lemons oats pears walnuts thyme pepper"
).split()
STEPS = [
    "Heat the oven first.", "Cut everything small.", "Stir until smooth.", "Leave it to rest.",
    "Cook on a low flame.", "Season at the end.", "Serve while warm.", "Keep it in the dark.",
]  # fmt: skip


def recipes(issuer: str, count: int, rng: random.Random) -> list[Sheet]:
    return [
        Sheet(
            issuer, dish,
            [(food, f"{rng.randint(2, 95) * 5} g") for food in rng.sample(FOODS, 5)],
            rng.sample(STEPS, 4), f"For {rng.randint(2, 9)} people, {rng.randint(3, 18) * 5} minutes",
        )
        for dish in rng.sample(DISHES.split("|"), count)
    ]  # fmt: skip


MEALS = (
    "Breakfast|Lunch menu|Dinner menu|Desserts|Cold drinks|Children's menu|Sunday roast|"
    "Hot drinks|Small plates"
)
PLATES = (
    "Omelette|Tomato soup|Grilled trout|Roast duck|Pancakes|Plum tart|Green salad|Beef stew|"
    "Iced tea|Cider|Porridge|Cheese board"
)


def menus(issuer: str, count: int, rng: random.Random) -> list[Sheet]:
    return [
        Sheet(
            issuer, meal,
            [(plate, f"{rng.randint(3, 28)}.{rng.choice(('00', '50', '80'))}")
             for plate in rng.sample(PLATES.split("|"), 6)],
            note=f"Open from {rng.randint(7, 18)}:00",
        )
        for meal in rng.sample(MEALS.split("|"), count)
    ]  # fmt: skip


def timetables(issuer: str, count: int, rng: random.Random) -> list[Sheet]:
    sheets = []
    for number in rng.sample(range(2, 60), count):
        stops = list(dict.fromkeys(place(rng) for _ in range(9)))[:6]
        minute, rows = rng.randint(300, 900), []
        for stop in stops:
            rows.append((stop, f"{minute // 60}:{minute % 60:02d}"))
            minute += rng.randint(4, 19)
        sheets.append(Sheet(issuer, f"Line {number} to {stops[-1]}", rows, note=rng.choice(
            ["Weekdays only", "Weekends", "Every day", "School days"])))  # fmt: skip
    return sheets


def matches(issuer: str, count: int, rng: random.Random) -> list[Sheet]:
    guests = list(dict.fromkeys(place(rng) for _ in range(30)))
    return [
        Sheet(
            issuer, f"Home match against {guest}",
            [(name, f"{rng.randint(1, 5)} goals") for name in dict.fromkeys(person(rng) for _ in range(4))],
            [f"Half-time {rng.randint(0, 4)} : {rng.randint(0, 4)}",
             f"Final score {rng.randint(0, 7)} : {rng.randint(0, 7)}"],
            day(rng),
        )
        for guest in rng.sample(guests, count)
    ]  # fmt: skip


JOBS = "Night porter|Gardener|Bus driver|Music teacher|Baker|Librarian|Carpenter|Nurse|Lifeguard|Tailor"
TASKS = [
    "Greets visitors", "Keeps the tools clean", "Works in a small team", "Plans the week", "Writes a diary",
    "Helps new people", "Locks up at night", "Orders what is missing",
]  # fmt: skip


def jobs(issuer: str, count: int, rng: random.Random) -> list[Sheet]:
    return [
        Sheet(
            issuer, f"{job} wanted",
            [("Hours a week", str(rng.randint(12, 40))), ("Pay an hour", f"{rng.randint(13, 39)}.50"),
             ("Start", f"{rng.randint(1, 28)} {rng.choice(MONTHS)}"), ("Ask for", person(rng))],
            rng.sample(TASKS, 3),
        )
        for job in rng.sample(JOBS.split("|"), count)
    ]  # fmt: skip


SHOWS = (
    "Brass band night|Puppet theatre|Book fair|Lantern parade|Chess open|Kite day|"
    "Poetry evening|Flea market|Jazz breakfast|Harvest dance"
)


def posters(issuer: str, count: int, rng: random.Random) -> list[Sheet]:
    return [
        Sheet(
            issuer, show,
            [("Doors", f"{rng.randint(9, 20)}:30"), ("Tickets", f"{rng.randint(2, 30)}.00"),
             ("Host", person(rng))],
            note=day(rng),
        )
        for show in rng.sample(SHOWS.split("|"), count)
    ]  # fmt: skip


PLANTS = (
    "Sea holly|Wild garlic|Blue poppy|Tree fern|Black iris|Silver birch|Winter rose|Water mint|"
    "Moon daisy|Red maple"
)


def plants(issuer: str, count: int, rng: random.Random) -> list[Sheet]:
    return [
        Sheet(
            issuer, plant,
            [("Height", f"{rng.randint(5, 480)} cm"), ("Flowers in", rng.choice(MONTHS)),
             ("Light", rng.choice(["full sun", "half shade", "shade"])), ("Bed", f"{rng.randint(1, 90)}")],
            note=f"Planted {rng.randint(1890, 2020)}",
        )
        for plant in rng.sample(PLANTS.split("|"), count)
    ]  # fmt: skip


LESSONS = "Fractions|Angles|Roman numbers|Percent|Rivers|Verbs|Planets|Old coins|Bird calls|Maps"


def worksheets(issuer: str, count: int, rng: random.Random) -> list[Sheet]:
    return [
        Sheet(
            issuer, f"{lesson}, sheet {rng.randint(2, 40)}",
            [(f"Task {i}", f"{rng.randint(11, 99)} {rng.choice('+-x')} {rng.randint(11, 99)}")
             for i in range(1, 6)],
            note=f"Class {rng.randint(1, 9)}{rng.choice('abc')}",
        )
        for lesson in rng.sample(LESSONS.split("|"), count)
    ]  # fmt: skip


SKILLS = "first aid|beekeeping|welding|sign language|sailing|pottery|bookbinding|fire safety|dry stone walls"


def certificates(issuer: str, count: int, rng: random.Random) -> list[Sheet]:
    return [
        Sheet(
            issuer, f"Certificate in {skill}",
            [("Awarded to", person(rng)), ("Grade", rng.choice(["pass", "merit", "distinction"])),
             ("Number", str(rng.randint(1000, 9999)))],
            note=day(rng),
        )
        for skill in rng.sample(SKILLS.split("|"), count)
    ]  # fmt: skip


def weather(issuer: str, count: int, rng: random.Random) -> list[Sheet]:
    return [
        Sheet(
            issuer, f"Weather of week {week}",
            [(name, f"{rng.randint(-9, 36)} C, {rng.randint(0, 60)} mm") for name in DAYS],
        )
        for week in rng.sample(range(1, 53), count)
    ]  # fmt: skip


#: kind -> (what makes a document's pages, how its issuers are called)
KINDS = {
    "recipe": (recipes, "{} Kitchen"),
    "menu": (menus, "Inn at {}"),
    "timetable": (timetables, "{} Buses"),
    "match": (matches, "{} Rovers"),
    "job": (jobs, "Town of {}"),
    "poster": (posters, "{} Hall"),
    "plant": (plants, "{} Gardens"),
    "worksheet": (worksheets, "{} School"),
    "certificate": (certificates, "{} Institute"),
    "weather": (weather, "{} Station"),
}


class Pen:
    """Writes in pixels from the top left corner of a page, in one document's faces and inks."""

    def __init__(self, canvas: Canvas, size: tuple[int, int], rng: random.Random) -> None:
        self.canvas, (self.w, self.h) = canvas, size
        self.faces, self.ink, self.accent = rng.choice(FACES), *map(HexColor, rng.sample(INKS, 2))
        self.paper, self.look = HexColor(rng.choice(TINTS)), rng.randrange(3)

    def write(
        self, x: float, y: float, text: str, size: float, bold=False, where="left", ink=None, most=None
    ) -> float:
        """Put `text` with its upper edge at `y`, no wider than `most`; return where the next line begins."""
        face, most = self.faces[bold], most or self.w - 24
        lines, words = [""], text.split()
        while size > 9 and max(stringWidth(word, face, size) for word in words) > most:
            size -= 0.5
        for word in words:
            longer = f"{lines[-1]} {word}".strip()
            if stringWidth(longer, face, size) <= most or not lines[-1]:
                lines[-1] = longer
            else:
                lines.append(word)
        draw = {"left": "drawString", "center": "drawCentredString", "right": "drawRightString"}[where]
        self.canvas.setFillColor(ink or self.ink)
        self.canvas.setFont(face, size)
        for line in lines:
            getattr(self.canvas, draw)(x, -(y + size * 0.8), line)
            y += size * 1.2
        return y

    def box(self, x, y, w, h, fill=None, line=None) -> None:
        if fill:
            self.canvas.setFillColor(fill)
        if line:
            self.canvas.setStrokeColor(line)
        self.canvas.rect(x, -(y + h), w, h, fill=int(fill is not None), stroke=int(line is not None))


def draw(pen: Pen, kind: str, sheet: Sheet) -> None:
    """One page: a head that depends on the document's look, then a body that depends on the kind."""
    w, h = pen.w, pen.h
    pen.box(0, 0, w, h, fill=pen.paper)
    middle = kind in ("poster", "certificate", "menu")
    x, where = (w / 2, "center") if middle else (12, "left")
    if kind in ("certificate", "menu") or pen.look == 2:
        pen.box(5, 5, w - 10, h - 10, line=pen.accent)
    y = 13.0
    if pen.look == 0 and not middle:
        pen.box(0, 0, w, 24, fill=pen.accent)
        pen.write(12, 7, sheet.issuer, 11, ink=white)
        y = 32.0
    elif pen.look == 1 and not middle:
        pen.write(w - 12, h - 18, sheet.issuer, 10, where="right")
    else:
        y = pen.write(x, y, sheet.issuer, 10.5, where=where) + 4
    y = (
        pen.write(x, y, sheet.title, 22 if kind == "poster" else 16, bold=True, where=where, ink=pen.accent)
        + 3
    )
    if sheet.note:
        y = pen.write(x, y, sheet.note, 12 if kind == "poster" else 10, where=where) + 4
    body(pen, kind, sheet, y)


def body(pen: Pen, kind: str, sheet: Sheet, y: float) -> None:
    w, step = pen.w, 15.0
    room = pen.h - y - 22
    step = min(17.0, max(12.0, room / (len(sheet.rows) + 1.3 * len(sheet.lines) + 0.5)))
    if kind in ("poster", "certificate"):
        y += max(0.0, (room - 20 * len(sheet.rows)) / 2)
        for label, value in sheet.rows:
            y = pen.write(w / 2, y, f"{label}: {value}", 13, where="center") + 4
    elif kind == "plant":
        pen.canvas.setFillColor(pen.accent)
        for turn in range(5):  # a flower, for whoever looks
            pen.canvas.saveState()
            pen.canvas.translate(w - 48, -(y + 42))
            pen.canvas.rotate(72 * turn)
            pen.canvas.ellipse(-7, 4, 7, 34, fill=1, stroke=0)
            pen.canvas.restoreState()
        for label, value in sheet.rows:
            y = pen.write(12, y, label, 9.5, ink=pen.accent, most=w - 110)
            y = pen.write(12, y, value, 12, bold=True, most=w - 110) + 3
    elif kind == "worksheet":
        for label, value in sheet.rows:
            pen.write(12, y, label, 10)
            pen.write(66, y, f"{value} =", 12, bold=True)
            pen.canvas.setStrokeColor(pen.ink)
            pen.canvas.line(150, -(y + 12), w - 14, -(y + 12))
            y += step + 6
    else:
        dotted = kind == "menu"
        for i, (label, value) in enumerate(sheet.rows):
            if kind in ("timetable", "weather") and i % 2 == 0:
                pen.box(9, y - 2, w - 18, step - 1, fill=HexColor("#e6e6e6"))
            pen.write(13, y, label, 10.5)
            pen.write(w - 13, y, value, 10.5, bold=kind == "timetable", where="right")
            if dotted:
                pen.canvas.setDash(1, 3)
                pen.canvas.setStrokeColor(pen.ink)
                start = 17 + stringWidth(label, pen.faces[0], 10.5)
                end = w - 17 - stringWidth(value, pen.faces[0], 10.5)
                pen.canvas.line(start, -(y + 9), max(start, end), -(y + 9))
                pen.canvas.setDash()
            y += step
    for number, line in enumerate(sheet.lines, 1):
        y = pen.write(13, y + 2, f"{number}. {line}" if kind == "recipe" else f"- {line}", 10)


ASK = {
    "question": [
        "Which sheet of {i} is about {t}?",
        "What does {i} show for {t}?",
        "Where does {i} have {t}?",
    ],
    "keywords": ["{i} {t}", "{t} {i}", "{t}, {i}"],
    "lookup": ["{l} in {t} of {i}", "Where does {i} give {v} for {l}?", "{i} {l} {v}", "{t} {l} {v}"],
}


def answers_all(sheet: Sheet, asked: dict[str, str]) -> bool:
    """Whether the page holds all that a query names: issuer, title, and a label with its value."""
    return (
        asked.get("{i}", sheet.issuer) == sheet.issuer
        and asked.get("{t}", sheet.title) == sheet.title
        and any(
            asked.get("{l}", label) == label and asked.get("{v}", value) == value
            for label, value in sheet.rows
        )
    )


def make() -> tuple[list[dict], list[dict], dict[str, tuple[str, list[Sheet]]]]:
    """Records of documents and of queries, and the sheets to draw by document id."""
    rng = random.Random(SEED)
    towns = list(dict.fromkeys(place(rng) for _ in range(400)))
    documents, sheets = [], {}
    for kind, (maker, called) in KINDS.items():
        for _ in range(DOCUMENTS_A_KIND):
            town = towns.pop()
            name = f"{town.lower()}-{kind}"
            made = maker(called.format(town), rng.randint(*PAGES), rng)
            sheets[name] = kind, made
            documents.append(
                {
                    "document_id": name, "file": f"{name}.pdf", "organization": called.format(town),
                    "sector": "Town life", "kind": kind, "topic": kind, "period": "", "split": "other",
                    "pages": [{"number": i, "kind": kind, "heading": sheet.title, "scanned": False}
                              for i, sheet in enumerate(made, 1)],
                }
            )  # fmt: skip
    everything = [(name, i, sheet) for name, (_, made) in sheets.items() for i, sheet in enumerate(made, 1)]
    queries, seen = [], set()
    for name, number, sheet in rng.sample(everything, len(everything)):
        style = list(ASK)[len(queries) % len(ASK)]
        label, value = rng.choice(sheet.rows)
        wording = rng.choice(ASK[style])
        text = wording.format(i=sheet.issuer, t=sheet.title, l=label, v=value)
        text = text.lower() if style == "keywords" else text
        asked = {"{i}": sheet.issuer, "{t}": sheet.title, "{l}": label, "{v}": value}
        asked = {mark: words for mark, words in asked.items() if mark in wording}
        answers = [f"{other}-p{i:02d}" for other, i, page in everything if answers_all(page, asked)]
        # one page and no other may hold all that the query names
        if len(answers) != 1 or text in seen or len(queries) == QUERIES:
            continue
        seen.add(text)
        others = [f"{name}-p{i:02d}" for i in range(1, len(sheets[name][1]) + 1) if i != number]
        queries.append(
            {
                "query_id": f"other-{len(queries) + 1:04d}", "query": text, "style": style, "split": "other",
                "page_ids": answers, "document_id": name, "negative_ids": rng.sample(others, 4), "jargon": [],
            }
        )  # fmt: skip
    return documents, queries, sheets


def write_pdf(path: Path, kind: str, sheets: list[Sheet]) -> None:
    rng = random.Random(f"{SEED}/{path.stem}")
    size = rng.choice(SIZES)
    canvas = Canvas(str(path), pagesize=(size[0] * POINTS, size[1] * POINTS), invariant=1, pageCompression=1)
    canvas.setTitle(f"{sheets[0].issuer}: {kind}")
    pen = Pen(canvas, size, rng)
    for sheet in sheets:
        canvas.saveState()
        canvas.scale(POINTS, POINTS)
        canvas.translate(0, size[1])
        draw(pen, kind, sheet)
        canvas.restoreState()
        canvas.showPage()
    canvas.save()


def write_all(out: Path) -> None:
    """Write `pdfs/`, `documents.jsonl` and `queries.jsonl` into `out`, all of them or none."""
    documents, queries, sheets = make()
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".making-", dir=out.parent))
    try:
        (work / "pdfs").mkdir()
        for name, (kind, pages) in sheets.items():
            write_pdf(work / "pdfs" / f"{name}.pdf", kind, pages)
        for name, records in (("documents", documents), ("queries", queries)):
            lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            (work / f"{name}.jsonl").write_text(lines, encoding="utf-8", newline="\n")
        if out.exists():
            os.replace(out, work.with_name(work.name + "-old"))
        os.replace(work, out)
    finally:
        for left in (work, work.with_name(work.name + "-old")):
            shutil.rmtree(left, ignore_errors=True)
    pages = sum(len(made) for _, made in sheets.values())
    print(f"{len(documents)} documents, {pages} pages, {len(queries)} queries in {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write (default: data/other)")
    write_all(parser.parse_args().out)
