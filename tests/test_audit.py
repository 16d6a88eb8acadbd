"""Each kind of finding, planted into bundled pages; and nothing unexplained in the bundled data."""

import datasets
import numpy as np
import pytest
from PIL import Image

from helpers import checks, copies, dataset
from helpers.course import data
from helpers.course.profiles import get_profile
from tools import audit

SMALL = get_profile("small")


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    """A few queries of dev and their pages, hard negatives included."""
    return data.bundled(SMALL.max_pixels, tmp_path_factory.mktemp("dev")).split("dev", limit=12)


def corpus_of(pictures: dict) -> datasets.Dataset:
    columns = {"page_id": list(pictures), "image": list(pictures.values())}
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())


@pytest.fixture(scope="module")
def pictures(dev):
    found = {}
    for row in dev:
        found[row["page_id"]] = row["image"]
        found |= {page: row[f"negative_{i}"] for i, page in enumerate(row["negative_ids"])}
    return found


def test_finds_copies_and_only_those(pictures, tmp_path):
    assert audit.duplicate_pages(corpus_of(pictures)) == []
    name, page = next(iter(pictures.items()))
    page.convert("RGB").save(tmp_path / "copy.jpg", quality=75)
    larger = page.resize((page.width * 3 // 2, page.height * 3 // 2))
    for copy in (page, larger, str(tmp_path / "copy.jpg")):
        found = audit.duplicate_pages(corpus_of(pictures | {"copy-p01": copy}))
        assert [(one.kind, one.item, one.other) for one in found] == [("duplicate page", name, "copy-p01")]


def test_covers_of_two_years_are_two_pages(monkeypatch):
    """They differ in one digit, and by 0.1 grey levels on average."""
    corpus = data.load_corpus(SMALL, "dev")
    names = ["ranni-safety-report-2022-p01", "ranni-safety-report-2023-p01"]
    two = corpus.select([corpus["page_id"].index(name) for name in names])
    assert audit.duplicate_pages(two) == []
    monkeypatch.setattr(audit.copies, "_LOCAL", 256)
    assert len(audit.duplicate_pages(two)) == 1


def test_finds_leaks(dev, pictures):
    train, scored = dev.select(range(4)), dev.select(range(4, 8))
    own = {page for row in scored for page in (row["page_id"], *row["negative_ids"])}
    kept = {page: picture for page, picture in pictures.items() if page in own}
    others = {page.split("-")[0] for row in train for page in (row["page_id"], *row["negative_ids"])}
    clean = corpus_of({page: kept[page] for page in kept if page.split("-")[0] not in others})
    assert audit.leaks(train, scored, clean) == []

    shouted = scored.map(lambda row, i: {"query": train[i]["query"].upper() + " ?"}, with_indices=True)
    found = audit.leaks(train, shouted, clean)
    assert [(one.kind, one.other) for one in found] == [
        ("leaked query", train[row]["query_id"]) for row in range(4)
    ]
    page = train[0]["page_id"]
    kinds = {
        page: "leaked page",
        page[:-2] + "99": "leaked document",
    }
    for name, kind in kinds.items():
        blank = clean[0]["image"]
        (one,) = audit.leaks(train, scored, corpus_of({name: blank}))
        assert (one.kind, one.item) == (kind, name)
    picture = train[1]["image"]
    smaller = picture.resize((picture.width * 4 // 5, picture.height * 4 // 5))
    (one,) = audit.leaks(train, scored, corpus_of({"renamed-document-2020-p01": smaller}))
    assert (one.kind, one.other) == ("leaked page", "row 1, image")


def test_a_sibling_page_does_not_hide_a_copy():
    """The cover of another year is nearer on average than a JPEG of the same cover at another size."""
    corpus = data.load_corpus(SMALL, "dev")
    names = ["ranni-safety-report-2022-p01", "ranni-safety-report-2023-p01"]
    page, sibling = (corpus[corpus["page_id"].index(name)]["image"].convert("RGB") for name in names)
    copy = page.resize((page.width * 2 // 3, page.height * 2 // 3)).resize(page.size)
    three = corpus_of({"page": page, "sibling": sibling, "copy": copy})
    drawn = list(copies.page_pictures(three, ["image"]).values())
    assert np.abs(drawn[0] - drawn[1]).mean() < np.abs(drawn[0] - drawn[2]).mean() < copies.NEAR
    train = datasets.Dataset.from_dict({"query": ["a", "b"], "image": [sibling, copy]})
    train = train.cast_column("image", datasets.Image())
    scored = datasets.Dataset.from_dict({"query": ["c"]})
    (one,) = audit.leaks(train, scored, corpus_of({"scored-p01": page}))
    assert (one.kind, one.other) == ("leaked page", "row 1, image")


def test_blank_pages_are_nobodys_copies():
    from PIL import Image

    white = {f"white-p0{i}": Image.new("RGB", (200 + i, 280), (255, 255, 255 - i)) for i in range(2)}
    assert audit.duplicate_pages(corpus_of(white)) == []
    train = datasets.Dataset.from_dict({"query": ["a"], "image": [white["white-p00"]]})
    train = train.cast_column("image", datasets.Image())
    scored = datasets.Dataset.from_dict({"query": ["c"]})
    assert audit.leaks(train, scored, corpus_of({"other-p01": white["white-p01"]})) == []
    assert checks.no_shared_pages(train, corpus_of({"other-p01": white["white-p01"]}), ["image"]) == (1, 1)


def test_an_id_on_two_rows_is_found(pictures):
    one, other = list(pictures.values())[:2]
    twice = datasets.concatenate_datasets([corpus_of({"a-p01": one}), corpus_of({"a-p01": other})])
    assert [found.kind for found in audit.duplicate_pages(twice)] == ["duplicate id"]


def test_finds_unmarked_answers():
    copies = [audit.Finding("duplicate page", "a", "b", "")]
    queries = {"q1": "Sales of Bavert, 2019?", "q2": "sales of bavert 2019", "q3": "staff"}
    relevant = {"q1": {"a"}, "q2": {"c"}, "q3": {"c"}}
    found = audit.unmarked_answers(queries, relevant, copies)
    assert [(one.kind, one.item, one.other) for one in found] == [
        ("unmarked answer", "q1", "b"),
        ("unmarked answer", "q2", "q1"),
    ]
    assert audit.unmarked_answers({"q1": "x"}, {"q1": {"a", "b"}}, copies) == []
    (one,) = audit.unmarked_answers({"q1": "x", "q2": "X"}, {"q1": {"c"}, "q2": {"c"}}, [])
    assert one.kind == "repeated query"


def test_what_all_systems_rank_above_the_marked_page_is_to_be_read():
    runs = {
        "text": {"q": {"a": 3.0, "b": 2.0, "right": 1.0}},
        "picture": {"q": {"b": 3.0, "c": 2.5, "right": 2.0, "a": 1.0}},
    }
    (one,) = audit.to_read(runs, {"q": {"right"}})
    assert (one.item, one.other, one.detail) == ("q", "b", "rank: text 2, picture 1")
    assert audit.to_read(runs, {"q": {"b", "right"}}) == []


@pytest.mark.slow
@pytest.mark.parametrize("split", ["dev", "eval"])
def test_the_bundled_data_has_none(split):
    rows, corpus = data.load_dataset(SMALL), data.load_corpus(SMALL, split)
    queries, _, relevant = dataset.retrieval_task(rows[split], corpus, SMALL.max_pixels)
    copies = audit.duplicate_pages(corpus)
    assert copies == []
    columns = ["image", *dataset.NEGATIVES]
    assert audit.leaks(rows["train"], rows[split], corpus, columns) == []
    assert audit.unmarked_answers(queries, relevant, copies) == []


def test_ids_and_queries_of_any_kind_are_taken():
    pages = [Image.new("RGB", (64, 64), colour) for colour in ("white", "black")]
    table = {"query": ["what?", None], "page_id": [1, 2], "negative_ids": [[2], [1]], "image": pages}
    train = datasets.Dataset.from_dict(table).cast_column("image", datasets.Image())
    found = audit.leaks(train, train, train.select_columns(["page_id", "image"]))
    assert {(one.kind, one.item) for one in found} >= {("leaked page", 1), ("leaked page", 2)}
