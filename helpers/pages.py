"""PDF pages as pictures: rendering with pypdfium2, page ids, and the text layer.

A page is rendered straight to the size at which the model's image processor keeps it, so nothing is resampled
twice. Form fields and annotations are part of its picture and of its text. PDFium works in one thread at a
time: several may call these functions, and wait. To use several cores, render in several processes.
"""

from __future__ import annotations

import math
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pypdfium2
    from PIL import Image

CELL = 32  # pixels: one visual token of Qwen3-VL covers a square of CELL x CELL
LONGEST = 200  # times as long as wide: Qwen3-VL's processor refuses pictures beyond that
_PDFIUM = threading.RLock()  # two threads in PDFium at once end the process
_DROPPED = re.compile("[\x02\xad\ufffe]\n?|[\x00-\x08\x0b-\x1f\x7f]")  # a word's break; control characters
_LIGATURES = {0xFB00 + i: text for i, text in enumerate(("ff", "fi", "fl", "ffi", "ffl", "st", "st"))}
_EMPTY = 0.9  # share of a page that is of one grey: it may lack its text
_LOOKED_AT = 40  # letters of such a page


def page_id(document_id: str, number: int) -> str:
    """The id of page `number` (from 1) of a document: `page_id("report-2016", 5) == "report-2016-p05"`."""
    if number < 1:
        raise ValueError(f"Page numbers start at 1, so {number} is none.")
    return f"{document_id}-p{number:02d}"


def split_page_id(page: str) -> tuple[str, int]:
    """The document id and the page number (from 1) in a page id.

    Raises:
        ValueError: not a page id.
    """
    match = re.fullmatch(r"(.+)-p(\d{2,})", str(page))
    if match is None or int(match[2]) < 1:
        raise ValueError(f"{page!r} is not a page id. One looks like 'report-2016-p05'.")
    return match[1], int(match[2])


