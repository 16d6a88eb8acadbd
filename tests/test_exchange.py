"""Collections written for others and read back, and pages read by OCR."""

import datasets
import pytest
from PIL import Image

from helpers.collection import Collection, read_lines
from helpers.course import data
from helpers.dataset import COLUMNS, check_columns
from tools import exchange, ocr

PIXELS = 64 * 96


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Twelve bundled PDF files, named by whole paths, their queries, and any four pages as negatives."""
    documents = [one | {"file": str(data.pdf_path(one))} for one in data.load_documents("dev")[:12]]
    inside = [f"{one['document_id']}-p{page['number']:02d}" for one in documents for page in one["pages"]]
    asked = [query for query in data.load_queries("dev") if set(query["page_ids"]) <= set(inside)]
    queries = [
        query | {"negative_ids": [page for page in inside if page not in query["page_ids"]][:4]}
        for query in asked
    ]
    return Collection(documents, queries, tmp_path_factory.mktemp("own"), max_pixels=PIXELS)


def test_rows_have_the_public_columns_and_stand_alone(collection, tmp_path):
    count = exchange.export_rows(collection, tmp_path, "dev")
    rows = datasets.Dataset.from_parquet(str(tmp_path / "dev.parquet"))
    assert len(rows) == count == len(collection.queries)
    check_columns(rows, COLUMNS, exact=True)
    held = rows.cast_column("image", datasets.Image(decode=False))[0]["image"]
    assert held["bytes"] and not held["path"]
    assert rows[0]["image"].tobytes() == collection.split("dev")[0]["image"].tobytes()


def test_rows_there_and_back_hold_each_page_once(collection, tmp_path):
    exchange.export_rows(collection, tmp_path / "rows", "dev")
    again = exchange.import_rows(tmp_path / "rows", tmp_path / "again")
    again = Collection.load(tmp_path / "again", PIXELS)
    wanted, rows = collection.split("dev"), again.split("train")
    assert rows["query"][:] == wanted["query"][:] and rows.column_names[:6] == list(COLUMNS)
    for name in ("image", "negative_3"):
        assert rows[2][name].tobytes() == wanted[2][name].tobytes()
    named = {page for query in collection.queries for page in (query["page_ids"][0], *query["negative_ids"])}
    assert len(again.documents) == len(named)
    with pytest.raises(FileNotFoundError, match="has no Parquet file with columns query and image"):
        exchange.import_rows(tmp_path, tmp_path / "out")


def test_beir_tables_there_and_back(collection, tmp_path):
    sizes = exchange.export_beir(collection, tmp_path / "beir", "dev")
    qrels = datasets.Dataset.from_parquet(str(tmp_path / "beir" / "qrels" / "test.parquet"))
    assert qrels.column_names == ["query-id", "corpus-id", "score"] and sizes[2] == len(qrels)
    again = exchange.import_beir(tmp_path / "beir", tmp_path / "again", "eval")
    again = Collection.load(tmp_path / "again", PIXELS)
    queries, images, relevant = again.task("eval")
    wanted, pictures, answers = collection.task("dev")
    assert sorted(queries.values()) == sorted(wanted.values()) and len(images) == len(pictures)
    for query, pages in answers.items():
        mine = {images[page].tobytes() for page in relevant[query]}
        assert mine == {pictures[page].tobytes() for page in pages}


def test_tables_that_are_missing_or_do_not_fit(collection, tmp_path, capsys):
    assert exchange.main(["from-beir", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "has no Parquet file: a table 'corpus' is needed" in capsys.readouterr().err
    exchange.export_beir(collection, tmp_path, "dev")
    wrong = {"query-id": ["q"], "corpus-id": ["gone"], "score": [1]}
    datasets.Dataset.from_dict(wrong).to_parquet(str(tmp_path / "qrels" / "test.parquet"))
    with pytest.raises(ValueError, match="name page 'gone', which corpus lacks"):
        exchange.import_beir(tmp_path, tmp_path / "out")


def test_scans_are_read_once_and_found_by_their_words(collection):
    scans = [page for page, text in collection.texts(read=False).items() if not text]
    asked = []

    def read(picture):
        assert isinstance(picture, Image.Image) and picture.width * picture.height <= ocr.PIXELS
        asked.append(picture)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return f"words of scan {len(asked)}"

    assert len(scans) > 3
    with pytest.raises(KeyboardInterrupt):
        ocr.read_pages(collection, ["dev"], read)
    assert ocr.read_pages(collection, ["dev"], read) == (len(scans) - 1, len(scans) - 1)
    assert ocr.read_pages(collection, ["dev"], read) == (0, 0)
    assert {line["page_id"] for line in read_lines(collection.folder / "texts.jsonl")} == set(scans)
    assert all(collection.texts()[page].startswith("words of scan") for page in scans)


def test_without_the_packages_the_message_says_how_to_install_them(monkeypatch):
    monkeypatch.setattr(ocr, "find_spec", lambda name: None)
    with pytest.raises(
        RuntimeError, match="rapidocr and onnxruntime not installed: run `pip install .rapidocr"
    ):
        ocr.reader()
