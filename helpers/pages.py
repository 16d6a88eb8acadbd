"""PDF pages as pictures: rendering with pypdfium2, page ids, and the text layer.

A page is rendered straight to the size at which the model's image processor keeps it, so nothing is resampled
twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pypdfium2
    from PIL import Image

CELL = 32  # pixels: one visual token of Qwen3-VL covers a square of CELL x CELL


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
    match = re.fullmatch(r"(.+)-p(\d{2,})", page)
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

    pairs = [(columns, rows) for columns in range(1, cells + 1) for rows in range(1, cells // columns + 1)]
    columns, rows = min(pairs, key=lambda pair: cost(*pair))
    return columns * CELL, rows * CELL


@contextmanager
def open_pdf(pdf: str | Path) -> Iterator[pypdfium2.PdfDocument]:
    """Open a PDF file, closed again at the end of the `with` block.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file does not open as a PDF (damaged, encrypted, or something else).
    """
    import pypdfium2

    pdf = Path(pdf)
    if not pdf.is_file():
        raise FileNotFoundError(f"There is no file {pdf}. Check the path.")
    try:
        document = pypdfium2.PdfDocument(pdf)
    except pypdfium2.PdfiumError as error:
        raise ValueError(
            f"{pdf} does not open as a PDF ({error}). Open it in a PDF viewer: if that fails "
            "too, get a fresh copy or leave it out; if it asks for a password, save it without one."
        ) from error
    try:
        yield document
    finally:
        document.close()


def page_count(pdf: str | Path) -> int:
    """Number of pages of a PDF file. Raises as `open_pdf`."""
    with open_pdf(pdf) as document:
        return len(document)


def render_page(pdf: str | Path, number: int, max_pixels: int) -> Image.Image:
    """Page `number` (from 1) as an RGB picture of `image_size(...)`.

    Raises:
        IndexError: the document has no such page. Also as `open_pdf` and `image_size`.
    """
    with open_pdf(pdf) as document:
        return _render(_page(document, pdf, number), max_pixels)


def render_pdf(pdf: str | Path, max_pixels: int) -> list[Image.Image]:
    """All pages of a PDF file as RGB pictures, in order; the file is opened once. Raises as `render_page`."""
    with open_pdf(pdf) as document:
        return [_render(_page(document, pdf, number), max_pixels) for number in range(1, len(document) + 1)]


def render_open_page(
    document: pypdfium2.PdfDocument, pdf: str | Path, number: int, max_pixels: int
) -> Image.Image:
    """As `render_page`, for a document that `open_pdf(pdf)` has opened already."""
    return _render(_page(document, pdf, number), max_pixels)


def fit_image(image: Image.Image, max_pixels: int | None) -> Image.Image:
    """A picture as RGB, and at `image_size` if it has more than `max_pixels` pixels."""
    image = image.convert("RGB") if image.mode != "RGB" else image
    if max_pixels is None or image.width * image.height <= max_pixels:
        return image
    return image.resize(image_size(image.width, image.height, max_pixels))


def flatten(image: Image.Image) -> Image.Image:
    """Return the picture as plain RGB, what is transparent in it on white.

    Converting straight to RGB drops transparency, and what lies under it is often black.
    """
    from PIL import Image

    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def page_text(pdf: str | Path, number: int) -> str:
    """The text layer of page `number` (from 1), one line of the page a line; empty for a scan.

    Raises:
        IndexError: the document has no such page. Also as `open_pdf`.
    """
    with open_pdf(pdf) as document:
        return _text(_page(document, pdf, number))


def pdf_texts(pdf: str | Path) -> list[str]:
    """The text layer of every page, in order; the file is opened once. Raises as `page_text`."""
    with open_pdf(pdf) as document:
        return [_text(_page(document, pdf, number)) for number in range(1, len(document) + 1)]


def _page(document: pypdfium2.PdfDocument, pdf: str | Path, number: int) -> pypdfium2.PdfPage:
    import pypdfium2

    if not 1 <= number <= len(document):
        raise IndexError(f"{Path(pdf).name} has no page {number}: its pages are 1 to {len(document)}.")
    try:
        return document[number - 1]
    except pypdfium2.PdfiumError as error:
        raise ValueError(
            f"Page {number} of {pdf} cannot be read ({error}). Get a fresh copy of the file."
        ) from error


def _text(page: pypdfium2.PdfPage) -> str:
    return page.get_textpage().get_text_bounded().replace("\r\n", "\n").strip()


def _render(page: pypdfium2.PdfPage, max_pixels: int) -> Image.Image:
    import pypdfium2
    from pypdfium2 import raw

    width, height = image_size(page.get_width(), page.get_height(), max_pixels)
    bitmap = pypdfium2.PdfBitmap.new_native(width, height, raw.FPDFBitmap_BGR)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
    # The raw call takes the size in pixels for each side, where PdfPage.render takes one scale for both.
    raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, raw.FPDF_ANNOT)
    return bitmap.to_pil().convert("RGB")
