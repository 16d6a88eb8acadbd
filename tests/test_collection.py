"""helpers.collection: the folder's form, rendering that goes on, the three calls, wrong folders."""

import json
import os
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from helpers import pages
from helpers.collection import Collection, _write_lines, read_lines
from helpers.course import data
from helpers.course.profiles import PROFILES, run_dir
from tools.own_data import own_data

PIXELS = 64 * 96
DOCUMENTS = data.load_documents("dev")[:3]


def queries_of(documents):
    """A query for each second page, without hard negatives."""
    return [
        {
            "query_id": f"{one['document_id']}-{page['number']}",
            "query": f"{page['heading']} {one['organization']}",
            "page_ids": [pages.page_id(one["document_id"], page["number"])],
        }
        for one in documents for page in one["pages"][::2]
    ]  # fmt: skip


@pytest.fixture
def own(tmp_path):
    """A collection of three bundled PDF files, of whose pages as little is known as of a reader's."""
    documents = []
    for split, one in zip(("train", "dev", "eval"), DOCUMENTS):
        kept = [{"number": page["number"], "scanned": page["scanned"]} for page in one["pages"]]
        documents.append(
            {
                "document_id": one["document_id"],
                "file": str(data.pdf_path(one)),
                "split": split,
                "pages": kept,
            }
        )
    return Collection(documents, queries_of(DOCUMENTS), tmp_path / "own", max_pixels=PIXELS)


def test_three_calls_where_little_is_known(own):
    rows = own.split("train")
    assert rows.column_names == ["query", "image", "query_id", "page_id", "document_id", "page_ids"]
    assert set(rows["document_id"]) == {DOCUMENTS[0]["document_id"]}
    corpus = own.corpus("eval")
    assert corpus.column_names == ["page_id", "image", "document_id", "has_text"]
    assert len(corpus) == len(DOCUMENTS[2]["pages"])
    queries, images, relevant = own.task("eval")
    assert len(queries) == len(relevant) and set().union(*relevant.values()) <= set(images)
    assert all(image.width * image.height <= PIXELS for image in images.values())
    assert len(own.corpus()) == sum(len(one["pages"]) for one in DOCUMENTS)
    own.train_rows = 2
    assert len(own.split("train")) == 2 < len(own.split("train", limit=3)) + 1
    with pytest.raises(ValueError, match="no split 'test' in .*own. Splits: train, dev, eval"):
        own.split("test")


def test_saved_and_loaded_again(own, tmp_path):
    texts = [{"page_id": f"{DOCUMENTS[0]['document_id']}-p01", "text": "read by OCR"}]
    _write_lines(own.folder / "texts.jsonl", texts)
    own.save(tmp_path / "saved")
    again = Collection.load(tmp_path / "saved", PIXELS)
    assert again.splits() == ["train", "dev", "eval"]
    assert again.split("dev")["query"][:] == own.split("dev")["query"][:]
    assert again.texts("train") == own.texts("train")
    for page, text in own.texts().items():
        assert bool(text) or page.endswith("p01") or _scanned(page)


def _scanned(page):
    document, number = pages.split_page_id(page)
    (one,) = [one for one in DOCUMENTS if one["document_id"] == document]
    return one["pages"][number - 1]["scanned"]


def test_texts_that_were_read_stand_in_for_a_text_layer_that_is_not_there(own):
    scans = [page for page in own.texts() if _scanned(page)]
    assert scans
    _write_lines(
        own.folder / "texts.jsonl", [{"page_id": page, "text": f"words of {page}"} for page in own.texts()]
    )
    with_read = own.texts()
    assert all(with_read[page] == f"words of {page}" for page in scans)
    assert not any(text.startswith("words of") for page, text in with_read.items() if page not in scans)
    assert all(own.texts(read=False)[page] == "" for page in scans)


def test_an_interrupted_rendering_goes_on(own, monkeypatch):
    wanted = [pages.page_id(DOCUMENTS[0]["document_id"], number) for number in (1, 2, 3, 4)]
    real, calls = os.replace, []

    def fail(source, target):
        calls.append(target)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        own.render(wanted)
    monkeypatch.undo()
    there = list(own.folder.rglob("*.png"))
    assert len(there) == 2 and not list(own.folder.rglob("*.part"))
    before = {file: file.stat().st_mtime_ns for file in there}
    for file in own.render(wanted).values():
        Image.open(file).verify()
    assert before == {file: file.stat().st_mtime_ns for file in there}


def test_pictures_of_a_changed_file_are_replaced_and_of_no_other(own, tmp_path):
    changed, kept = own.documents[:2]
    file = tmp_path / "changed.pdf"
    shutil.copy(changed["file"], file)
    changed["file"] = str(file)
    ids = [pages.page_id(one["document_id"], 1) for one in (changed, kept)]
    first = own.render(ids)
    shutil.copy(own.documents[2]["file"], file)
    second = own.render(ids)
    assert first[ids[1]] == second[ids[1]] and first[ids[0]] != second[ids[0]]
    assert not os.path.exists(first[ids[0]])


def test_many_pages_are_rendered_by_several_processes(tmp_path):
    collection = data.bundled(PIXELS, tmp_path)
    ids = collection.corpus("dev")["page_id"][:80]
    one, *_ = ids
    with Image.open(collection.render(ids)[one]) as picture:
        document, number = pages.split_page_id(one)
        path = data.DATA / "pdfs" / f"{document}.pdf"
        assert picture.tobytes() == pages.render_page(path, number, PIXELS).tobytes()


