"""What real files do: PDF files, pictures and queries of kinds that people report."""

import re
import warnings
from concurrent.futures import ThreadPoolExecutor

import datasets
import numpy as np
import pytest
from PIL import Image
from sentence_transformers.base.modality import infer_modality

from helpers import checks, copies, inputs, pages, plots
from helpers.course.profiles import ROOT
from helpers.dataset import retrieval_task
from tools.page_files import page_paths

PDFS, PICTURES = (ROOT / "tests" / "inputs" / kind for kind in ("pdf", "img"))
BUDGET = 224 * 320
REAL = ROOT.parent / "shared" / "real_pages" / "pdfs"
#: PDF file -> its text; what is not listed has none, or does not open.
TEXTS = {
    "annotation": "",
    "broken_xref": "Top of the page ALPHA\nBottom of the page OMEGA",
    "cropbox": "Middle VISIBLE",
    "cropbox_offset": "Shifted ORIGIN",
    "encrypted_owner_only": "Locked WORDS",
    "form_with_appearance": "Invoice number:\nINV 4711 TOTAL",
    "hebrew": "\u05e9\u05dc\u05d5\u05dd",
    "huge": "HUGE",
    "hyphen": "The annual environmental report of the company",
    "latin_not_embedded": "Revenue",
    "ligature": "confidential office",
    "long_strip": "strip top\nstrip bottom",
    "mediabox_missing": "Top of the page ALPHA\nBottom of the page OMEGA",
    "mediabox_reversed": "Top of the page ALPHA\nBottom of the page OMEGA",
    "rotate270": "Top of the page ALPHA\nBottom of the page OMEGA",
    "userunit": "Top of the page ALPHA\nBottom of the page OMEGA",
    "ccitt": "", "jpx": "", "cmyk_jpeg": "", "no_background_alpha": "", "tiny": "",
}  # fmt: skip
#: PDF file -> what is said of it.
REFUSED = {
    "cut_tail": "does not open as a PDF",
    "encrypted_user_password": "asks for a password",
    "zero_pages": "has no pages",
}


@pytest.mark.parametrize("name", TEXTS)
def test_pdf_files_that_are_read(name):
    pdf = PDFS / f"{name}.pdf"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (picture,) = pages.render_pdf(pdf, BUDGET)
        assert pages.pdf_texts(pdf) == [TEXTS[name]]
    assert min(picture.size) >= 32 and picture.width * picture.height <= BUDGET
    ink = np.asarray(picture.convert("L")) < 200
    assert ink.any(), "drawn empty"
    assert inputs.plain_page(picture) is not None  # no shape that a processor refuses


@pytest.mark.parametrize("name", REFUSED)
def test_pdf_files_that_are_refused(name):
    for before in ("encrypted_user_password", "cut_tail", "plain"):  # PDFium remembers its last error
        try:
            pages.pdf_texts(PDFS / f"{before}.pdf")
        except ValueError:
            pass
        with pytest.raises(ValueError, match=rf"{name}\.pdf {REFUSED[name]}"):
            pages.render_pdf(PDFS / f"{name}.pdf", BUDGET)


def test_a_copy_without_the_password_opens(tmp_path):
    import pypdfium2
    from pypdfium2 import raw

    asked = pypdfium2.PdfDocument(PDFS / "encrypted_user_password.pdf", password=password())
    asked.save(tmp_path / "copy.pdf", flags=raw.FPDF_REMOVE_SECURITY)
    assert pages.render_pdf(tmp_path / "copy.pdf", BUDGET)


def password() -> str:
    import pypdfium2

    for word in ("secret", "user", "password", "1234"):
        try:
            pypdfium2.PdfDocument(PDFS / "encrypted_user_password.pdf", password=word).close()
            return word
        except pypdfium2.PdfiumError:
            pass
    pytest.skip("the password of the file is not known")


