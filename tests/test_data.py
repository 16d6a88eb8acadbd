"""helpers.course.data and tools.hub: columns, ids, corpora, and what is said about wrong data."""

import json
from dataclasses import replace

import datasets
import pytest
from PIL import Image

from helpers import checks, copies, dataset
from helpers.collection import ROW_COLUMNS
from helpers.course import data
from helpers.course.profiles import PROFILES
from helpers.pages import split_page_id
from tools import hub as hub_data

PIXELS = 64 * 96  # tiny pages: these tests are about rows
SMALL, FULL = PROFILES["small"], PROFILES["full"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def rows(folder):
    return data.bundled(PIXELS, folder).split("dev", limit=12)


def test_queries_by_split():
    counts = {split: len(data.load_queries(split)) for split in data.SPLITS}
    assert counts["dev"] == 150 and counts["eval"] == 300 and counts["train"] >= 4000
    assert len(data.load_queries()) == sum(counts.values())
    with pytest.raises(ValueError, match="no split 'test'.*train, dev, eval"):
        data.load_queries("test")


def test_the_jargon_of_queries_is_in_the_dictionary():
    glossary = json.loads((data.DATA / "jargon.json").read_text(encoding="utf-8"))
    words = {term for query in data.load_queries() for term in query["jargon"]}
    assert len(glossary) == 38 and glossary["dunning"] == "Payment reminder"
    assert all(term in glossary for term in words if not any(sign.isdigit() for sign in term))


def test_columns_in_order(rows):
    assert tuple(rows.column_names) == (*dataset.COLUMNS, *ROW_COLUMNS)
    dataset.check_columns(rows)
    row = rows[0]
    assert all(isinstance(row[name], Image.Image) for name in dataset.COLUMNS[1:])
    query = data.load_queries("dev")[0]
    assert (row["query_id"], row["query"], row["page_id"]) == (
        query["query_id"],
        query["query"],
        query["page_ids"][0],
    )
    assert row["negative_ids"] == query["negative_ids"] and row["page_id"] not in row["negative_ids"]
    assert split_page_id(row["page_id"])[0] == row["document_id"]


def test_pictures_are_the_pages_of_the_ids(rows, folder):
    from helpers.pages import render_page

    row = rows[3]
    for page, name in zip([row["page_id"], *row["negative_ids"]], dataset.COLUMNS[1:], strict=True):
        document, number = split_page_id(page)
        wanted = render_page(data.DATA / "pdfs" / f"{document}.pdf", number, PIXELS)
        assert row[name].tobytes() == wanted.tobytes()


def test_pages_are_rendered_once(rows, folder):
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.png")}
    again = data.bundled(PIXELS, folder).split("dev", limit=12)
    assert again[5]["query"] == rows[5]["query"]
    assert before == {file: file.stat().st_mtime_ns for file in folder.rglob("*.png")}
    assert not list(folder.rglob("*.part"))


def test_missing_and_broken_files(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "DATA", tmp_path)
    data._records.cache_clear()
    try:
        with pytest.raises(FileNotFoundError, match=r"data/queries.jsonl is missing.*git checkout"):
            data.load_queries("dev")
        (tmp_path / "queries.jsonl").write_text('{"split": "dev"}\n{"split"')
        with pytest.raises(ValueError, match=r"Line 2 of .*queries.jsonl.*git checkout"):
            data.load_queries("dev")
    finally:
        data._records.cache_clear()


def test_retrieval_task(rows, folder):
    corpus = data.bundled(PIXELS, folder).corpus("dev")
    assert (
        corpus.column_names == ["page_id", "image", "document_id", "kind", "has_text"] and len(corpus) == 600
    )
    assert 0.1 < 1 - sum(corpus["has_text"]) / 600 < 0.25
    queries, pages, relevant = dataset.retrieval_task(rows, corpus)
    assert list(queries) == list(relevant) == rows["query_id"][:] and len(pages) == 600
    assert set().union(*relevant.values()) <= set(pages)
    assert all(image.mode == "RGB" for image in pages.values())
    with pytest.raises(ValueError, match="not in the corpus"):
        dataset.retrieval_task(
            rows, corpus.filter(lambda page: page != rows[0]["page_id"], input_columns="page_id")
        )


def test_train_rows_cuts_train(monkeypatch, tmp_path):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    train = data.load_split(replace(SMALL, max_pixels=PIXELS, train_rows=5), "train")
    assert len(train) == 5 and list(tmp_path.glob(f"small/dataset/{PIXELS}px/*"))


def test_load_split_renders_its_own_rows_only(monkeypatch, tmp_path):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    few = data.load_split(replace(SMALL, max_pixels=PIXELS), "dev", limit=3)
    queries = data.load_queries("dev")[:3]
    assert few["query_id"][:] == [query["query_id"] for query in queries]
    needed = {page for query in queries for page in (query["page_ids"][0], *query["negative_ids"])}
    assert {file.stem for file in tmp_path.rglob("*.png")} == needed
    with pytest.raises(ValueError, match="no split 'test'.*Splits: train, dev, eval"):
        data.load_split(SMALL, "test")


@pytest.fixture
def hub(rows, folder, monkeypatch):
    """The full profile's data set, without the hub: 12 rows for each configuration."""
    scored = rows.select_columns(list(dataset.COLUMNS))
    others = data.bundled(PIXELS, folder).split("train", limit=12).select_columns(list(dataset.COLUMNS))
    # As expected of the published one: pages that are scored are negatives of training rows too.
    paths = [page["path"] for page in copies.undecoded(others, "negative_3")["negative_3"]]
    for row, column in ((8, "image"), (9, "negative_0"), (10, "negative_1"), (11, "negative_2")):
        paths[row] = copies.undecoded(scored, column)[4][column]["path"]
    others = others.remove_columns("negative_3").add_column("negative_3", paths)
    others = others.cast_column("negative_3", datasets.Image())
    configs = {"train": others, "eval": scored}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config, split, streaming: configs[config])
    monkeypatch.setattr(hub_data, "in_cache", lambda *args: True)
    hub_data._load_hub.cache_clear()
    yield replace(FULL, train_rows=7)
    hub_data._load_hub.cache_clear()


