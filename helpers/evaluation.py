"""Retrieval metrics and their intervals, in numpy, short enough to read.

Three things describe an evaluation:

* `run`: query id -> {page id: score}, or -> a list of page ids, best first;
* `relevant`: query id -> the set of page ids that answer it (relevance is 0 or 1 here);
* a metric: returns query id -> value for every query of `relevant`. A query that `run` lacks scores 0.

Pages of equal score are ordered by page id, ascending, so a figure never depends on the order of a
dictionary. These conventions are those of sentence-transformers' `InformationRetrievalEvaluator`; its
averages equal these means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

Run = Mapping[str, "Mapping[str, float] | Sequence[str]"]
Relevant = Mapping[str, "set[str]"]


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def rank(
    query_embeddings,
    page_embeddings,
    query_ids: Sequence[str],
    page_ids: Sequence[str],
    k: int | None = 100,
    dim: int | None = None,
) -> dict[str, dict[str, float]]:
    """Score every page for every query by cosine similarity and keep the best `k`.

    Args:
        query_embeddings: array or tensor of shape (queries, dimensions).
        page_embeddings: array or tensor of shape (pages, dimensions).
        k: pages kept per query; None keeps all.
        dim: compare only the first `dim` dimensions (Matryoshka), normalised after the cut.

    Returns:
        query id -> {page id: score}, best first.

    Raises:
        ValueError: shapes and ids that do not fit together, ids given twice, or embeddings that are not
        finite.
    """
    queries, pages = _unit_rows(query_embeddings, dim), _unit_rows(page_embeddings, dim)
    for name, rows, ids in (("query", queries, query_ids), ("page", pages, page_ids)):
        if len(rows) != len(ids):
            raise ValueError(f"There are {len(rows)} {name} embeddings and {len(ids)} {name} ids.")
        if len(set(ids)) != len(ids):
            raise ValueError(f"The {name} ids hold one id twice.")
    if queries.shape[1] != pages.shape[1]:
        raise ValueError(f"Queries have {queries.shape[1]} dimensions and pages {pages.shape[1]}.")
    alphabetical = np.argsort(np.argsort(np.asarray(page_ids, dtype=object), kind="stable"), kind="stable")
    result = {}
    for query_id, scores in zip(query_ids, queries @ pages.T):
        best = np.lexsort((alphabetical, -scores))[:k]
        result[query_id] = {page_ids[index]: float(scores[index]) for index in best}
    return result


def ndcg(run: Run, relevant: Relevant, k: int = 10) -> dict[str, float]:
    """Normalised discounted cumulative gain at k, per query.

    DCG@k = sum over ranks i = 1..k of rel_i / log2(i + 1), with rel_i 1 for a relevant page and 0 for any
    other; NDCG@k = DCG@k / the DCG@k of an ideal order. Järvelin and Kekäläinen, "Cumulated gain-based
    evaluation of IR techniques", ACM TOIS 20(4), 2002.
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    return {
        query_id: float(discount[hits].sum() / discount[: len(pages)].sum())
        for query_id, hits, pages in _hits(run, relevant, k)
    }


def mrr(run: Run, relevant: Relevant, k: int = 10) -> dict[str, float]:
    """Reciprocal rank at k, per query: 1 / the rank of the first relevant page, 0 if none is among the first
    k.

    Voorhees, "The TREC-8 question answering track report", 1999.
    """
    return {
        query_id: 1.0 / (hits[0] + 1) if len(hits) else 0.0 for query_id, hits, _ in _hits(run, relevant, k)
    }


def recall(run: Run, relevant: Relevant, k: int = 10) -> dict[str, float]:
    """Recall at k, per query: the share of the relevant pages that are among the first k."""
    return {query_id: len(hits) / len(pages) for query_id, hits, pages in _hits(run, relevant, k)}