def test_a_form_field_is_drawn():
    picture = pages.render_page(PDFS / "form_with_appearance.pdf", 1, 600 * 800)
    below = picture.crop((0, picture.height // 4, picture.width, picture.height)).convert("L")
    assert (np.asarray(below) < 128).sum() > 100


def test_a_page_that_cannot_be_read_is_named_and_the_rest_is_read():
    pdf = PDFS / "missing_page.pdf"
    with pytest.warns(UserWarning, match=r"Page 2 of .*missing_page\.pdf cannot be read.*left out"):
        read = pages.render_pdf(pdf, BUDGET)
    with pytest.warns(UserWarning, match="Page 2"):
        texts = pages.pdf_texts(pdf)
    assert [page is None for page in read] == [False, True, *[False] * (len(read) - 2)]
    assert texts[1] == "" and texts[0]
    with pytest.raises(ValueError, match="Page 2 of .*fresh copy"):
        pages.render_page(pdf, 2, BUDGET)


def test_a_page_that_is_cropped_to_nothing_is_named_and_the_rest_is_read(tmp_path):
    import pypdfium2

    document = pypdfium2.PdfDocument.new()
    for _ in range(3):
        document.new_page(200, 300)
    document[1].set_cropbox(500, 500, 600, 600)
    document.save(tmp_path / "three.pdf")
    document.close()
    with pytest.warns(UserWarning, match="Page 2 of .*three.pdf cannot be read .it is cropped to nothing"):
        read = pages.render_pdf(tmp_path / "three.pdf", 224 * 320)
    assert [page is None for page in read] == [False, True, False]


def test_text_that_is_not_drawn_is_said():
    with pytest.warns(UserWarning, match=r"Page 1 of .*cjk_not_embedded\.pdf has text that is not drawn"):
        pages.render_page(PDFS / "cjk_not_embedded.pdf", 1, BUDGET)


def test_text_that_is_not_drawn_below_a_line_that_is(tmp_path):
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.pdfmetrics import registerFont
    from reportlab.pdfgen.canvas import Canvas

    registerFont(UnicodeCIDFont("HeiseiMin-W3"))
    canvas = Canvas(str(tmp_path / "half.pdf"), pagesize=(595, 842))
    canvas.setFont("Helvetica", 12)
    canvas.drawString(50, 800, "Report 2025")
    canvas.setFont("HeiseiMin-W3", 12)
    for line in range(20):
        canvas.drawString(50, 760 - 20 * line, "\u58f2\u4e0a\u9ad8\u5831\u544a\u66f8\u306e\u8981\u7d04" * 3)
    canvas.save()
    with pytest.warns(UserWarning, match="text that is not drawn"):
        pages.render_page(tmp_path / "half.pdf", 1, 600 * 800)


def test_threads_render_one_after_another():
    pdfs = [PDFS / f"{name}.pdf" for name in (*TEXTS, *TEXTS)]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda pdf: (pages.render_pdf(pdf, BUDGET)[0], pages.pdf_texts(pdf)), pdfs))
    for pdf, (picture, text) in zip(pdfs, read):
        assert text == [TEXTS[pdf.stem]]
        assert picture.tobytes() == pages.render_page(pdf, 1, BUDGET).tobytes()


def test_threads_share_an_open_document():
    pdf = next((ROOT / "data" / "pdfs").glob("*.pdf"))
    alone = pages.render_pdf(pdf, BUDGET)
    with pages.open_pdf(pdf) as document, ThreadPoolExecutor(4) as pool:
        numbers = range(1, len(alone) + 1)
        shared = list(pool.map(lambda number: pages.render_open_page(document, pdf, number, BUDGET), numbers))
    assert [page.tobytes() for page in shared] == [page.tobytes() for page in alone]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real PDF files are not here")
def test_real_pdf_files_give_no_message():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pdf in sorted(REAL.glob("*.pdf")):
            with pages.open_pdf(pdf) as document:
                for number in range(1, len(document) + 1, 4):
                    pages.render_open_page(document, pdf, number, BUDGET)
            text = "\n".join(pages.pdf_texts(pdf))
            assert not set(map(chr, (2, 0xAD, 0xFFFE))) & set(text), pdf.name