@lru_cache(maxsize=1024)
def image_size(width: float, height: float, max_pixels: int) -> tuple[int, int]:
    """The (width, height) in pixels at which a page of this shape fits into `max_pixels`.

    Both are multiples of `CELL` and their product is at most `max_pixels`, so Qwen3-VL's processor leaves the
    picture as it is. Of all such sizes it is the one that best keeps both the shape and the number of pixels.

    Raises:
        ValueError: `max_pixels` holds no single cell, or the page has no area.
    """
    if max_pixels < CELL * CELL:
        raise ValueError(f"max_pixels is {max_pixels}; it must be at least {CELL * CELL}, one visual token.")
    if width <= 0 or height <= 0:
        raise ValueError(f"A page of {width} x {height} points has no area to render.")
    cells = max_pixels // (CELL * CELL)
    shape = math.log(width / height)

    def cost(columns: int, rows: int) -> float:
        # stretching a page by a tenth is about as bad as leaving a fifth of the pixels unused
        return 2 * abs(math.log(columns / rows) - shape) + math.log(cells / (columns * rows))

    pairs = [
        (columns, rows)
        for columns in range(1, cells + 1)
        for rows in range(1, cells // columns + 1)
        if max(columns, rows) <= LONGEST * min(columns, rows)
    ]
    columns, rows = min(pairs, key=lambda pair: cost(*pair))
    return columns * CELL, rows * CELL


@contextmanager
def open_pdf(pdf: str | Path) -> Iterator[pypdfium2.PdfDocument]:
    """Open a PDF file, closed again at the end of the `with` block.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file does not open as a PDF (damaged, encrypted, or something else), or has no pages.
    """
    import pypdfium2
    from pypdfium2 import raw

    pdf = Path(pdf)
    if not pdf.is_file():
        raise FileNotFoundError(f"There is no file {pdf}. Check the path.")
    with _PDFIUM:
        # PDFium says nothing new of a file without pages: then it is still what it says of no file.
        raw.FPDF_LoadDocument(b"", None)
        nothing = raw.FPDF_GetLastError()
        try:
            document = pypdfium2.PdfDocument(pdf)
            document.init_forms()  # before any page is read
        except pypdfium2.PdfiumError as error:
            code = raw.FPDF_GetLastError()
            if code == nothing:
                raise ValueError(f"{pdf} has no pages. Leave it out.") from error
            if code == raw.FPDF_ERR_PASSWORD:
                raise ValueError(f"{pdf} asks for a password. Save a copy without one.") from error
            raise ValueError(
                f"{pdf} does not open as a PDF ({error}). Open it in a PDF viewer: if that fails too, get a "
                "fresh copy or leave it out."
            ) from error
    try:
        yield document
    finally:
        with _PDFIUM:
            document.close()


def render_page(pdf: str | Path, number: int, max_pixels: int) -> Image.Image:
    """Page `number` (from 1) as an RGB picture of `image_size(...)`.

    Warns of a page whose text is not drawn: its font is neither in the file nor on this machine.

    Raises:
        IndexError: the document has no such page. ValueError: the page cannot be read. Also as `open_pdf` and
        `image_size`.
    """
    with open_pdf(pdf) as document:
        return render_open_page(document, pdf, number, max_pixels)


def render_pdf(pdf: str | Path, max_pixels: int) -> list[Image.Image | None]:
    """All pages of a PDF file as RGB pictures, in order; the file is opened once. Raises as `render_page`,
    but a page that cannot be read is None, with a warning.
    """
    return _each_page(pdf, lambda document, number: render_open_page(document, pdf, number, max_pixels), None)


def render_open_page(
    document: pypdfium2.PdfDocument, pdf: str | Path, number: int, max_pixels: int
) -> Image.Image:
    """As `render_page`, for a document that `open_pdf(pdf)` has opened already."""
    with _page(document, pdf, number) as page:
        picture = _render(page, max_pixels)
        if _undrawn(page, picture):
            warnings.warn(
                f"Page {number} of {pdf} has text that is not drawn, as its font is neither in the file nor "
                "on this machine. Install the font (for Chinese, Japanese and Korean: Noto Sans CJK), or "
                "take a copy of the file with its fonts embedded.",
                stacklevel=2,
            )
    return picture


def pdf_texts(pdf: str | Path) -> list[str]:
    """The text layer of every page, in order, one line of the page a line; empty for a scan. A word that is
    broken at a line's end is whole, and on the first of the lines.

    A page that cannot be read is empty, with a warning. Raises as `open_pdf`.
    """
    return _each_page(pdf, lambda document, number: _open_text(document, pdf, number), "")


class Line(NamedTuple):
    """A line of a page's text layer, its size of type in points, and whether it runs from left to right."""

    text: str
    size: float
    level: bool


def pdf_lines(pdf: str | Path) -> list[tuple[tuple[float, float], list[Line]] | None]:
    """Of every page, in order, its (width, height) in points and its lines; None for one that cannot be read,
    with a warning. Raises as `open_pdf`.
    """
    return _each_page(pdf, lambda document, number: _open_lines(document, pdf, number), None)


def _each_page(pdf: str | Path, read: Callable[[pypdfium2.PdfDocument, int], object], missing) -> list:
    """What `read` gives for each page number of an opened file; `missing` for a page that cannot be read."""
    pages = []
    with open_pdf(pdf) as document:
        with _PDFIUM:
            count = len(document)
        for number in range(1, count + 1):
            try:
                pages.append(read(document, number))
            except _Unreadable as error:
                warnings.warn(f"{error} It is left out.", stacklevel=3)
                pages.append(missing)
    return pages


class _Unreadable(ValueError):
    """A page that PDFium cannot read."""


@contextmanager
def _page(document: pypdfium2.PdfDocument, pdf: str | Path, number: int) -> Iterator[pypdfium2.PdfPage]:
    """A page, with PDFium to itself; its form fields and annotations are made part of it."""
    import pypdfium2
    from pypdfium2 import raw

    with _PDFIUM:
        if not 1 <= number <= len(document):
            raise IndexError(f"{Path(pdf).name} has no page {number}: its pages are 1 to {len(document)}.")
        try:
            page = document[number - 1]
            if _written_on(page) and raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY):
                page.close()
                page = document[number - 1]  # the old handle shows the page as it was
            if min(page.get_size()) <= 0:
                raise pypdfium2.PdfiumError("it is cropped to nothing")
        except pypdfium2.PdfiumError as error:
            raise _Unreadable(
                f"Page {number} of {pdf} cannot be read ({error}). Get a fresh copy of the file."
            ) from error
        try:
            yield page
        finally:
            page.close()