def map_(run: Run, relevant: Relevant, k: int = 100) -> dict[str, float]:
    """Average precision at k, per query; its mean over queries is MAP@k.

    AP@k = sum of the precision at the rank of each relevant page among the first k / min(k, number of
    relevant pages). trec_eval's map_cut divides by the number of relevant pages alone; the two agree where
    that is at most k.
    """
    return {
        query_id: float((np.arange(1, len(hits) + 1) / (hits + 1)).sum() / min(k, len(pages)))
        for query_id, hits, pages in _hits(run, relevant, k)
    }


def mean(values: Mapping[str, float]) -> float:
    """Return the mean of a per-query metric."""
    return float(np.mean(list(values.values())))


def bootstrap(values: Mapping[str, float] | Sequence[float], seed: int = 12, n: int = 10_000) -> Interval:
    """Mean of a per-query metric and its 95 % percentile interval, from `n` resamplings of the queries.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    sample = np.asarray(list(values.values()) if isinstance(values, Mapping) else values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError(f"The bootstrap takes one value per query, not an array of shape {sample.shape}.")
    generator = np.random.default_rng(seed)
    means = np.empty(n)
    for start in range(0, n, 1000):  # 1,000 resamplings at a time keep memory at 1,000 x queries numbers
        rows = min(1000, n - start)
        means[start : start + rows] = sample[generator.integers(len(sample), size=(rows, len(sample)))].mean(
            axis=1
        )
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(sample.mean()), float(low), float(high))


def paired_bootstrap(
    a: Mapping[str, float], b: Mapping[str, float], seed: int = 12, n: int = 10_000
) -> Interval:
    """How much higher `b` is than `a` on the same queries: mean of b - a and its 95 % interval.

    Each resampling draws queries and takes both systems' values for them, so that what makes a query easy or
    hard for both cancels. If the interval lies above 0, `b` is better by more than the choice of queries
    explains.

    Raises:
        ValueError: the two do not cover the same queries.
    """
    if set(a) != set(b):
        odd = sorted(set(a) ^ set(b))
        raise ValueError(
            f"A paired comparison needs the same queries on both sides; {len(odd)} differ: {odd[0]!r}, ..."
        )
    return bootstrap([b[query_id] - a[query_id] for query_id in a], seed=seed, n=n)


def ordered(scores: Mapping[str, float] | Sequence[str]) -> list[str]:
    """Return page ids, best first; equal scores by page id. A list is taken as ordered already."""
    if not isinstance(scores, Mapping):
        return list(scores)
    if any(score != score for score in scores.values()):
        raise ValueError("A score is NaN: the order of the pages is not defined.")
    return sorted(scores, key=lambda page_id: (-scores[page_id], page_id))


def _hits(run: Run, relevant: Relevant, k: int):
    """Yield (query id, 0-based ranks below k of its relevant pages, its relevant pages)."""
    unknown = set(run) - set(relevant)
    if unknown:
        raise ValueError(
            f"No relevant pages are given for {len(unknown)} queries of the run, such as {min(unknown)!r}."
        )
    for query_id, pages in relevant.items():
        if not pages:
            raise ValueError(f"The query {query_id!r} has no relevant page, so no metric is defined for it.")
        order = ordered(run.get(query_id, ()))[:k]
        yield query_id, np.array([i for i, page_id in enumerate(order) if page_id in pages], dtype=int), pages


def _unit_rows(embeddings, dim: int | None) -> np.ndarray:
    """Return a float32 matrix with rows of length 1; tensors come to the CPU, bfloat16 included."""
    if hasattr(embeddings, "detach"):
        embeddings = embeddings.detach().float().cpu().numpy()
    matrix = np.asarray(embeddings, dtype=np.float32)
    if matrix.ndim != 2:
        raise ValueError(f"Embeddings are a matrix of one row each, not an array of shape {matrix.shape}.")
    if dim is not None and not 0 < dim <= matrix.shape[1]:
        raise ValueError(f"dim must lie between 1 and {matrix.shape[1]}, not {dim}.")
    matrix = matrix[:, :dim]
    if not np.isfinite(matrix).all():
        raise ValueError("An embedding holds a value that is not finite.")
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
