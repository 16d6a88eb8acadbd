"""Draws the pages of the course's documents with reportlab: header, heading and footer, then the layout."""

from __future__ import annotations

import io
import random
from pathlib import Path

from course_domain import SEED
from course_layouts import DRAW, draw_title
from course_sheet import SIZES, Document, Page, Sheet, Style, register_fonts
from reportlab.lib.colors import HexColor, white
from reportlab.pdfgen.canvas import Canvas


def write_pdf(document: Document, target: Path) -> None:
    """Write the document. Scanned pages become one picture each, without text."""
    register_fonts()
    style = Style(document)
    width, height = SIZES[document.format]
    scale = style.points_per_pixel
    canvas = Canvas(str(target), pagesize=(width * scale, height * scale), invariant=1, pageCompression=1)
    canvas.setTitle(f"{document.kind.name} {document.period.text}")
    canvas.setAuthor(document.organization.name)
    for page in document.pages:
        if page.scanned:
            from course_scans import scan

            buffer = io.BytesIO()
            single = Canvas(buffer, pagesize=(width * scale, height * scale), invariant=1)
            _draw(single, document, page, style, scale)
            single.save()
            canvas.drawImage(
                scan(buffer.getvalue(), (width, height), page.page_id), 0, 0, width * scale, height * scale
            )
        else:
            _draw(canvas, document, page, style, scale)
        canvas.showPage()
    canvas.save()


def _draw(canvas: Canvas, document: Document, page: Page, style: Style, scale: float) -> None:
    width, height = SIZES[document.format]
    canvas.saveState()
    canvas.scale(scale, scale)
    canvas.translate(0, height)
    sheet = Sheet(canvas, width, height, style)
    rng = random.Random(f"{SEED}/page/{page.page_id}")
    # what a series repeats from period to period (shapes, wordings) comes from its own stream
    shared = random.Random(f"{SEED}/shape/{document.series}/{page.heading}")
    sheet.box(0, 0, width, height, style.paper)
    if page.layout == "title":
        draw_title(sheet, document, page, shared)
    else:
        x, y, w, h = _furniture(sheet, document, page)
        DRAW[page.layout](sheet, document, page, rng, shared, x, y, w, h)
    canvas.restoreState()


def _furniture(sheet: Sheet, document: Document, page: Page) -> tuple[float, float, float, float]:
    """Header, heading and footer. Returns the rectangle left for the content."""
    s, w, h = sheet.s, sheet.w, sheet.h
    name, period = document.organization.name, document.period.text
    left, right, top, bottom = 12.0, w - 12.0, 8.0, h - 10.0
    kind = s.header if page.layout != "letter" or s.header != 3 else 1
    placed = False  # whether the header holds the period already
    room = right - left - 18

    def fits(size: float) -> bool:
        return sheet.width_of(name, size * s.zoom, True) + sheet.width_of(period, 10.5 * s.zoom) + 10 < room

    if kind == 0:  # a band
        sheet.box(0, 0, w, 24, s.dark)
        sheet.logo(left, 5, 14, s.accent, white)
        placed = fits(10.5)
        sheet.text(left + 19, 16, name, 11 if not placed else 10.5, True, white, room=room)
        if placed:
            sheet.text(right, 16, period, 10.5, False, white, "right")
        top = 30
    elif kind == 1:  # a line under it
        placed = fits(10.5)
        sheet.logo(left, 6, 13, s.dark, s.accent)
        sheet.text(left + 18, 16, name, 11 if not placed else 10.5, True, s.dark, room=room)
        if placed:
            sheet.text(right, 16, period, 10.5, False, None, "right")
        sheet.line(left, 22, right, 22, s.accent, 1.5)
        top = 27
    elif kind == 2:  # a stripe down the side
        sheet.box(0, 0, 7, h, s.dark)
        left = 16
        placed = fits(10.5)
        sheet.text(left, 15, name, 10.5, True, s.dark, room=right - left)
        if placed:
            sheet.text(right, 15, period, 10.5, False, None, "right")
        top = 20
    elif kind == 3:  # everything in a band at the foot
        sheet.box(0, h - 22, w, 22, s.tint)
        placed = fits(10)
        sheet.text(left, h - 8, name, 10.5 if not placed else 10, True, s.dark, room=right - left)
        if placed:
            sheet.text(right, h - 8, period, 10, False, s.dark, "right")
        bottom = h - 27
        top = 8
    elif kind == 4:  # centered, two lines
        sheet.text(w / 2, 15, name, 11, True, s.dark, "center", room=right - left)
        sheet.text(w / 2, 27, period, 10.5, False, None, "center", room=right - left)
        placed, top = True, 32
    else:  # mark at the right, two lines
        sheet.logo(right - 20, 6, 20, s.accent, s.dark)
        sheet.text(left, 15, name, 11, True, s.dark, room=right - left - 24)
        sheet.text(left, 27, period, 10.5, False, None, room=right - left - 24)
        placed, top = True, 32

    if kind != 3:
        number = f"{page.number}"
        if s.footer == 0:
            sheet.text(right, h - 5, number, 9, False, HexColor("#444444"), "right")
            sheet.text(left, h - 5, document.kind.name, 9, False, HexColor("#444444"), room=right - left - 20)
            bottom = h - 17
        elif s.footer == 1:
            sheet.line(left, h - 15, right, h - 15, s.dark, 0.6)
            sheet.text(
                w / 2,
                h - 5,
                f"{document.kind.name}  {number}",
                9,
                False,
                HexColor("#444444"),
                "center",
                room=right - left,
            )
            bottom = h - 19
        else:
            sheet.text(w / 2, h - 5, number, 9, False, HexColor("#444444"), "center")
            bottom = h - 16

    if page.layout == "letter":  # its subject line is the heading
        if not placed:
            sheet.text(left, top + 10, period, 10.5, False, None, room=right - left)
            top += 14
        return left, top, right - left, bottom - top

    lines = sheet.wrap(page.heading, s.heading_size, right - left, True)
    for text in lines[:2]:
        x = w / 2 if s.centered else left
        sheet.text(
            x,
            top + s.heading_size * 0.86,
            text,
            s.heading_size,
            True,
            s.dark,
            "center" if s.centered else "left",
            room=right - left,
        )
        top += s.heading_size * 1.15
    below = []
    if not placed:
        below.append(period)
    if page.unit and page.layout in ("bar", "line", "pie", "figures"):
        below.append(f"in {page.unit}" if page.unit != "%" else "in percent")
    if document.subject:
        below.insert(0, document.subject)
    if below:
        for text in (
            [", ".join(below)] if sheet.width_of(", ".join(below), 10.5 * s.zoom) < right - left else below
        ):
            sheet.text(
                w / 2 if s.centered else left,
                top + 9,
                text,
                10.5,
                False,
                HexColor("#333333"),
                "center" if s.centered else "left",
                room=right - left,
            )
            top += 12.5
    if s.rule and kind != 1:
        sheet.line(left, top + 2, right, top + 2, s.accent, 1)
        top += 3
    return left, top + 4, right - left, bottom - top - 4