def grey(page) -> np.ndarray:
    return np.asarray(page.convert("L"), np.float32)


@pytest.mark.parametrize(
    "name", ["bilevel.png", "cmyk.jpg", "exif6.jpg", "exif_none.jpg", "fax.tif", "grey16.png", "page.JPG",
             "page.jp2", "two_frames.gif"],
)  # fmt: skip
def test_picture_files_show_the_page(name):
    """Each of these holds the page of page.png, in another form."""
    right = grey(Image.open(PICTURES / "page.png"))
    if name == "two_frames.gif":
        with pytest.warns(UserWarning, match=r"two_frames\.gif holds 2 pages or frames: the first is read"):
            picture = inputs.plain_page(PICTURES / name)
    else:
        picture = inputs.plain_page(PICTURES / name)
    assert picture.mode == "RGB"
    difference = np.abs(grey(picture) - right)
    # one bit a pixel, and JPEG, have only black and white or edges to show
    assert np.median(difference) < 3 and difference.mean() < 12, difference.mean()


def test_what_is_transparent_is_on_white():
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    clear.paste((255, 0, 0, 255), (0, 0, 32, 32))
    palette = clear.quantize(4)
    palette.info["transparency"] = palette.getpixel((50, 50))
    for picture in (clear, clear.convert("RGBa"), palette, Image.new("LA", (64, 64), (0, 0))):
        assert inputs.read_otherwise(picture)
        assert inputs.plain_page(picture).getpixel((50, 50)) == (255, 255, 255)
    assert inputs.plain_page(clear).getpixel((5, 5)) == (255, 0, 0)
    opaque = Image.new("RGBA", (64, 64), (0, 0, 255, 255))  # as screenshots are saved
    assert not inputs.read_otherwise(opaque)
    assert inputs.plain_page(opaque).tobytes() == opaque.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK",
                                  "YCbCr", "HSV", "LAB", "I", "F", "I;16", "I;16B", "I;16L"])  # fmt: skip
def test_every_mode_of_pillow_becomes_rgb(mode):
    picture = inputs.plain_page(Image.new(mode, (40, 50)), 32 * 32)
    assert picture.mode == "RGB" and picture.width * picture.height <= 32 * 32


@pytest.mark.parametrize("top", [255, 4095, 65535])
def test_grey_levels_of_more_bits_keep_their_content(top):
    levels = np.linspace(0, top, 64 * 64).reshape(64, 64)
    for values in (levels.astype(np.uint16), levels.astype(np.int32), levels.astype(np.float32)):
        shown = grey(inputs.plain_page(Image.fromarray(values)))
        assert np.abs(shown - levels * 255 / top).max() <= 1
    blank = np.full((64, 64), top, np.uint16)
    blank[0, 0] -= 1
    assert inputs.plain_page(Image.fromarray(blank)).getpixel((30, 30)) in ((254,) * 3, (255,) * 3)


def test_what_is_no_page_is_named():
    for file, message in (
        (PICTURES / "cut.png", r"cut\.png does not open as a page: .*truncated"),
        (PICTURES / "zero.png", r"zero\.png does not open as a page"),
        ("nowhere.png", "nowhere.png does not open as a page: .*No such file"),
        (None, "The picture is missing"),
        (Image.new("RGB", (10, 300)), "The picture has 10 x 300 pixels: a page has at least 32 a side"),
        (Image.new("1", (10_000, 10_000)), "it has 10,000 x 10,000 pixels. Give max_pixels; for rows: .*map"),
    ):
        with pytest.raises(ValueError, match=message):
            inputs.plain_page(file)