def test_a_picture_is_a_document_of_one_page(tmp_path):
    Image.new("CMYK", (300, 400), (0, 100, 0, 0)).save(tmp_path / "scan.tif")
    documents = [{"document_id": "scan", "file": str(tmp_path / "scan.tif"), "split": "eval",
                  "pages": [{"number": 1, "scanned": True}]}]  # fmt: skip
    queries = [{"query_id": "1", "query": "a pink page", "page_ids": ["scan-p01"]}]
    collection = Collection(documents, queries, tmp_path, max_pixels=PIXELS)
    row = collection.split("eval")[0]
    assert row["image"].mode == "RGB" and row["image"].width * row["image"].height <= PIXELS
    assert collection.texts() == {"scan-p01": ""}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda documents, queries: documents.append(documents[0]), "document_id '.*' is there twice"),
        (lambda documents, queries: queries.append(queries[0]), "query_id '.*' is there twice"),
        (lambda documents, queries: queries[0].pop("query_id"), "query_id is missing, or no text"),
        (
            lambda documents, queries: queries[0].update(page_ids="report-p01"),
            "page_ids 'report-p01'. Give a list",
        ),
        (
            lambda documents, queries: queries[0].update(page_ids=["gone-p01"]),
            "page_ids .'gone-p01'.. Give a list",
        ),
        (lambda documents, queries: queries[0].update(page_ids=[]), "page_ids ... Give a list"),
    ],
)
def test_lines_that_do_not_fit_together(own, change, told):
    documents, queries = list(own.documents), [dict(query) for query in own.queries]
    change(documents, queries)
    with pytest.raises(ValueError, match=told):
        Collection(documents, queries, own.folder)


def test_folders_that_are_none(own, tmp_path):
    with pytest.raises(
        FileNotFoundError, match="no documents.jsonl, or no queries.jsonl. Notebook 10_your_own_pdfs"
    ):
        Collection.load(tmp_path)
    own.save(tmp_path / "saved")
    _write_lines(tmp_path / "saved" / "collection.json", [{"schema": 0}])
    with pytest.raises(ValueError, match="of form 0, and this code reads form 1. Make it anew"):
        Collection.load(tmp_path / "saved")
    (tmp_path / "saved" / "collection.json").unlink()
    (tmp_path / "saved" / "queries.jsonl").write_text('{"query_id": "1"}\n[]\n')
    with pytest.raises(ValueError, match="Line 2 of .*queries.jsonl is not a JSON object"):
        read_lines(tmp_path / "saved" / "queries.jsonl")


def test_an_unknown_page_or_document(own):
    with pytest.raises(KeyError, match="No document 'nobody'"):
        own.render(["nobody-p01"])
    with pytest.raises(IndexError, match="no page 99"):
        own.render([f"{DOCUMENTS[0]['document_id']}-p99"])
    with pytest.raises(ValueError, match="not a page id"):
        own.render(["page 3"])


def test_the_profile_for_ones_own_data(own, tmp_path, monkeypatch):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path / "runs"))
    own.save(tmp_path / "my reports")
    small, full = PROFILES["small"], PROFILES["full"]
    profile = own_data(full, str(tmp_path / "my reports"))
    assert profile.name == "full-my-reports" and profile.dataset is None
    assert run_dir(profile) == tmp_path / "runs" / "full-my-reports"
    profile = replace(own_data(small, str(tmp_path / "my reports")), max_pixels=PIXELS)
    assert profile.reranker_margin == 0.05  # which other pages answer is not known
    assert data.load_split(profile, "dev")["query"][:] == own.split("dev")["query"][:]
    assert list((tmp_path / "runs" / "small-my-reports" / "dataset").rglob("*.png"))
    assert own_data(small) is small
    with pytest.raises(ValueError, match="DATA is 'nowhere', and there is no such folder"):
        own_data(small, "nowhere")
    with pytest.raises(ValueError, match="Set DATA or PDFS, not both"):
        own_data(small, str(tmp_path), str(tmp_path))
    with pytest.raises(FileNotFoundError, match="is no collection"):
        own_data(small, str(tmp_path))
    assert json.loads((tmp_path / "my reports" / "collection.json").read_text())["schema"] == 1
    with pytest.raises(ValueError, match="PDFS is .*that is a file: give its folder"):
        own_data(small, pdfs=str(tmp_path / "my reports" / "queries.jsonl"))


def test_two_folders_of_one_name_do_not_share_a_collection(own, tmp_path, monkeypatch):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path / "runs"))
    folders = [tmp_path / one / "reports" for one in ("here", "there")]
    for folder in folders:
        folder.mkdir(parents=True)
    first = own_data(PROFILES["small"], pdfs=str(folders[0]))
    own.save(tmp_path / "runs" / "collections" / "reports", source=str(folders[0]))
    assert own_data(PROFILES["small"], pdfs=str(folders[0])).name == first.name == "small-reports"
    other = own_data(PROFILES["small"], pdfs=str(folders[1]))
    assert other.name.startswith("small-reports-") and len(other.name) == len("small-reports-") + 8


def test_a_full_disk_is_a_sentence_and_what_is_there_stays(own, monkeypatch):
    wanted = [pages.page_id(DOCUMENTS[0]["document_id"], number) for number in (1, 2, 3)]
    real, calls = Image.Image.save, []

    def save(self, *arguments, **options):
        calls.append(self)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(self, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(
        OSError, match="Not all pages are rendered .*No space left on device.*stay in .*run again"
    ):
        own.render(wanted)
    assert len(list(own.folder.rglob("*.png"))) == 1 and not list(own.folder.rglob("*.part"))
    assert len(own.render(wanted)) == 3
