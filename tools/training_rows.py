"""Training rows as a folder of PDF files without labels would give them: queries written, negatives mined.

What `tools/sweeps.py --table rows` trains on, beside the labelled rows that the course has.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.collection import Collection
from helpers.evaluation import rank
from tools import written
from tools.text_search import bm25

if TYPE_CHECKING:
    import datasets


def own_rows(
    collection: Collection,
    profile,
    model,
    writer: str | None,
    negatives: str | None,
    rows: int | None,
    keep: Path,
) -> tuple[datasets.Dataset, dict[str, float]]:
    """Rows of `train` as `Collection.split` has them, and figures about them.

    Args:
        writer: "text", the text layer, or "vlm", the profile's own model; None: labelled queries.
        negatives: "mined" or "mined, margin"; None: the collection's, none for written queries.
        rows: how many, drawn at random of what the filter keeps; None: all.
        keep: folder for what the vision-language model writes.
    """
    corpus, texts, figures = collection.corpus("train"), collection.texts("train"), {}
    ids = list(corpus["page_id"])
    labelled = [dict(query) for query in collection.queries if query["split"] == "train"]
    lines = labelled
    if writer == "text":
        lines = written.from_text(collection, "train", seed=profile.seed)
    elif writer == "vlm":
        path = profile.path(profile.vlm_model)
        write = written.local_model(path, profile.max_pixels, profile.min_pixels, profile.dtype)
        file, name = keep / "written-by-vlm.jsonl", profile.vlm_model
        lines = written.by_model(corpus, write, file, name, limit=round(1.5 * rows) if rows else None)
    if writer or negatives:
        pages = model.encode_document(corpus["image"][:], batch_size=32, show_progress_bar=False)

        def search(lines):
            asked = model.encode_query(
                [line["query"] for line in lines], batch_size=32, show_progress_bar=False
            )
            return rank(asked, pages, [line["query_id"] for line in lines], ids)

    if writer:
        found = {
            "bm25": bm25({line["query_id"]: line["query"] for line in lines}, texts),
            "base": search(lines),
        }
        kept, left_out = written.filtered(lines, found)
        figures |= {"written": len(lines), "kept": len(kept), "left_out": dict(left_out)}
        random.Random(profile.seed).shuffle(kept)
        lines = kept
    lines = lines[:rows]
    if negatives:
        answers = {line["query_id"]: set(line["page_ids"]) for line in lines}
        told = [line | {"page_ids": line["page_ids"][:1]} for line in lines]  # as a miner is told
        margin = 0.05 if negatives == "mined, margin" else 0.0
        written.hard_negatives(told, search(told), margin=margin)
        lines = [line for line in told if line["negative_ids"]]
        wrong = [line["negative_ids"][0] in answers[line["query_id"]] for line in lines]
        figures |= {"with_negatives": len(lines), "mined_that_are_right": sum(wrong) / len(wrong)}
    own = Collection(
        collection.documents, lines, collection.folder, collection.pictures, collection.max_pixels
    )
    return own.split("train"), figures
