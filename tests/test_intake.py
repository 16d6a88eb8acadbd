"""tools.intake: what is in a folder of PDF files, questions from a file, the split, the size of type."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from helpers.course import data
from helpers.course.profiles import ROOT
from tools import intake

INPUTS = ROOT / "tests" / "inputs" / "pdf"
DOCUMENTS = data.load_documents("dev")[:4]


@pytest.fixture
def folder(tmp_path):
    """Four bundled PDF files, one of them in a subfolder under the name of another."""
    for one in DOCUMENTS[:3]:
        shutil.copy(data.pdf_path(one), tmp_path)
    (tmp_path / "older").mkdir()
    shutil.copy(data.pdf_path(DOCUMENTS[3]), tmp_path / "older" / DOCUMENTS[0]["file"])
    return tmp_path


@pytest.fixture
def stock(folder):
    return intake.read_pdfs(folder)


def test_a_broken_a_locked_and_an_empty_file_are_listed_with_the_reason(folder):
    for name in ("cut_tail.pdf", "encrypted_user_password.pdf", "zero_pages.pdf"):
        shutil.copy(INPUTS / name, folder)
    stock = intake.read_pdfs(folder)
    reasons = dict(stock.left_out)
    assert list(reasons) == ["cut_tail.pdf", "encrypted_user_password.pdf", "zero_pages.pdf"]
    assert reasons["zero_pages.pdf"] == "it has no pages. Leave it out."
    assert "asks for a password" in reasons["encrypted_user_password.pdf"]
    assert "does not open as a PDF" in reasons["cut_tail.pdf"]
    assert str(stock).startswith("4 documents, ") and str(stock).endswith("; 3 files left out")


def test_pages_scans_ids_and_copies(folder, stock):
    by_name = {one["name"]: one for one in stock.documents}
    first = DOCUMENTS[0]["document_id"]
    assert by_name[DOCUMENTS[0]["file"]]["document_id"] == first
    assert by_name[f"older/{DOCUMENTS[0]['file']}"]["document_id"] == f"older-{first}"
    for known in DOCUMENTS[:3]:
        pages = by_name[known["file"]]["pages"]
        assert [page["number"] for page in pages] == [page["number"] for page in known["pages"]]
        assert [page["scanned"] for page in pages] == [page["scanned"] for page in known["pages"]]
        assert all(("type" in page) != page["scanned"] for page in pages)
    shutil.copy(folder / DOCUMENTS[1]["file"], folder / "zz.PDF")
    again = intake.read_pdfs(folder)
    assert again.left_out == [("zz.PDF", f"it is the same file as {DOCUMENTS[1]['file']}")]
    assert len(again.documents) == 4


def test_folders_without_a_usable_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder. Give a folder with PDF files"):
        intake.read_pdfs(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="has no PDF file"):
        intake.read_pdfs(tmp_path)
    shutil.copy(INPUTS / "zero_pages.pdf", tmp_path)
    with pytest.raises(ValueError, match="None of the 1 PDF files .* can be used: it has no pages"):
        intake.read_pdfs(tmp_path)


NAME = DOCUMENTS[1]["file"]


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (
            ".jsonl",
            '{"query": "a heading", "pdf": "%s", "pages": [2, 3]}\n\n{"query": "b", "pdf": "%s", "pages": 1}',
        ),
        (".csv", "Query,pdf,pages\na heading,%s,2 3\nb,%s,1\n"),
        (".csv", "query;pdf;pages\na heading;%s;2 3\nb;%s;1\n"),
        (".tsv", "query\tpdf\tpages\na heading\t%s\t2;3\nb\t%s\t1\n"),
    ],
)
def test_questions_of_three_kinds_of_file(stock, tmp_path, ending, text):
    file = tmp_path / f"questions{ending}"
    file.write_text("\ufeff" + text % (NAME, NAME.removesuffix(".pdf")), encoding="utf-8")
    first, second = intake.read_queries(file, stock.documents)
    document = DOCUMENTS[1]["document_id"]
    assert (first["query"], first["page_ids"]) == ("a heading", [f"{document}-p02", f"{document}-p03"])
    assert second["page_ids"] == [f"{document}-p01"] and first["query_id"] != second["query_id"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            '{"query": "q", "pdf": "gone.pdf", "pages": [1]}',
            "Line 2 .*the pdf 'gone.pdf' is not among the files",
        ),
        (
            '{"query": "q", "pdf": "%s", "pages": [99]}',
            "Line 2 .* has no page 99 that can be read; its pages are 1",
        ),
        ('{"query": "q", "pdf": "%s", "pages": [0]}', "Line 2 .* has no page 0"),
        ('{"query": "q", "pdf": "%s", "pages": [true]}', "Line 2 .* pages are written 3"),
        ('{"query": "q", "pdf": "%s", "pages": "two"}', "Line 2 .* pages are written 3"),
        ('{"query": "?!", "pdf": "%s", "pages": [1]}', "Line 2 .*the query '.!' has no words"),
        (
            '{"question": "q", "pdf": "%s", "pages": [1]}',
            "Line 2 .*'query' is missing; it has question, pdf, pages",
        ),
        ('{"query": "q", "pdf": "%s"', "Line 2 of .* is not JSON"),
        ('["q"]', "Line 2 .*it is no object"),
        (
            '{"query_id": "one", "query": "q", "pdf": "%s", "pages": [1]}',
            "Line 2 .*query_id 'one' is there twice",
        ),
        ('{"query": "q", "pdf": "TWICE", "pages": [1]}', "2 files are named .*: write it as in"),
    ],
)
def test_a_question_that_cannot_be_meant_is_named_by_its_line(stock, tmp_path, line, told):
    file = tmp_path / "questions.jsonl"
    good = f'{{"query_id": "one", "query": "a heading", "pdf": "{NAME}", "pages": [1]}}'
    line = line.replace("%s", NAME).replace("TWICE", DOCUMENTS[0]["file"])
    file.write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        intake.read_queries(file, stock.documents)


def test_files_of_questions_that_are_none(stock, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        intake.read_queries(tmp_path / "gone.jsonl", stock.documents)
    (tmp_path / "questions.xlsx").write_bytes(b"PK")
    with pytest.raises(ValueError, match="is no JSONL, CSV or TSV file"):
        intake.read_queries(tmp_path / "questions.xlsx", stock.documents)
    (tmp_path / "questions.csv").write_text("query,pdf,pages\n")
    with pytest.raises(ValueError, match="holds no questions. Write one a line"):
        intake.read_queries(tmp_path / "questions.csv", stock.documents)


def test_the_same_question_twice_has_the_pages_of_both(stock, tmp_path):
    file = tmp_path / "questions.csv"
    file.write_text(f"query,pdf,pages\nq,{NAME},1\nq,{NAME},2\n")
    (one,) = intake.read_queries(file, stock.documents)
    assert [page[-3:] for page in one["page_ids"]] == ["p01", "p02"]


def made(sizes, pages=3):
    """Documents d0, d1, ... with so many queries each."""
    documents = [
        {"document_id": f"d{i}", "pages": [{"number": n + 1} for n in range(pages)]}
        for i in range(len(sizes))
    ]
    queries = [
        {"query_id": f"{i}-{n}", "page_ids": [f"d{i}-p01"]}
        for i, size in enumerate(sizes)
        for n in range(size)
    ]
    return documents, queries


def test_documents_are_on_one_side_and_shares_are_kept():
    documents, queries = made([10] * 20)
    counts = intake.split_by_document(documents, queries)
    assert counts == {"train": 120, "dev": 30, "eval": 50}
    split_of = {one["document_id"]: one["split"] for one in documents}
    assert all(query["split"] == split_of[query["page_ids"][0][:-4]] for query in queries)


def test_each_split_gets_queries_even_of_three_documents():
    for sizes in ([5, 4, 3], [50, 1, 1], [1, 1, 1, 1]):
        counts = intake.split_by_document(*made(sizes))
        assert min(counts.values()) >= 1 and set(counts) == {"train", "dev", "eval"}
        assert counts["train"] >= counts["dev"]


def test_copies_and_queries_with_pages_of_two_documents_keep_them_together():
    documents, queries = made([4] * 9)
    queries[0]["page_ids"].append("d5-p02")
    intake.split_by_document(documents, queries, [("d1-p01", "d7-p03"), ("d7-p02", "d8-p01")])
    split = {one["document_id"]: one["split"] for one in documents}
    assert split["d0"] == split["d5"] and split["d1"] == split["d7"] == split["d8"]


def test_documents_without_queries_fall_in_all_splits():
    documents, queries = made([4] * 6 + [0] * 20)
    intake.split_by_document(documents, queries)
    assert min(Counter(one["split"] for one in documents[6:]).values()) >= 2


def test_one_or_two_documents_cannot_be_split():
    for sizes in ([5], [3, 4], [9, 0, 0]):
        with pytest.raises(ValueError, match="three are the least. Add PDF files of other documents"):
            intake.split_by_document(*made(sizes))
    documents, queries = made([3, 3, 3])
    with pytest.raises(ValueError, match="are about 2 document.s., copies counted as one"):
        intake.split_by_document(documents, queries, [("d0-p01", "d1-p01")])


def test_legibility_follows_the_size_of_type():
    a4 = {"size": (595, 842), "scanned": False, "number": 1}
    documents = [{"pages": [a4 | {"type": 10.0}] * 9 + [a4 | {"type": 9.0}] + [a4]}]
    small, large = (intake.legibility(documents, pixels) for pixels in (224 * 320, 600 * 600))
    assert small.pixels == pytest.approx(10 * (71_680 / (595 * 842)) ** 0.5, rel=0.05) and small.small == 1
    assert large.small == 0 and str(large).endswith("body type is 8 pixels high: legible.")
    assert "Use at least MAX_PIXELS = " in str(small)
    remedy = intake.legibility(documents, small.needed)
    assert remedy.small <= 0.1 and "legible" in str(remedy)
    assert intake.legibility([{"pages": [a4 | {"scanned": True}]}], 600 * 600) is None


def test_the_real_pages_are_read():
    real = ROOT.parent / "shared" / "real_pages"
    if not real.is_dir():
        pytest.skip("the real PDF files are not on this machine")
    files = sorted((real / "pdfs").glob("*.pdf"))
    stock = intake.read_pdfs(real / "pdfs")
    assert len(stock.documents) == len(files) and not stock.left_out
    questions = intake.read_queries(real / "questions.jsonl", stock.documents)
    assert len(questions) == len(Path(real / "questions.jsonl").read_text().splitlines())
    assert min(intake.split_by_document(stock.documents, questions).values()) > 10


@pytest.mark.parametrize(
    ("given", "numbers"),
    [("3", [3]), ("3, 7", [3, 7]), ("[3, 7]", [3, 7]), ("3-5", [3, 4, 5]), ([2, "4"], [2, 4])],
)
def test_pages_are_written_as_people_write_them(given, numbers):
    assert intake._numbers(given) == numbers


@pytest.mark.parametrize("given", ["p. 3", "", True, "three", "5-3", "1-999999999"])
def test_what_is_no_page_number_is_said(given):
    with pytest.raises(ValueError, match="pages are written 3, or 3 7, or 3-5"):
        intake._numbers(given)


def test_equal_pages_look_alike_but_blank_ones_do_not_count(tmp_path):
    import datasets
    from PIL import Image, ImageDraw

    pictures = {}
    for name, text in (("a", "one report"), ("b", "one report"), ("c", "another"), ("d", ""), ("e", "")):
        picture = Image.new("RGB", (224, 320), "white")
        ImageDraw.Draw(picture).text((12, 12), text, fill="black", font_size=40)
        pictures[name] = str(tmp_path / f"{name}.png")
        picture.save(pictures[name])
    corpus = datasets.Dataset.from_dict({"page_id": list(pictures), "image": list(pictures.values())})
    assert intake.look_alikes(corpus.cast_column("image", datasets.Image())) == [("a", "b")]