def test_hub_rows_get_ids(hub):
    splits = data.load_dataset(hub)
    assert {name: len(part) for name, part in splits.items()} == {"train": 7, "dev": 2, "eval": 12}
    for part in splits.values():
        dataset.check_columns(part)
        assert tuple(part.column_names) == (*dataset.COLUMNS, *ROW_COLUMNS)
    assert not set(splits["train"]["query"]) & set(splits["dev"]["query"])
    assert data.load_split(hub, "dev", limit=1)["query"][:] == splits["dev"]["query"][:1]


def test_rows_of_the_hub_with_pages_that_are_scored_are_left_out(hub, capsys):
    hub = replace(hub, train_rows=None)
    splits = data.load_dataset(hub)
    columns = list(dataset.COLUMNS[1:])
    left = int(capsys.readouterr().out.split(" of ")[0])
    assert 2 <= left <= 5 and len(splits["train"]) == 12 - 2 - left
    keys = {
        name: {key for column in columns for key in copies.page_keys(part, column)}
        for name, part in splits.items()
    }
    assert not keys["train"] & (keys["dev"] | keys["eval"])
    checks.no_shared_pages(splits["train"], data.load_corpus(hub, "eval"), columns)


def test_a_few_rows_of_the_hub_are_not_worth_a_whole_download(hub, rows, monkeypatch):
    asked = []

    def load(name, config, split, streaming):
        asked.append((config, streaming))
        return rows.select_columns(list(dataset.COLUMNS)).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(hub_data, "in_cache", lambda *args: False)
    few = data.load_split(hub, "dev", limit=3)
    assert asked == [("train", True)]
    assert few["query"][:] == rows["query"][:3] and few["query_id"][:] == [
        "dev-00000",
        "dev-00001",
        "dev-00002",
    ]
    assert few[0]["negative_3"].tobytes() == rows[0]["negative_3"].tobytes()
    data.load_split(hub, "eval", limit=1)
    assert asked[1] == ("eval", True)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ConnectionError("reset by peer"),
            "'train' of tomaarsen/.* .ConnectionError: reset by peer",
        ),
        (ValueError("BuilderConfig 'train' not found. Available: ['default']"), "Available: ..default"),
    ],
)
def test_a_hub_that_breaks_off_and_one_of_another_form(hub, rows, monkeypatch, error, told):
    def load(*args, **kwargs):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(RuntimeError, match=f"{told}.*run this again: what has arrived is kept"):
        data.load_dataset(hub)
    other = rows.select_columns(["query", "image"])
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: other)
    with pytest.raises(ValueError, match="no column 'negative_0': it has .'query', 'image'"):
        data.load_dataset(hub)


def test_hub_corpus_holds_positives_then_negatives(hub, rows):
    corpus = data.load_corpus(hub, "eval")
    assert len(corpus) == 60 and len(set(corpus["page_id"])) == 60
    assert corpus[0]["image"].tobytes() == rows[0]["image"].tobytes()
    assert corpus[12]["image"].tobytes() == rows[0]["negative_0"].tobytes()
    splits = data.load_dataset(hub)
    queries, pages, relevant = dataset.retrieval_task(splits["eval"], corpus, max_pixels=32 * 64)
    assert len(queries) == 12 and all(image.width * image.height <= 32 * 64 for image in pages.values())
    assert relevant["eval-00003"] == {"eval-00003-image"}
