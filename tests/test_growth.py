"""tools/growth.py: vectors drawn around pages, and what an index finds of the true best."""

import json

import numpy as np
import pytest

from tools import growth


@pytest.fixture(scope="module")
def pages():
    return np.random.default_rng(0).standard_normal((300, 32), dtype=np.float32)


def test_vectors_lie_as_near_to_a_page_as_pages_do_to_one_another(pages):
    unit = pages / np.linalg.norm(pages, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -1)
    wanted = np.median(cosines.max(axis=1))
    made = growth.around(pages, 2000, seed=1)
    assert made.shape == (2000, 32) and made.dtype == np.float32
    assert np.linalg.norm(made, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.median((made @ unit.T).max(axis=1)) == pytest.approx(wanted, abs=0.01)
    assert (growth.around(pages, 5, seed=1) == growth.around(pages, 5, seed=1)).all()
    assert (growth.around(pages, 5, seed=1) != growth.around(pages, 5, seed=2)).any()


def test_an_index_is_set_to_the_recall_that_is_wanted(pages):
    queries = growth.around(pages, 60, seed=3)
    exact, graph, lists = growth.measure(pages, queries, (20_000,))
    assert [row["kind"] for row in (exact, graph, lists)] == ["exact", "HNSW", "IVF-PQ, rescored"]
    assert exact["recall@10"] == 1.0 and exact["effort"] is None
    assert exact["megabytes"] == pytest.approx(20_000 * 32 * 4 / 1e6, rel=0.01)
    assert graph["recall@10"] >= growth.WANTED - 0.05
    assert 0.2 < lists["recall@10"] < 1  # of 32 random numbers four bytes keep little
    for row in (graph, lists):
        assert row["vectors"] == 20_000
        assert row["p50_ms"] > 0 and row["build_seconds"] > 0
    assert lists["megabytes"] < exact["megabytes"] < graph["megabytes"]


def test_recall_counts_the_true_ten(pages):
    vectors = growth.around(pages, 2000)
    index, queries = growth.build("exact", vectors), vectors[:8]
    truth = index.search(queries, 10)[1]
    assert growth.recall(index, queries, truth) == 1.0
    half = np.where(np.arange(10) < 5, truth, -2)
    assert growth.recall(index, queries, half) == 0.5


def test_it_says_what_is_missing_and_writes_what_it_measured(pages, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    file = tmp_path / "growth.json"
    assert growth.main(["--counts", "2000", "--file", str(file)]) == 2
    assert "make course NOTEBOOKS=04 makes it" in capsys.readouterr().err and not file.exists()
    kept = tmp_path / "small" / "04_train_embedding" / "embeddings.npz"
    kept.parent.mkdir(parents=True)
    np.savez(kept, finetuned_pages=pages, finetuned_queries=pages[:20])
    assert growth.main(["--counts", "2000", "--file", str(file)]) == 0
    written = json.loads(file.read_text())
    assert written["dimensions"] == 32 and {row["vectors"] for row in written["rows"]} == {2000}
    assert {"device", "versions", "command"} <= set(written) and "faiss-cpu" in written["versions"]
