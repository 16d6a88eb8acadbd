"""Pages ranked by vectors that are stored in fewer bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from helpers.evaluation import best_pages, fitting

Precision = Literal["float32", "int8", "binary", "binary, rescored"]


def extremes(rows: np.ndarray) -> np.ndarray:
    """The least and the greatest value of each dimension, (2, dimensions): what "int8" divides in steps."""
    return np.vstack([rows.min(axis=0), rows.max(axis=0)])


def middles(codes: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """What the codes of "int8" stand for, the middles of their steps, in float32."""
    low, high = ranges
    return low + (codes.astype(np.float32) + 128.5) * (high - low) / 255


def rank_stored(
    query_embeddings,
    page_embeddings,
    query_ids: Sequence[str],
    page_ids: Sequence[str],
    precision: Precision,
    k: int = 100,
    dim: int | None = None,
    oversample: int = 4,
) -> dict[str, dict[str, float]]:
    """Like `rank`, with the pages stored in fewer bits, as the library's `quantize_embeddings` stores them.

    "int8" keeps a byte a number, one of 256 equal steps between a dimension's extremes on these pages;
    queries stay in float32. "binary" keeps signs, of queries too; the score is the number of equal bits.
    "binary, rescored" orders the best `oversample` * `k` of those by the float32 query against the signs
    (Yamada et al., "Efficient passage retrieval with hashing for open-domain question answering", ACL 2021).

    Raises:
        ValueError: as `rank`; and a precision of another name.
    """
    from sentence_transformers.util.quantization import quantize_embeddings

    queries, pages = fitting(query_embeddings, page_embeddings, query_ids, page_ids, dim)
    if precision == "float32":
        return best_pages(queries @ pages.T, query_ids, page_ids, k)
    if precision == "int8":
        ranges = extremes(pages)
        codes = quantize_embeddings(pages, "int8", ranges=ranges)
        return best_pages(queries @ middles(codes, ranges).T, query_ids, page_ids, k)
    if precision not in ("binary", "binary, rescored"):
        raise ValueError(f"There is no precision {precision!r}: float32, int8, binary, or binary, rescored.")
    size = pages.shape[1]
    bits = [
        np.unpackbits(quantize_embeddings(rows, "ubinary"), axis=1)[:, :size] for rows in (queries, pages)
    ]
    query_signs, page_signs = (2.0 * part.astype(np.float32) - 1 for part in bits)
    equal_bits = (query_signs @ page_signs.T + size) / 2
    if precision == "binary":
        return best_pages(equal_bits, query_ids, page_ids, k)
    first = best_pages(equal_bits, query_ids, page_ids, oversample * k)
    place = {page_id: index for index, page_id in enumerate(page_ids)}
    result = {}
    for query_id, query in zip(query_ids, queries):
        candidates = list(first[query_id])
        scores = query @ page_signs[[place[page_id] for page_id in candidates]].T
        result |= best_pages(scores[None], [query_id], candidates, k)
    return result