def test_the_remedy_for_rows_of_large_pages_makes_them_small():
    rows = datasets.Dataset.from_dict({"query": ["what grew?"], "image": [Image.new("1", (8_000, 8_000))]})
    with pytest.raises(ValueError) as error:
        checks.readable_rows(rows)
    code = re.search(r"dataset\.map\(.*?\}\)", str(error.value))[0]
    small = eval(code, {"dataset": rows, "inputs": inputs})
    assert checks.readable_rows(small) == 1 and small[0]["image"].size[0] <= 600
    assert inputs.plain_page(Image.new("1", (10_000, 10_000)), BUDGET)


@pytest.mark.parametrize(
    "query", ["https://example.com/page.png", "https://www.youtube.com/watch?v=1", "data:image/png;base64,AA",
              str(PICTURES / "plain.png")],
)  # fmt: skip
def test_a_query_is_text(query):
    assert infer_modality(query) != "text"
    plain = inputs.plain_query(query)
    assert infer_modality(plain) == "text" and plain.strip() == query


def test_a_query_holds_no_token_of_a_model():
    for token in ("<|image_pad|>", "<|im_end|>", "<|im_start|>", "</s>", "<image>", "<tool_call>"):
        assert token not in inputs.plain_query(f"what is {token} here?")
    for query in ("is 3 < 5?", "$5 million and $10 million", "price is $$ here", "4711", "a <b"):
        assert inputs.plain_query(query) == query
    for query in (None, 4711, "?!", "\N{AUTOMOBILE}", ""):
        with pytest.raises(ValueError, match="Query q7 has no words"):
            inputs.plain_query(query, "Query q7")
    with pytest.warns(UserWarning, match="Query q7 has 59,999 characters: a model may cut it off"):
        inputs.plain_query(" ".join(["words"] * 10_000), "Query q7")


def corpus(*files) -> datasets.Dataset:
    columns = {"page_id": [f"p{i}" for i in range(len(files))], "image": list(map(str, files))}
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())


def asked(query="what grew?", page_ids=("p0",)) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"query_id": ["q0"], "query": [query], "page_ids": [page_ids]})


def test_what_is_scored_is_read_as_what_is_trained_on():
    names = ("transparent.png", "grey16.png", "cmyk.jpg", "exif6.jpg")
    files = corpus(*(PICTURES / name for name in names))
    queries, shown, _ = retrieval_task(asked("https://a.b/c.png"), files)
    assert infer_modality(queries["q0"]) == "text"
    for page, name in zip(shown.values(), names):
        assert page.mode == "RGB"
        assert page.tobytes() == inputs.plain_page(PICTURES / name).tobytes()


@pytest.mark.parametrize("name", ["cut.png", "zero.png", "html_saved_as.png"])
def test_a_page_of_the_corpus_that_cannot_be_read_is_named(name):
    with pytest.raises(ValueError, match=rf"The page 'p1' \(.*{name}\) does not open"):
        retrieval_task(asked(), corpus(PICTURES / "plain.png", PICTURES / name))


@pytest.mark.parametrize("page_ids", ["p0", [None], []])
def test_page_ids_are_a_list_of_ids(page_ids):
    with pytest.raises(ValueError, match="The query 'q0' has .*list of page ids"):
        retrieval_task(asked(page_ids=page_ids), corpus(PICTURES / "plain.png"))