def _written_on(page: pypdfium2.PdfPage) -> bool:
    """Whether a page has annotations that show something: not links and notes that are folded up."""
    from pypdfium2 import raw

    folded = (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP, raw.FPDF_ANNOT_TEXT)
    for place in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, place)
        kind = raw.FPDFAnnot_GetSubtype(annotation)
        raw.FPDFPage_CloseAnnot(annotation)
        if kind not in folded:
            return True
    return False


def _open_text(document: pypdfium2.PdfDocument, pdf: str | Path, number: int) -> str:
    with _page(document, pdf, number) as page:
        layer = page.get_textpage()
        text = layer.get_text_bounded()
        layer.close()
    return _plain(text.replace("\r\n", "\n"))


def _plain(text: str) -> str:
    return _DROPPED.sub("", text).translate(_LIGATURES).strip()


def _open_lines(document: pypdfium2.PdfDocument, pdf: str | Path, number: int):
    from pypdfium2 import raw

    with _page(document, pdf, number) as page:
        layer, matrix = page.get_textpage(), raw.FS_MATRIX()
        signs = [raw.FPDFText_GetUnicode(layer, i) for i in range(layer.count_chars())]
        lines, start = [], 0
        for end, sign in enumerate([*signs, 10]):
            if sign not in (10, 13):
                continue
            text = _plain("".join(map(chr, signs[start:end])))
            if text:
                raw.FPDFText_GetMatrix(layer, start, matrix)
                size = raw.FPDFText_GetFontSize(layer, start) * math.hypot(matrix.c, matrix.d)
                lines.append(Line(text, size, abs(matrix.b) <= abs(matrix.a)))
            start = end + 1
        layer.close()
        return page.get_size(), lines


def _render(page: pypdfium2.PdfPage, max_pixels: int) -> Image.Image:
    import pypdfium2
    from pypdfium2 import raw

    width, height = image_size(page.get_width(), page.get_height(), max_pixels)
    bitmap = pypdfium2.PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
    # The raw call takes the size in pixels for each side, where PdfPage.render takes one scale for both.
    raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, raw.FPDF_ANNOT)
    picture = bitmap.to_pil().convert("RGB")
    bitmap.close()
    return picture


def _undrawn(page: pypdfium2.PdfPage, picture: Image.Image) -> bool:
    """Whether most of a page's letters left no mark; looked at only where the picture is mostly empty."""
    from ctypes import byref, c_int

    from pypdfium2 import raw

    grey = picture.convert("L")
    if max(grey.histogram()) < _EMPTY * grey.width * grey.height:
        return False
    layer = page.get_textpage()
    letters = [i for i in range(layer.count_chars()) if chr(raw.FPDFText_GetUnicode(layer, i)).isalnum()]
    inside = marks = 0
    for index in letters[:: len(letters) // _LOOKED_AT + 1]:
        left, bottom, right, top = layer.get_charbox(index, loose=True)
        x, y = [c_int(), c_int()], [c_int(), c_int()]
        for place, corner in enumerate(((left, top), (right, bottom))):
            raw.FPDF_PageToDevice(page, 0, 0, *grey.size, 0, *corner, byref(x[place]), byref(y[place]))
        (left, right), (top, bottom) = (sorted(end.value for end in ends) for ends in (x, y))
        if 0 <= left and right < grey.width and 0 <= top and bottom < grey.height:
            low, high = grey.crop((left, top, right + 1, bottom + 1)).getextrema()
            inside, marks = inside + 1, marks + (low < high)
    layer.close()
    return marks < inside / 2
