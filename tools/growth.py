"""How a search grows: exact, by a graph (HNSW), and by lists of coarse codes (IVF-PQ), up to a million pages.

    python tools/growth.py                     10 thousand, 100 thousand, a million; half an hour on a core
    python tools/growth.py --counts 10000      fewer

From the embeddings that notebook 04 keeps, runs/small, into data/measurements/growth.json. Nobody has a
million pages at hand: vectors are drawn around the evaluation pages, as near as pages are to one another.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.course import ledger  # noqa: E402
from helpers.course.profiles import get_profile, run_dir  # noqa: E402
from helpers.files import write_json  # noqa: E402
from helpers.hardware import device_name  # noqa: E402

if TYPE_CHECKING:
    import faiss

FILE = ROOT / "data" / "measurements" / "growth.json"
Kind = Literal["exact", "HNSW", "IVF-PQ, rescored"]
WANTED = 0.97  # recall@10 that an index is set to, on half of the queries
_LINKS = 16  # of a vector in the graph
_BUILT_WITH = 100  # candidates looked at for the links of one vector


def around(pages: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """`count` vectors of length 1 around those of `pages`, (count, dimensions), float32: each a page's vector
    that is turned as far as the median page is from its nearest neighbour, in a direction drawn by chance.

    Args:
        pages: (pages, dimensions), at least two.
    """
    unit = pages.astype(np.float32) / np.linalg.norm(pages, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -1)
    away = np.tan(np.arccos(np.clip(np.median(cosines.max(axis=1)), -1, 1)))
    draw = np.random.default_rng(seed)
    made = np.empty((count, unit.shape[1]), dtype=np.float32)
    for start in range(0, count, 100_000):
        part = made[start : start + 100_000]
        noise = draw.standard_normal(part.shape, dtype=np.float32)
        chosen = unit[draw.integers(0, len(unit), len(part))]
        noise -= (noise * chosen).sum(axis=1, keepdims=True) * chosen  # at right angles to the page
        part[:] = chosen + away * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return made


def build(kind: Kind, vectors: np.ndarray) -> faiss.Index:
    """An index of unit `vectors`, (count, dimensions), by cosine.

    "HNSW" walks a graph of near neighbours (Malkov and Yashunin, "Efficient and robust approximate nearest
    neighbor search using Hierarchical Navigable Small World graphs", 2018). "IVF-PQ, rescored" looks into the
    lists that are nearest, compares codes of a byte for 8 numbers (Jegou et al., "Product quantization for
    nearest neighbor search", 2011), and orders the best by a byte a number.
    """
    import faiss

    size = vectors.shape[1]
    if kind == "exact":
        index = faiss.IndexFlatIP(size)
    elif kind == "HNSW":
        index = faiss.IndexHNSWFlat(size, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BUILT_WITH
    else:
        lists = int(min(4 * np.sqrt(len(vectors)), len(vectors) / 39))  # fewer vectors a list: faiss warns
        index = faiss.index_factory(size, f"IVF{lists},PQ{size // 8},Refine(SQ8)", faiss.METRIC_INNER_PRODUCT)
        index.k_factor = 10
        clusters = faiss.extract_index_ivf(index).cp
        clusters.niter, clusters.max_points_per_centroid = 10, 64
    index.train(vectors)
    index.add(vectors)
    return index


def set_effort(index: faiss.Index, effort: int) -> None:
    """Let a search look at `effort` nodes of the graph, or lists; an exact one looks at all vectors."""
    import faiss

    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efSearch = effort
    elif not isinstance(index, faiss.IndexFlat):
        faiss.extract_index_ivf(index).nprobe = effort


def recall(index: faiss.Index, queries: np.ndarray, truth: np.ndarray) -> float:
    """The share of the true best pages, (queries, k), that the index finds among as many."""
    found = index.search(queries, truth.shape[1])[1]
    return float(np.mean([len(set(one) & set(other)) / len(other) for one, other in zip(found, truth)]))


def p50_ms(index: faiss.Index, queries: np.ndarray, k: int = 10) -> float:
    """The median time of one query, in milliseconds."""
    took = []
    for query in queries:
        started = time.perf_counter()
        index.search(query[None], k)
        took.append(1000 * (time.perf_counter() - started))
    return float(np.median(took))


def measure(
    pages: np.ndarray,
    queries: np.ndarray,
    counts: tuple[int, ...],
    kinds: tuple[Kind, ...] = ("exact", "HNSW", "IVF-PQ, rescored"),
    seed: int = 0,
) -> Iterator[dict]:
    """For each number of vectors and each kind of index, on one core: the figures of a row of the table.

    The effort is the smallest power of two with a recall@10 of `WANTED` on the first half of the queries; the
    recall that is told is that of the second half.

    Args:
        pages: (pages, dimensions). queries: (queries, dimensions), at least two.
    """
    import faiss

    faiss.omp_set_num_threads(1)
    asked = queries.astype(np.float32) / np.linalg.norm(queries, axis=1, keepdims=True)
    half = len(asked) // 2
    for count in counts:
        vectors, truth = around(pages, count, seed), None
        for kind in kinds:
            started = time.perf_counter()
            index = build(kind, vectors)
            seconds = time.perf_counter() - started
            if truth is None:
                exact = index if kind == "exact" else build("exact", vectors)
                truth = exact.search(asked, 10)[1]
            effort = 8
            set_effort(index, effort)
            while effort < 4096 and recall(index, asked[:half], truth[:half]) < WANTED:
                effort *= 2
                set_effort(index, effort)
            yield {
                "kind": kind,
                "vectors": count,
                "p50_ms": p50_ms(index, asked[half:]),
                "recall@10": recall(index, asked[half:], truth[half:]),
                "megabytes": faiss.serialize_index(index).nbytes / 1e6,
                "build_seconds": seconds,
                "effort": None if kind == "exact" else effort,
            }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--file", type=Path, default=FILE)
    given = parser.parse_args(arguments)
    kept = run_dir(get_profile("small")) / "04_train_embedding" / "embeddings.npz"
    if not kept.is_file():
        print(f"{kept} is missing: make course NOTEBOOKS=04 makes it.", file=sys.stderr)
        return 2
    with np.load(kept) as arrays:
        pages, queries = arrays["finetuned_pages"], arrays["finetuned_queries"]
    rows = []
    for row in measure(pages, queries, tuple(given.counts)):
        rows.append(row)
        print(f"{row['vectors']:>9,} {row['kind']:18} {row['p50_ms']:8.2f} ms, recall@10 "
              f"{row['recall@10']:.3f}, {row['megabytes']:8.1f} MB, built in {row['build_seconds']:.0f} s",
              flush=True)  # fmt: skip
    made = {"device": f"{device_name()}, one thread", "versions": ledger.versions() | _faiss(),
            "command": "python tools/growth.py", "dimensions": int(pages.shape[1]), "rows": rows}  # fmt: skip
    write_json(given.file, made)
    return 0


def _faiss() -> dict[str, str]:
    from importlib.metadata import version

    return {"faiss-cpu": version("faiss-cpu")}


if __name__ == "__main__":
    sys.exit(main())
