"""The evaluation as a task of mteb: the same NDCG@10 as ours, nothing downloaded."""

import pytest

from helpers import dataset, evaluation
from helpers.course import data
from helpers.course.profiles import ROOT, get_profile
from tools import mteb_task


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_mteb_finds_the_same_ndcg(offline):
    import mteb
    from sentence_transformers import SentenceTransformer

    profile = get_profile("small")
    corpus = data.load_corpus(profile, "dev").select(range(40))
    there = set(corpus["page_id"])
    rows = data.load_split(profile, "dev")
    rows = rows.select([i for i, pages in enumerate(rows["page_ids"]) if there.issuperset(pages)])
    assert len(rows) >= 5
    queries, pages, relevant = dataset.retrieval_task(rows, corpus, profile.max_pixels)
    pixels = {"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels}
    model = SentenceTransformer(
        str(ROOT / profile.embedding_model),
        device="cpu",
        model_kwargs={"dtype": "float32"},
        processor_kwargs=pixels,
    )
    numbers = {page: number for number, page in enumerate(pages)}  # ids that are no strings
    task = mteb_task.retrieval_task(
        queries,
        {numbers[page]: picture for page, picture in pages.items()},
        {query: {numbers[page] for page in right} for query, right in relevant.items()},
    )
    (result,) = mteb.evaluate(
        mteb_task.encoder(model, "course/small-embedding"),
        task,
        cache=None,
        encode_kwargs={"batch_size": 16, "show_progress_bar": False},
        show_progress_bar=False,
    ).task_results
    quiet = {"show_progress_bar": False}
    found = model.encode_query(list(queries.values()), **quiet)
    seen = model.encode_document(list(pages.values()), **quiet)
    ours = evaluation.mean(
        evaluation.ndcg(evaluation.rank(found, seen, list(queries), list(pages)), relevant)
    )
    assert 0 < ours < 1
    assert result.get_score() == pytest.approx(ours, abs=1e-4)


def test_mteb_missing_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(ImportError, match="pip install"):
        mteb_task.retrieval_task({}, {}, {})
