"""helpers.pages: page ids, sizes, rendering, text, and what it says about bad files."""

import pytest

from helpers import pages
from helpers.course.profiles import PROFILES, ROOT

PDFS = sorted((ROOT / "data" / "pdfs").glob("*.pdf"))
SMALL, FULL = PROFILES["small"].max_pixels, PROFILES["full"].max_pixels


def test_page_ids_go_both_ways():
    assert pages.page_id("curpor-safety-report-2016", 5) == "curpor-safety-report-2016-p05"
    for number in (1, 12, 123):
        assert pages.split_page_id(pages.page_id("a-p07-b", number)) == ("a-p07-b", number)
    for wrong in ("", "report", "report-p5", "report-p00", "-p"):
        with pytest.raises(ValueError, match="is not a page id"):
            pages.split_page_id(wrong)
    with pytest.raises(ValueError, match="start at 1"):
        pages.page_id("report", 0)


def test_sizes_fit_the_grid_and_the_budget():
    assert pages.image_size(224, 320, SMALL) == (224, 320)
    assert pages.image_size(320, 224, SMALL) == (320, 224)
    assert pages.image_size(1920, 1080, SMALL) == (352, 192)
    assert pages.image_size(595.3, 841.9, SMALL) == (224, 320)
    for width, height in ((210, 297), (297, 210), (612, 792), (16, 9), (1, 1), (1, 40), (40, 1), (100, 130)):
        for budget in (32 * 32, 5000, SMALL, 200_000, FULL):
            columns, rows = pages.image_size(width, height, budget)
            assert columns % 32 == rows % 32 == 0
            assert 0 < columns * rows <= budget
        columns, rows = pages.image_size(width, height, FULL)
        assert columns * rows > 0.8 * FULL or max(width, height) >= 40 * min(width, height)
        assert abs(columns / rows * height / width - 1) < 0.12
    with pytest.raises(ValueError, match="at least 1024"):
        pages.image_size(210, 297, 1000)
    with pytest.raises(ValueError, match="no area"):
        pages.image_size(0, 297, SMALL)


def test_the_processor_keeps_the_size():
    """transformers' own rule for Qwen3-VL must not resize a rendered page again."""
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    for width, height in ((210, 297), (297, 210), (16, 9), (1, 1), (100, 130), (60, 192)):
        for budget in (SMALL, FULL):
            columns, rows = pages.image_size(width, height, budget)
            kept = smart_resize(rows, columns, factor=32, min_pixels=32 * 32, max_pixels=budget)
            assert tuple(kept) == (rows, columns)


def test_renders_every_page_once_more_alike():
    pdf = PDFS[0]
    images = pages.render_pdf(pdf, SMALL)
    assert len(images) == len(pages.pdf_texts(pdf))
    for number, image in enumerate(images, 1):
        assert image.mode == "RGB" and image.width * image.height <= SMALL
        assert image.tobytes() == pages.render_page(pdf, number, SMALL).tobytes()
    assert len({image.tobytes() for image in images}) == len(images)
    assert len(set(images[1].convert("L").tobytes())) > 20  # anti-aliased


def test_text_layer(tmp_path):
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "two.pdf"), pagesize=(200, 300))
    canvas.drawString(20, 250, "Quiet Heron")
    canvas.showPage()
    canvas.rect(20, 20, 100, 100)
    canvas.showPage()
    canvas.save()
    assert pages.pdf_texts(tmp_path / "two.pdf") == ["Quiet Heron", ""]


@pytest.mark.parametrize("content", [b"", b"not a PDF", b"%PDF-1.4\n1 0 obj\n<<"])
def test_a_file_that_does_not_open(tmp_path, content):
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(content)
    for call in (
        pages.pdf_texts,
        lambda pdf: pages.render_pdf(pdf, SMALL),
        lambda pdf: pages.render_page(pdf, 1, SMALL),
    ):
        with pytest.raises(ValueError, match=r"broken\.pdf does not open as a PDF.*fresh copy"):
            call(broken)


def test_a_truncated_pdf_is_named(tmp_path):
    cut = tmp_path / "cut.pdf"
    cut.write_bytes(PDFS[0].read_bytes()[:900])
    with pytest.raises(ValueError, match=r"cut\.pdf"):
        pages.render_pdf(cut, SMALL)


def test_a_missing_file_or_page():
    with pytest.raises(FileNotFoundError, match="nowhere.pdf"):
        pages.pdf_texts("nowhere.pdf")
    count = len(pages.pdf_texts(PDFS[0]))
    for number in (0, -1, count + 1):
        with pytest.raises(IndexError, match=f"no page {number}: its pages are 1 to {count}"):
            pages.render_page(PDFS[0], number, SMALL)
