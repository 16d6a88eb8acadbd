"""Retrieval metrics and their intervals, in numpy, short enough to read.

Three things describe an evaluation:

* `run`: query id -> {page id: score}, or -> a list of page ids, best first;
* `relevant`: query id -> the set of page ids that answer it, or for graded relevance page id -> grade above
  0 (NDCG uses the grade; the other metrics ask only whether there is one);
* a metric: returns query id -> value for every query of `relevant`. A query that `run` lacks scores 0, and a
  relevant page that it lacks counts as not found: `dataset.retrieval_task` refuses one that is in no corpus.

Pages of equal score are ordered by page id, ascending. These conventions are those of sentence-transformers'
`InformationRetrievalEvaluator`; its averages equal these means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

Run = Mapping[str, "Mapping[str, float] | Sequence[str]"]
Relevant = Mapping[str, "set[str] | Mapping[str, float]"]


class Interval(NamedTuple):
    """A mean and the ends of its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        """`f"{gain:+.3f}"` gives "+0.331, 95 % interval +0.300 to +0.362"."""
        mean, low, high = (format(value, spec or ".3f") for value in self)
        return f"{mean}, 95 % interval {low} to {high}"

    def verdict(self, one: str, other: str) -> str:
        """What the interval of a difference, `one` minus `other`, says: a sentence that names both."""
        if self.low > 0:
            return f"{one} is ahead of {other}, by more than the choice of queries explains."
        if self.high < 0:
            return f"{one} is behind {other}, by more than the choice of queries explains."
        one = one.replace("The ", "the ", 1)  # within a sentence
        return f"The interval holds 0: neither {one} nor {other} is shown to be ahead."


def rank(
    query_embeddings,
    page_embeddings,
    query_ids: Sequence[str],
    page_ids: Sequence[str],
    k: int | None = 100,
    dim: int | None = None,
    similarity: Literal["cosine", "dot"] = "cosine",
) -> dict[str, dict[str, float]]:
    """Score every page for every query and keep the best `k`.

    Args:
        query_embeddings: array or tensor of shape (queries, dimensions).
        page_embeddings: array or tensor of shape (pages, dimensions).
        k: pages kept per query; None keeps all.
        dim: compare only the first `dim` dimensions (Matryoshka).
        similarity: "cosine" scales each row to length 1 (after the cut); "dot" takes it as it is. For
        embeddings of length 1 the two are the same.

    Returns:
        query id -> {page id: score}, best first.

    Raises:
        ValueError: shapes and ids that do not fit together, ids given twice, embeddings that are not finite.

    Of fewer than `k` pages all are kept. An embedding of zeros has similarity 0 to everything.
    """
    if similarity not in ("cosine", "dot"):
        raise ValueError(f"There is no similarity {similarity!r}: cosine or dot.")
    scale = similarity == "cosine"
    queries, pages = fitting(query_embeddings, page_embeddings, query_ids, page_ids, dim, scale)
    return best_pages(queries @ pages.T, query_ids, page_ids, k)


