"""Pages written into a store in a folder: by `PageStore.add`, and by the client's own calls.

    python tests/bench/bench_store.py         a minute

The client's local mode commits each page and waits for the disk; `PageStore` lets SQLite not wait, and writes
a document at a time, hidden until it is whole. The same vectors and payloads, in turns in one process. The
last line is a JSON object; `ratio` is the client's seconds over ours, medians.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from helpers.hardware import device_name  # noqa: E402
from helpers.search import PageStore, connect  # noqa: E402


def by_client(folder: Path, rows: list[dict], vectors: np.ndarray) -> int:
    """Write all pages in one upsert, as the client's documentation does; the number that is found again."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(folder))
    size = models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE)
    client.create_collection("pages", vectors_config=size)
    points = [
        models.PointStruct(id=number, vector=vector.tolist(), payload=row)
        for number, (row, vector) in enumerate(zip(rows, vectors))
    ]
    client.upsert("pages", points)
    found = client.count("pages").count
    client.close()
    return found


def by_store(folder: Path, rows: list[dict], vectors: np.ndarray) -> int:
    """The same by `PageStore.add`."""
    client = connect(path=folder)
    made_by = {"weights": "", "prompts": {}, "max_pixels": 1, "dimensions": vectors.shape[1]}
    store = PageStore.build(client, made_by)
    store.add(rows, vectors)
    found = len(store)
    client.close()
    return found


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--pages", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    vectors = np.random.default_rng(0).standard_normal((options.pages, 256), dtype=np.float32)
    rows = [
        {"page_id": f"d{page // 15}-p{page % 15}", "document_id": f"d{page // 15}", "number": page % 15 + 1}
        for page in range(options.pages)
    ]
    seconds: dict[str, list[float]] = {"client": [], "store": []}
    for _ in range(options.rounds):
        for name, write in (("client", by_client), ("store", by_store)):
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                assert write(Path(folder) / "store", rows, vectors) == options.pages
                seconds[name].append(time.perf_counter() - started)
    middle = {name: median(times) for name, times in seconds.items()}
    for name, value in middle.items():
        print(f"{name:7} {value:6.2f} s for {options.pages:,} pages")
    ratio = round(middle["client"] / middle["store"], 2)
    print(json.dumps({"ratio": ratio, "pages": options.pages, "seconds": middle, "device": device_name()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
