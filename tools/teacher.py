"""Scores of a reranker for the retriever's candidates, which another model is trained to imitate.

    python tools/teacher.py                  1,200 queries of train into data/teacher/small.jsonl
    python tools/teacher.py --queries 200 --file runs/teacher.jsonl

The models are those that notebooks 04 and 06 have saved in `runs/small`. The first queries of train, which
the reranker has learned from, are left out. A file is a JSON object a line: first what made it and the page
ids, then a list for each query, [query id, page numbers, similarities, scores]. Lines are only ever added, so
an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers import evaluation  # noqa: E402
from helpers.course.profiles import get_profile, run_dir  # noqa: E402
from tools.fast_vision import fast_vision  # noqa: E402
from tools.fine_tune import digits_of  # noqa: E402
from tools.own_process import told  # noqa: E402

if TYPE_CHECKING:
    import datasets

FILE = ROOT / "data" / "teacher" / "small.jsonl"
_TOGETHER = 16  # queries that are scored, and written, at once


class Teacher(NamedTuple):
    """What a file of scores holds."""

    made_with: dict  # as `made_with` gives it
    similarities: dict[str, dict[str, float]]  # query id -> {page id: the retriever's similarity}
    scores: dict[str, dict[str, float]]  # query id -> {page id: the reranker's score}


class Row(NamedTuple):
    """A list to train on: the right page first, then wrong ones."""

    query_id: str
    page_ids: list[str]
    similarities: list[float]
    scores: list[float]
    sums: list[float]  # weight * similarity + score


def digits(model: str | Path) -> str:
    """Ten hexadecimal digits that change with a model's weights; of a model on the hub, its name."""
    files = sorted(Path(model).glob("*.safetensors"))
    return digits_of(files) if files else str(model)


def split_digits(rows: datasets.Dataset) -> str:
    """Ten digits that change with the queries of a split, their order, or the pages that answer them."""
    held = [list(rows[name]) for name in ("query_id", "query", "page_ids")]
    return hashlib.blake2b(json.dumps(held).encode(), digest_size=5).hexdigest()


def made_with(retriever, reranker, rows: datasets.Dataset, first: int, profile) -> dict:
    """What scores hang on, to be kept beside them.

    Args:
        rows: all of train. first: so many rows are left out.
    """
    return {
        "retriever": digits(retriever),
        "reranker": digits(reranker),
        "split": split_digits(rows),
        "first": first,
        "candidates": profile.candidates,
        "max_pixels": profile.max_pixels,
    }


def candidate_pages(collection, rows: datasets.Dataset) -> tuple[list[str], datasets.Dataset]:
    """The pages that rows of train name, each once, as ids and pictures (column `image`); every page of train
    where rows name no wrong ones.
    """
    import datasets

    from helpers.dataset import NEGATIVES

    wrong = [name for name in NEGATIVES if name in rows.column_names]
    if not wrong or "negative_ids" not in rows.column_names:
        pages = collection.corpus("train")
        return pages["page_id"][:], pages.select_columns(["image"])
    ids = [*rows["page_id"], *(ids[i] for i in range(len(wrong)) for ids in rows["negative_ids"])]
    columns = [rows.select_columns([name]).rename_columns({name: "image"} if name != "image" else {})
               for name in ("image", *wrong)]  # fmt: skip
    place: dict[str, int] = {}
    for number, page in enumerate(ids):
        place.setdefault(page, number)
    return list(place), datasets.concatenate_datasets(columns).select(list(place.values()))


def retrieve(model, queries: Mapping[str, str], ids: Sequence[str], pages: datasets.Dataset, k: int) -> dict:
    """Query id -> {page id: similarity}, the retriever's `k` best pages, best first."""
    import numpy as np
    from tqdm.auto import tqdm

    asked = model.encode_query(list(queries.values()), batch_size=32, show_progress_bar=False)
    parts = [
        model.encode_document(pages[start : start + 256]["image"], batch_size=16, show_progress_bar=False)
        for start in tqdm(range(0, len(ids), 256), desc="Embedding pages")
    ]
    return evaluation.rank(asked, np.vstack(parts), list(queries), ids, k=k)


def write(
    file: Path,
    made_with: dict,
    queries: Mapping[str, str],
    found: Mapping[str, Mapping[str, float]],
    predict: Callable[[list[tuple[str, str]]], Sequence[float]],
) -> Teacher:
    """Score the candidates of queries into a file, those that it lacks, and read it.

    Args:
        queries: query id -> text. found: query id -> {page id: similarity}.
        predict: scores of pairs (text of a query, page id).

    Raises:
        ValueError: a file that something else made; see `read`.
    """
    from tqdm.auto import tqdm

    pages = sorted({page for order in found.values() for page in order})
    if file.is_file():
        text = file.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]  # an interruption may have cut the last line
        if whole != text:
            file.write_text(whole, encoding="utf-8")
        if not whole:
            file.unlink()
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"made_with": made_with, "pages": pages}) + "\n", encoding="utf-8")
    done = read(file, made_with)
    known = json.loads(file.open(encoding="utf-8").readline())["pages"]
    if not set(pages) <= set(known):
        raise ValueError(f"{file} was begun with other pages. Move or delete it to score again.")
    number = {page: place for place, page in enumerate(known)}
    left = [query for query in queries if query not in done.scores]
    with file.open("a", encoding="utf-8") as opened, tqdm(total=len(left), desc="Scoring queries") as bar:
        for start in range(0, len(left), _TOGETHER):
            part = left[start : start + _TOGETHER]
            values = iter(predict([(queries[query], page) for query in part for page in found[query]]))
            for query in part:
                order = found[query]
                row = [query, [number[page] for page in order], [round(float(v), 4) for v in order.values()]]
                row.append([round(float(next(values)), 3) for _ in order])
                opened.write(json.dumps(row, separators=(",", ":")) + "\n")
            opened.flush()
            bar.update(len(part))
    return read(file, made_with)


