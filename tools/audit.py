"""An audit of a retrieval data set: pages that are there twice, leaks between its splits, missing marks.

Each function returns findings and changes nothing: whether a finding is a fault, a person decides. `checks`
stops a training run for the worst of them; this looks at everything and says where.

Data sets have these columns: rows `query` and `page_id`, where known `query_id`, `page_ids`,
`negative_ids` and the page pictures; a corpus `page_id` and `image`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from helpers import copies, pages
from helpers.evaluation import repeats

if TYPE_CHECKING:
    import datasets


class Finding(NamedTuple):
    """One thing to look at: what kind, of which item, beside which other, and the evidence."""

    kind: str
    item: str
    other: str
    detail: str


def duplicate_pages(corpus: datasets.Dataset) -> list[Finding]:
    """Pages that are there more than once, exactly or as a scaled or compressed copy."""
    ids, keys = list(corpus["page_id"]), copies.page_keys(corpus, "image")
    first: dict[str, int] = {}
    found = [Finding("duplicate id", one, one, "two rows have it") for one in repeats(ids)]
    for row, key in enumerate(keys):
        if first.setdefault(key, row) != row:
            found.append(Finding("duplicate page", ids[first[key]], ids[row], "the same file"))
    for same in copies.same_pages(corpus, corpus):
        found.append(Finding("duplicate page", ids[same.row], ids[same.other_row], str(same)))
    return found


def leaks(
    train: datasets.Dataset,
    rows: datasets.Dataset,
    corpus: datasets.Dataset,
    columns: Sequence[str] = ("image",),
) -> list[Finding]:
    """What a model could have seen in training of what it is scored with: queries, documents, pages.

    Args:
        train: training rows; pages in `columns`.
        rows, corpus: queries and pages that a model is scored with.
    """
    found = []
    texts = {}
    for query, name in zip(train["query"], _names(train)):
        texts.setdefault(normalized(query), name)
    for query, name in zip(rows["query"], _names(rows)):
        if normalized(query) in texts:
            found.append(Finding("leaked query", name, texts[normalized(query)], query))
    if "page_id" in train.column_names:
        trained = set(train["page_id"])
        if "negative_ids" in train.column_names:
            trained = trained.union(*train["negative_ids"])
        documents = {}
        for page in sorted(trained):
            documents.setdefault(_document(page), page)
        for page in corpus["page_id"]:
            if page in trained:
                found.append(Finding("leaked page", page, page, "the same id"))
            elif _document(page) in documents:
                found.append(Finding("leaked document", page, documents[_document(page)], _document(page)))
    seen: set[int] = set()
    for same in copies.same_pages(corpus, train, columns):
        if same.row not in seen:
            seen.add(same.row)
            other = f"row {same.other_row}, {same.other_column}"
            found.append(Finding("leaked page", corpus["page_id"][same.row], other, str(same)))
    return found


def unmarked_answers(
    queries: Mapping[str, str], relevant: Mapping[str, set[str]], duplicates: Sequence[Finding]
) -> list[Finding]:
    """Pages that answer a query and are not marked as relevant for it: false negatives of the evaluation.

    Two kinds that need no reading: a copy of a relevant page, and a query that is there twice with other
    relevant pages. For the rest, read what a good system ranks above the marked page: `to_read`.

    Args:
        duplicates: what `duplicate_pages` found in the corpus.
    """
    twins: dict[str, set[str]] = {}
    for one in duplicates:
        twins.setdefault(one.item, set()).add(one.other)
        twins.setdefault(one.other, set()).add(one.item)
    found = []
    for query, marked in relevant.items():
        for page in sorted(marked):
            for twin in sorted(twins.get(page, set()) - set(marked)):
                found.append(Finding("unmarked answer", query, twin, f"a copy of {page}, which is marked"))
    asked: dict[str, str] = {}
    for query, text in queries.items():
        other = asked.setdefault(normalized(text), query)
        if other != query:
            same = set(relevant[other]) == set(relevant[query])
            kind = "repeated query" if same else "unmarked answer"
            found.append(Finding(kind, query, other, f"the same words: {text}"))
    return found


def to_read(
    runs: Mapping[str, Mapping[str, Mapping[str, float]]], relevant: Mapping[str, set[str]]
) -> list[Finding]:
    """Unmarked pages that every one of several systems ranks above all marked ones: candidates for reading,
    those that all rank high first.

    Systems that work differently, such as a text search and a picture model, seldom agree on a wrong page.

    Args:
        runs: system -> query -> {page: score}.
    """
    from helpers.evaluation import ordered

    found = []
    for query, marked in relevant.items():
        above = []
        for run in runs.values():
            order = ordered(run.get(query, {}))
            place = next((rank for rank, page in enumerate(order) if page in marked), len(order))
            above.append(order[:place])
        agreed = set.intersection(*map(set, above)) if above else set()
        for page in agreed:
            ranks = [order.index(page) + 1 for order in above]
            places = ", ".join(f"{name} {rank}" for name, rank in zip(runs, ranks))
            found.append((sum(ranks), Finding("to read", query, page, f"rank: {places}")))
    return [finding for _, finding in sorted(found)]


def normalized(text: str) -> str:
    """A query's letters and digits, in lower case, one space between words."""
    return " ".join(re.findall(r"\w+", str(text).casefold()))


def _document(page_id: str) -> str:
    """The part of a page id before the page number, where there is one."""
    try:
        return pages.split_page_id(page_id)[0]
    except ValueError:  # an id of another form: every page is a document of its own
        return page_id


def _names(rows: datasets.Dataset) -> list[str]:
    if "query_id" in rows.column_names:
        return list(rows["query_id"])
    return [f"row {row}" for row in range(len(rows))]
