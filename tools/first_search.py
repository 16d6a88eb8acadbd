"""README's picture: one query with the first pages of the base model and of the fine-tuned one.

    python tools/first_search.py     from notebook 04's last run, runs/small, into docs/first-search.webp

The query is one that fine-tuning moved far; the picture shows what a gain looks like, not how common it is.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.course.data import load_collection, load_queries  # noqa: E402
from helpers.course.profiles import get_profile, run_dir  # noqa: E402
from helpers.widgets import READABLE, SearchBox  # noqa: E402

QUERY = "eval-0228"
FILE = ROOT / "docs" / "first-search.webp"


def box() -> SearchBox:
    """Both models' searches, by the embeddings that notebook 04 has kept.

    Raises:
        FileNotFoundError: notebook 04 has not run.
    """
    profile = get_profile("small")
    file = run_dir(profile) / "04_train_embedding" / "embeddings.npz"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: make course NOTEBOOKS=04 makes it.")
    kept = np.load(file)
    number = list(kept["query_ids"]).index(QUERY)
    names = {"base model": "base", "fine-tuned": "finetuned"}
    scores = {name: kept[f"{key}_pages"] @ kept[f"{key}_queries"][number] for name, key in names.items()}
    query = next(query for query in load_queries("eval") if query["query_id"] == QUERY)
    collection = load_collection(profile)
    return SearchBox(
        {name: lambda query, size, own=own: own for name, own in scores.items()},
        list(map(str, kept["page_ids"])),
        lambda page: collection.page(page, READABLE),
        {query["query"]: set(query["page_ids"])},
        collection.source,
    )


def main() -> int:
    from PIL import Image

    try:
        made = box()
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    drawn = BytesIO()
    made.still(next(iter(made.examples))).savefig(drawn, format="png", dpi=110)
    Image.open(drawn).convert("RGB").save(FILE, "WEBP", quality=80, method=6)
    print(f"{FILE.relative_to(ROOT)}: {FILE.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
