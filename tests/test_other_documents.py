"""The second collection: its pages are legible, each query has one answer, and it can be made again."""

import sys

import pytest
from pypdfium2.raw import FPDF_PAGEOBJ_TEXT as PAGEOBJ_TEXT

from helpers import pages
from helpers.course import data
from helpers.course.profiles import ROOT, get_profile

sys.path.insert(0, str(ROOT / "data" / "make"))
import other_documents as maker  # noqa: E402

DOCUMENTS = data.load_documents(data.OTHER)
QUERIES = data.load_queries(data.OTHER)


def test_it_is_made_again_byte_by_byte(tmp_path):
    maker.write_all(tmp_path / "other")
    files = [file.relative_to(maker.OUT) for file in maker.OUT.rglob("*") if file.is_file()]
    assert len(files) == len(DOCUMENTS) + 2
    for file in files:
        assert (tmp_path / "other" / file).read_bytes() == (maker.OUT / file).read_bytes(), file


def test_counts():
    assert len(QUERIES) == 150 and sum(len(d["pages"]) for d in DOCUMENTS) >= 300
    assert len({d["kind"] for d in DOCUMENTS}) == 10
    assert {q["split"] for q in QUERIES} == {d["split"] for d in DOCUMENTS} == {data.OTHER}


def test_it_shares_nothing_with_the_course():
    course = data.load_documents()
    for key in ("organization", "kind", "document_id"):
        assert not {d[key] for d in DOCUMENTS} & {d[key] for d in course}
    ours, theirs = ({q["query"].lower() for q in found} for found in (QUERIES, data.load_queries()))
    assert not ours & theirs
    assert data.OTHER not in {q["split"] for q in data.load_queries()}


def test_one_page_answers_each_query_by_its_text_layer():
    """The words of a query, without the wording around them, stand on its page and on no other together."""
    _, queries, sheets = maker.make()
    assert queries == QUERIES
    texts = {
        pages.page_id(d["document_id"], number): " ".join(text.split())
        for d in DOCUMENTS
        for number, text in enumerate(pages.pdf_texts(data.pdf_path(d)), 1)
    }
    for query in QUERIES[:60]:
        name, number = pages.split_page_id(query["page_ids"][0])
        sheet = sheets[name][1][number - 1]
        assert sheet.issuer in texts[query["page_ids"][0]]
        named = [words for words in (sheet.issuer, sheet.title) if words.lower() in query["query"].lower()]
        named += [word for row in sheet.rows for word in row if word.lower() in query["query"].lower()]
        holding = [page for page, text in texts.items() if all(words in text for words in named)]
        assert query["page_ids"][0] in holding and len(holding) <= 3, (query["query"], holding)
        assert not set(query["negative_ids"]) & set(query["page_ids"])


@pytest.mark.parametrize("document", DOCUMENTS[::7], ids=lambda d: d["document_id"])
def test_all_type_is_on_the_page_and_legible(document):
    with pages.open_pdf(data.pdf_path(document)) as pdf:
        for page in pdf:
            width, height = page.get_size()
            text = page.get_textpage()
            for i in range(text.count_rects()):
                left, bottom, right, top = text.get_rect(i)
                assert -1 <= left and right <= width + 1 and -1 <= bottom and top <= height + 1
            # in pixels of the page at 71,680 pixels: the canvas is scaled
            sizes = [words.get_font_size() for words in page.get_objects(filter=[PAGEOBJ_TEXT])]
            assert sizes and min(sizes) >= 9 - 1e-3


def test_any_profile_loads_it():
    rows = data.load_split(get_profile("full", max_pixels=71680), data.OTHER, 3)
    assert rows["query"][:] == [q["query"] for q in QUERIES[:3]]
    assert rows[0]["image"].size[0] % 32 == 0