def read(file: Path, made_with: Mapping | None = None) -> Teacher:
    """The scores of a file.

    Args:
        made_with: what has to have made it, or a part of that; None: whatever did.

    Raises:
        ValueError: something else made it, or it is not whole. FileNotFoundError: there is none.
    """
    fix = f"Move or delete {file} to score again (`python tools/teacher.py --file {file}`)."
    with file.open(encoding="utf-8") as opened:
        try:
            header, *rows = [json.loads(line) for line in opened]
            pages, made = header["pages"], header["made_with"]
            ordered = [(query, [pages[place] for place in places], near, scores)
                       for query, places, near, scores in rows]  # fmt: skip
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{file} does not hold a teacher's scores ({error!r}). {fix}") from error
    odd = [name for name, value in (made_with or {}).items() if made.get(name) != value]
    if odd:
        raise ValueError(
            f"{file} was made with {odd[0]} {made.get(odd[0])}, and now it is {made_with[odd[0]]}: another "
            f"model or other data (all that made it: {made}). {fix}"
        )
    uneven = [query for query, order, near, scores in ordered if not len(order) == len(near) == len(scores)]
    if uneven:
        raise ValueError(f"{file}: the lists of query {uneven[0]} differ in length. {fix}")
    similarities = {query: dict(zip(order, near)) for query, order, near, _ in ordered}
    given = {query: dict(zip(order, scores)) for query, order, _, scores in ordered}
    return Teacher(made, similarities, given)


def lists(
    teacher: Teacher,
    relevant: Mapping[str, set[str]],
    weight: float,
    wrong: int = 3,
    limit: int | None = None,
    seed: int = 12,
) -> tuple[list[Row], int]:
    """Lists to train on, and how many queries were left out: the right page is not among their candidates, or
    there are too few wrong ones.

    Args:
        relevant: query id -> pages that answer it. weight: of the similarity in a sum.
        wrong: wrong pages a list, drawn from the candidates. limit: lists at most.
    """
    import numpy as np

    generator, found, left_out = np.random.default_rng(seed), [], 0
    for query, near in teacher.similarities.items():
        if limit is not None and len(found) == limit:
            break
        right = [page for page in near if page in relevant.get(query, ())]
        others = [page for page in near if page not in relevant.get(query, ())]
        drawn = sorted(generator.permutation(len(others))[:wrong])
        if not right or len(others) < wrong:
            left_out += 1
            continue
        pages = [right[0], *(others[place] for place in drawn)]
        scores = [teacher.scores[query][page] for page in pages]
        similar = [near[page] for page in pages]
        sums = [weight * one + other for one, other in zip(similar, scores)]
        found.append(Row(query, pages, similar, scores, sums))
    return found, left_out


def load_reranker(path: str | Path, profile):
    """The reranker of a folder or of the hub: raw scores, its vision encoder run once a page where the
    profile freezes it.
    """
    import torch
    from sentence_transformers import CrossEncoder

    from helpers import hardware
    from tools.visual_tokens import keep_visual_tokens

    dtype = "float32" if hardware.device() == "cpu" else profile.dtype
    model = CrossEncoder(
        str(path),
        model_kwargs={"dtype": dtype, "attn_implementation": hardware.training_attention(dtype)},
        processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
        activation_fn=torch.nn.Identity(),
        device=hardware.device(),
    )
    fast_vision(model)
    if profile.reranker_freeze_vision:
        next(part for name, part in model.named_modules() if name.endswith(".visual")).requires_grad_(False)
        keep_visual_tokens(model)
    return model


def predictor(model, ids: Sequence[str], pages: datasets.Dataset) -> Callable:
    """`predict` of `write` by a CrossEncoder over these pages."""
    number = {page: place for place, page in enumerate(ids)}

    def predict(pairs):
        shown = [(text, pages[number[page]]["image"]) for text, page in pairs]
        return model.predict(shown, batch_size=32, show_progress_bar=False)

    return predict


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--queries", type=int, default=1200)
    parser.add_argument("--file", type=Path, default=FILE)
    options = parser.parse_args(arguments)
    from sentence_transformers import SentenceTransformer

    from helpers import hardware
    from helpers.course.data import load_collection

    profile = get_profile("small")
    retriever = run_dir(profile) / "04_train_embedding" / "final"
    reranker = run_dir(profile) / "06_train_reranker" / "feature_extraction"
    for folder, notebook in ((retriever, "04"), (reranker, "06")):
        if not folder.is_dir():
            print(f"No model in {folder}: run `make course NOTEBOOKS={notebook}` first.", file=sys.stderr)
            return 2
    collection = load_collection(profile)
    rows, first = collection.split("train"), profile.reranker_train_queries
    asked = rows.select(range(first, min(len(rows), first + options.queries)))
    pages = collection.corpus("train")
    ids, queries = pages["page_id"][:], dict(zip(asked["query_id"], asked["query"]))
    model = SentenceTransformer(
        str(retriever),
        model_kwargs={"dtype": "float32"},
        processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
        device=hardware.device(),
    )
    fast_vision(model)
    try:
        found = retrieve(model, queries, ids, pages, profile.candidates)
        scorer = predictor(load_reranker(reranker, profile), ids, pages)
        made = made_with(retriever, reranker, rows, first, profile)
        teacher = write(options.file, made, queries, found, scorer)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(teacher.scores):,} queries in {options.file}, {options.file.stat().st_size / 1000:,.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
