"""A search of words, BM25, and ways to add two searches up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers.evaluation import Run, ordered
from helpers.widgets import Search


def bm25(queries: Mapping[str, str], texts: Mapping[str, str], k: int = 100) -> dict[str, dict[str, float]]:
    """The best `k` pages of each query by BM25 (Robertson and Zaragoza, "The Probabilistic Relevance
    Framework", 2009; by bm25s, English stop words left out). A page that shares no word is not among them.

    Args:
        queries: query id -> words.
        texts: page id -> words; "" for a page without any.
    """
    found: dict[str, dict[str, float]] = {}
    pages, search = list(texts), by_words(texts)
    for query, words in queries.items():
        scores = search(words)
        best = [place for place in np.argsort(-scores, kind="stable")[:k] if scores[place] > 0]
        found[query] = {pages[place]: float(scores[place]) for place in best}
    return found


def by_words(texts: Mapping[str, str]) -> Search:
    """BM25 as a search for a `helpers.widgets.SearchBox`: scores of the pages of `texts`, (pages,), which are
    indexed once.
    """
    import bm25s

    quiet, index = {"show_progress": False}, None
    if any(map(str.strip, texts.values())):
        index = bm25s.BM25()
        index.index(bm25s.tokenize(list(texts.values()), stopwords="en", **quiet), **quiet)

    def search(query: str, dimensions: int | None = None) -> np.ndarray:
        (words,) = bm25s.tokenize([query], stopwords="en", return_ids=False, **quiet)
        return index.get_scores(words) if index is not None and words else np.zeros(len(texts))

    return search


def reciprocal_ranks(*runs: Run, constant: int = 60) -> dict[str, dict[str, float]]:
    """Runs fused by rank: a page's score is the sum of 1 / (constant + its rank) over the runs that have it.

    Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
    methods", SIGIR 2009.
    """
    fused: dict[str, dict[str, float]] = {query: {} for run in runs for query in run}
    for run in runs:
        for query, scores in run.items():
            for rank, page in enumerate(ordered(scores), 1):
                fused[query][page] = fused[query].get(page, 0.0) + 1 / (constant + rank)
    return fused


def weighted_sum(one: Run, other: Run, weight: float) -> dict[str, dict[str, float]]:
    """weight * `one` + (1 - weight) * `other`, each query's scores of either scaled to 0 to 1 first; a page
    that a run lacks has 0 there.
    """
    fused: dict[str, dict[str, float]] = {}
    for query in {**one, **other}:
        total: dict[str, float] = {}
        for run, share in ((one, weight), (other, 1 - weight)):
            scores = run.get(query, {})
            low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
            for page, score in scores.items():
                total[page] = total.get(page, 0.0) + share * (
                    (score - low) / (high - low) if high > low else 1.0
                )
        fused[query] = total
    return fused