@pytest.mark.parametrize(
    "name", ["fax.tif", "page.jp2", "two_frames.gif", "transparent.png", "exif6.jpg", "grey16.png"]
)
def test_a_path_that_the_library_would_misread_is_refused_with_a_remedy(name, tmp_path):
    file = tmp_path / name
    file.write_bytes((PICTURES / name).read_bytes())
    assert page_paths([PICTURES / "plain.png", PICTURES / "page.JPG"])
    with pytest.raises(ValueError, match="would not read") as error:
        page_paths([PICTURES / "plain.png", file])
    remedy = str(error.value).rpartition(": ")[2].rstrip(".")
    saved = remedy.split("save(")[1].rstrip(")").strip("'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(remedy, {"plain_page": inputs.plain_page})
    assert page_paths([saved]) == [saved]
    for wrong in ("cut.jpg", "zero.png", "html_saved_as.png", "nowhere.png"):
        with pytest.raises(ValueError, match=f"{wrong} does not open as a page"):
            page_paths([PICTURES / wrong])


def test_of_the_paths_that_it_opens_the_library_sees_what_is_there(tmp_path):
    """Formats, frames and bits that the reader of paths has no way with, or another one than Pillow."""
    page = Image.open(PICTURES / "plain.png").convert("RGB")
    page.save(tmp_path / "page.bmp")
    page.save(tmp_path / "page.TIFF")
    frames = {"save_all": True, "append_images": [page.rotate(180)], "duration": 100}
    page.save(tmp_path / "frames.webp", **frames)
    (tmp_path / "deep.png").write_bytes(rgb16(page))
    for file in sorted(tmp_path.iterdir()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match=f"would not read .*{file.name} .*save"):
                page_paths([file])
    page.save(tmp_path / "still.webp")
    assert page_paths(str(tmp_path / "still.webp")) == [str(tmp_path / "still.webp")], "one file"


def rgb16(page) -> bytes:
    """A PNG file of 16 bits a colour, which Pillow does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    values = np.asarray(page).astype(">u2") * 257
    lines = b"".join(b"\0" + line.tobytes() for line in values)
    head = struct.pack(">IIBBBBB", *page.size, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_grey_levels_that_are_not_finite_are_black_or_white():
    levels = np.linspace(0, 1000, 64 * 64, dtype=np.float32).reshape(64, 64)
    levels[0, 0], levels[0, 1], levels[0, 2] = np.inf, -np.inf, np.nan
    shown = np.asarray(inputs.plain_page(Image.fromarray(levels)).convert("L"))
    assert shown[0, :3].tolist() == [255, 0, 0]
    assert shown[-1, -1] == 255 and shown[32, 0] == pytest.approx(127, abs=2)


def test_a_row_keeps_its_empty_texts():
    row = {"query": "what grew?", "style": "", "image": Image.new("RGBA", (64, 64))}
    plain = inputs.plain_row(row)
    assert (plain["query"], plain.get("style", "")) == ("what grew?", "") and plain["image"].mode == "RGB"


def test_half_a_character_and_a_long_query_of_few_characters():
    assert inputs.plain_query("hello\ud800") == "hello?"
    with pytest.warns(UserWarning, match="4,900 characters: a model may cut it off"):
        inputs.plain_query("売" * 4900)


def test_nothing_to_score_and_ids_that_are_none():
    full = corpus(PICTURES / "page.png")
    with pytest.raises(ValueError, match="0 queries and 1 pages: nothing to score"):
        retrieval_task(asked().select([]), full)
    with pytest.raises(ValueError, match="1 queries and 0 pages"):
        retrieval_task(asked(), full.select([]))
    unnamed = asked().remove_columns("query_id").add_column("query_id", [float("nan")])
    with pytest.raises(ValueError, match="query_id nan is no id"):
        retrieval_task(unnamed, full)


def test_a_page_is_decoded_once(monkeypatch):
    rows = corpus(PICTURES / "page.png", PICTURES / "plain.png")
    first = copies.page_pictures(rows, ["image"])
    monkeypatch.setattr(copies, "plain_page", None)
    second = copies.page_pictures(rows, ["image"])
    assert all(np.array_equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    "query", ["$5 million and $10 million", "price is $$ here", "a\\b_{c", None, 4711, "w " * 10_000]
)
def test_figures_show_any_query_as_it_is(query):
    from io import BytesIO

    figure = plots.show_pages(
        query, [Image.open(PICTURES / "grey16.png"), Image.new("L", (64, 64), 99)], ["$a$", "$"]
    )
    figure.savefig(BytesIO(), format="png")
    shown = figure.get_suptitle().replace(r"\$", "$")
    assert shown == str(query) or len(shown) <= 300
    drawn = figure.axes[1].images[0].get_array()
    assert (drawn == 99).all() and drawn.shape == (64, 64, 3)  # grey, not yellow and violet
