"""Rows of (query, page, hard negatives) and what a retriever is scored with, checked for their form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from helpers import copies
from helpers.evaluation import repeats
from helpers.inputs import plain_page, plain_query

if TYPE_CHECKING:
    import datasets

NEGATIVES = tuple(f"negative_{i}" for i in range(4))
COLUMNS = ("query", "image", *NEGATIVES)  # what a loss is given, in this order


def check_columns(dataset: datasets.Dataset, columns: Sequence[str] = COLUMNS, exact: bool = False) -> None:
    """Check that a data set has `columns` first and in this order: a loss reads them by place, not by name.

    Args:
        exact: also refuse any further column, such as the ids; a loss would take it for one more input.

    Raises:
        ValueError: the columns found, and the `select_columns` call that puts them right.
    """
    found = list(dataset.column_names)
    wanted = list(columns)
    fix = f".select_columns({wanted}) on it"
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(
            f"The data set has no column {missing[0]!r}: it has {found}. Rename its columns so that it has "
            f"{wanted}, then use {fix}."
        )
    if found[: len(wanted)] != wanted:
        raise ValueError(f"The data set's columns are in the wrong order: {found}. Use {fix}.")
    if exact and len(found) > len(wanted):
        raise ValueError(
            f"The data set has columns that a loss would take for inputs: {found[len(wanted) :]}. Use {fix}."
        )


def retrieval_task(
    dataset: datasets.Dataset, corpus: datasets.Dataset, max_pixels: int | None = None
) -> tuple[dict[str, str], dict[str, object], dict[str, set[str]]]:
    """(queries, corpus, relevant_docs) as `InformationRetrievalEvaluator` takes them, pages as RGB pictures.

    Args:
        dataset: rows with query_id, query and page_ids (or page_id).
        corpus: rows with page_id and image.
        max_pixels: shrink larger pictures to what the model's processor keeps; saves memory.

    Raises:
        ValueError: a query or page that is there twice or cannot be read, a query without a page, or with
        one that is not in the corpus.
    """
    if not len(dataset) or not len(corpus):
        raise ValueError(f"There are {len(dataset)} queries and {len(corpus)} pages: nothing to score.")
    rows = dataset.remove_columns([name for name in COLUMNS[1:] if name in dataset.column_names])
    for name, table in (("query", rows), ("query_id", rows), ("page_id", corpus), ("image", corpus)):
        if name not in table.column_names:
            raise ValueError(f"There is no column {name!r}: {table.column_names}. Rename the one that it is.")
    for name, ids in (("query_id", rows["query_id"][:]), ("page_id", corpus["page_id"][:])):
        if wrong := [one for one in ids if one is None or one != one] or repeats(ids):
            what = "there twice" if wrong[0] == wrong[0] and wrong[0] is not None else "no id"
            raise ValueError(
                f"The {name} {wrong[0]!r} is {what}: each query and page has one row, and an id."
            )
    asked = zip(rows["query_id"], rows["query"], strict=True)
    queries = {query: plain_query(words, f"The query {query!r}") for query, words in asked}
    answers = rows["page_ids"] if "page_ids" in rows.column_names else [[page] for page in rows["page_id"]]
    relevant, there = {}, set(corpus["page_id"])
    for query, pages in zip(rows["query_id"], answers, strict=True):
        if not isinstance(pages, (list, tuple, set)) or not pages or None in pages:
            wrong = f"page_ids {pages!r}" if pages else "no page that answers it"
            fix = "Give a list of page ids, or leave the query out."
            raise ValueError(f"The query {query!r} has {wrong}. {fix}")
        relevant[query] = set(pages)
        missing = next((page for page in sorted(pages, key=str) if page not in there), None)
        if missing is not None:
            other = {str(page): page for page in there}.get(str(missing))
            fix = f"There it is {other!r}: make both strings, or both integers."
            fix = "Take the corpus of the same split." if other is None else fix
            raise ValueError(f"Page {missing!r}, which answers query {query!r}, is not in the corpus. {fix}")
    shown = zip(corpus["page_id"], copies.undecoded(corpus, "image")["image"], strict=True)
    images = {page: plain_page(picture, max_pixels, f"The page {page!r}") for page, picture in shown}
    return queries, images, relevant