def fitting(
    query_embeddings, page_embeddings, query_ids, page_ids, dim, scale: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Both as float32 rows, of length 1 if `scale`, checked against their ids."""
    queries, pages = (_rows(embeddings, dim, scale) for embeddings in (query_embeddings, page_embeddings))
    for name, rows, ids in (("query", queries, query_ids), ("page", pages, page_ids)):
        if len(rows) != len(ids):
            raise ValueError(f"There are {len(rows)} {name} embeddings and {len(ids)} {name} ids.")
        if twice := repeats(ids):
            raise ValueError(f"The {name} id {twice[0]!r} is there twice.")
        wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(wrong):
            raise ValueError(f"The embedding of {name} {ids[wrong[0]]!r} holds a value that is not finite.")
    if queries.shape[1] != pages.shape[1]:
        raise ValueError(f"Queries have {queries.shape[1]} dimensions and pages {pages.shape[1]}.")
    return queries, pages


def best_pages(matrix: np.ndarray, query_ids: Sequence[str], page_ids: Sequence[str], k: int | None) -> dict:
    """The `k` best pages of each row of a (queries, pages) matrix of scores, equal scores by page id."""
    alphabetical = np.argsort(np.argsort(np.asarray(page_ids, dtype=object), kind="stable"), kind="stable")
    result = {}
    for query_id, scores in zip(query_ids, matrix):
        best = np.lexsort((alphabetical, -scores))[:k]
        result[query_id] = {page_ids[index]: float(scores[index]) for index in best}
    return result


def ndcg(run: Run, relevant: Relevant, k: int = 10) -> dict[str, float]:
    """Normalised discounted cumulative gain at k, per query.

    DCG@k = sum over ranks i = 1..k of rel_i / log2(i + 1), with rel_i the page's grade, 1 where relevance is
    a set, and 0 for a page that is not relevant; NDCG@k = DCG@k / the DCG@k of an ideal order. Järvelin and
    Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002; the gain is the
    grade itself, as in trec_eval, and not 2^grade - 1.
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    values = {}
    for query_id, hits, pages in _hits(run, relevant, k):
        grades = pages if isinstance(pages, Mapping) else dict.fromkeys(pages, 1.0)
        order = ordered(run.get(query_id, ()))
        ideal = np.sort(np.fromiter(grades.values(), dtype=np.float64))[::-1][:k]
        gained = np.array([grades[order[place]] for place in hits], dtype=np.float64)
        values[query_id] = float((discount[hits] * gained).sum() / (discount[: len(ideal)] * ideal).sum())
    return values


def mrr(run: Run, relevant: Relevant, k: int = 10) -> dict[str, float]:
    """Reciprocal rank at k, per query: 1 / the rank of the first relevant page, 0 if it is beyond k.

    Voorhees, "The TREC-8 question answering track report", 1999.
    """
    return {query: 1.0 / (hits[0] + 1) if len(hits) else 0.0 for query, hits, _ in _hits(run, relevant, k)}


def recall(run: Run, relevant: Relevant, k: int = 10) -> dict[str, float]:
    """Recall at k, per query: the share of the relevant pages that are among the first k."""
    return {query_id: len(hits) / len(pages) for query_id, hits, pages in _hits(run, relevant, k)}


def map_(run: Run, relevant: Relevant, k: int = 100) -> dict[str, float]:
    """Average precision at k, per query; its mean over queries is MAP@k.

    AP@k = sum of the precision at the rank of each relevant page among the first k / min(k, their
    number). trec_eval's map_cut divides by the number alone; the two agree where that is at most k.
    """
    return {
        query_id: float((np.arange(1, len(hits) + 1) / (hits + 1)).sum() / min(k, len(pages)))
        for query_id, hits, pages in _hits(run, relevant, k)
    }


def first_rank(run: Run, relevant: Relevant) -> dict[str, int]:
    """Rank of the first relevant page, from 1, per query; one more than the run's pages where none is."""
    ranks = {}
    for query_id, pages in relevant.items():
        order = ordered(run.get(query_id, ()))
        ranks[query_id] = next((i for i, page in enumerate(order, 1) if page in pages), len(order) + 1)
    return ranks


def mean(values: Mapping[str, float]) -> float:
    """Return the mean of a per-query metric."""
    return float(np.mean(list(values.values())))


def bootstrap(values: Mapping[str, float] | Sequence[float], seed: int = 12, n: int = 10_000) -> Interval:
    """Mean of a per-query metric and its 95 % percentile interval, from `n` resamplings of the queries.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; by SciPy.

    Raises:
        ValueError: no values, or more than one for each query.
    """
    from scipy import stats

    sample = np.asarray(list(values.values()) if isinstance(values, Mapping) else values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError(f"The bootstrap takes one value per query, not an array of shape {sample.shape}.")
    average = float(sample.mean())
    if np.ptp(sample) == 0:  # also where there is one query: SciPy asks for two
        return Interval(average, average, average)
    how = {"n_resamples": n, "batch": 1000, "method": "percentile", "rng": seed}  # a batch bounds memory
    low, high = stats.bootstrap((sample,), np.mean, **how).confidence_interval
    return Interval(average, float(low), float(high))


def paired_bootstrap(
    a: Mapping[str, float], b: Mapping[str, float], seed: int = 12, n: int = 10_000
) -> Interval:
    """How much higher `b` is than `a` on the same queries: mean of b - a and its 95 % interval.

    Each resampling takes both systems' values for the queries drawn, so what makes one hard for both cancels.

    Raises:
        ValueError: the two do not cover the same queries.
    """
    return bootstrap(paired_differences(a, b), seed=seed, n=n)


def paired_differences(a: Mapping[str, float], b: Mapping[str, float]) -> np.ndarray:
    """b - a by query. Raises ValueError: the two do not cover the same queries."""
    if set(a) != set(b):
        odd = sorted(set(a) ^ set(b))
        raise ValueError(
            f"A paired comparison needs the same queries on both sides; {len(odd)} differ: {odd[0]!r}, ..."
        )
    return np.array([b[query_id] - a[query_id] for query_id in a], dtype=np.float64)


def ordered(scores: Mapping[str, float] | Sequence[str]) -> list[str]:
    """Return page ids, best first; equal scores by page id. A list is taken as ordered already."""
    if not isinstance(scores, Mapping):
        return list(scores)
    if any(score != score for score in scores.values()):
        raise ValueError("A score is NaN: the order of the pages is not defined.")
    return sorted(scores, key=lambda page_id: (-scores[page_id], page_id))


def repeats(ids: Sequence) -> list:
    """The ids that have been there before, in order."""
    seen: set = set()
    return [one for one in ids if one in seen or seen.add(one)]


def _hits(run: Run, relevant: Relevant, k: int):
    """Yield (query id, 0-based ranks below k of its relevant pages, its relevant pages)."""
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}.")
    unknown = [query_id for query_id in run if query_id not in relevant]
    if unknown:
        kinds = {isinstance(one, str) for one in (unknown[0], next(iter(relevant), ""))}
        fix = " Query ids are strings on both sides, or integers." if len(kinds) > 1 else ""
        raise ValueError(
            f"No relevant pages are given for {len(unknown)} queries of the run, such as {unknown[0]!r}.{fix}"
        )
    for query_id, pages in relevant.items():
        if isinstance(pages, str):
            raise ValueError(f"The relevant pages of query {query_id!r} are a set of ids, not {pages!r}.")
        if not pages:
            raise ValueError(f"The query {query_id!r} has no relevant page, so no metric is defined for it.")
        if isinstance(pages, Mapping) and min(pages.values()) <= 0:
            raise ValueError(f"A grade of the query {query_id!r} is not above 0: leave that page out.")
        order = ordered(run.get(query_id, ()))
        if twice := repeats(order):
            raise ValueError(f"The run of query {query_id!r} holds page {twice[0]!r} twice.")
        for page in pages:
            other = next((one for one in order if isinstance(one, str) != isinstance(page, str)), None)
            if other is not None:
                raise ValueError(
                    f"Page ids of the query {query_id!r} are {other!r} in the run and {page!r} among the "
                    "relevant ones: make both strings, or both integers."
                )
        order = order[:k]
        yield query_id, np.array([i for i, page_id in enumerate(order) if page_id in pages], dtype=int), pages


def _rows(embeddings, dim: int | None, scale: bool) -> np.ndarray:
    """Return a float32 matrix, rows of length 1 if `scale`; tensors come to the CPU, bfloat16 included."""
    if hasattr(embeddings, "detach"):
        embeddings = embeddings.detach().float().cpu().numpy()
    matrix = np.asarray(embeddings, dtype=np.float32)
    if matrix.ndim != 2:
        raise ValueError(f"Embeddings are a matrix of one row each, not an array of shape {matrix.shape}.")
    if dim is not None and not 0 < dim <= matrix.shape[1]:
        raise ValueError(f"dim must lie between 1 and {matrix.shape[1]}, not {dim}.")
    matrix = matrix[:, :dim]
    if not scale:
        return matrix
    with np.errstate(invalid="ignore"):  # a row that is not finite becomes NaN, and is named by who asked
        return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
