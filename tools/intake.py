"""From a folder of PDF files and a file of questions to the lines of a collection: what is there, what cannot
be used and why, whether a model could read it, and which documents to train on.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import math
import random
import re
import shutil
import statistics
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from helpers import copies, pages
from helpers.collection import SPLITS, document_of, in_processes
from helpers.course import data
from tools import audit

if TYPE_CHECKING:
    import datasets

_MOST_PAGES = 1000  # that one range may name: a slip of the keyboard names millions
LEGIBLE = 6.0  # pixels: what 7-point type has on an A4 page of 600 x 600 pixels, the article's limit


class Stock(NamedTuple):
    """What a folder of PDF files holds."""

    documents: list[dict]  # as in documents.jsonl; pages also have words and type: its size, in points
    left_out: list[tuple[str, str]]  # file, reason

    def __str__(self) -> str:
        every = [page for document in self.documents for page in document["pages"]]
        scans = sum(page["scanned"] for page in every)
        return (
            f"{len(self.documents)} documents, {len(every):,} pages, {scans:,} of them without a text layer; "
            f"{len(self.left_out)} files left out"
        )


def read_pdfs(folder: str | Path) -> Stock:
    """Look through every PDF file in a folder and its subfolders; what cannot be used is listed, with why.

    Raises:
        FileNotFoundError: no such folder, or no PDF file in it. ValueError: none of them can be used.
    """
    root = Path(folder).expanduser()
    files = sorted(file for file in root.rglob("*") if file.suffix.lower() == ".pdf" and file.is_file())
    if not files:
        what = "has no PDF file" if root.is_dir() else "is no folder"
        raise FileNotFoundError(f"{root} {what}. Give a folder with PDF files in it, or in its subfolders.")
    documents, left_out, first, taken = [], [], {}, set()
    looked_at = in_processes(_look_through, [(file,) for file in files], "Taking stock")
    for file, (content, found) in zip(files, looked_at):
        name = str(file.relative_to(root))
        if isinstance(found, str):
            left_out.append((name, found.replace(str(file), "it")))
        elif first.setdefault(content, name) != name:
            left_out.append((name, f"it is the same file as {first[content]}"))
        else:
            document_id = _new_id(file.relative_to(root), taken)
            documents.append({"document_id": document_id, "file": str(file.resolve()), "name": name} | found)
    if not documents:
        raise ValueError(f"None of the {len(files)} PDF files in {root} can be used: {left_out[0][1]}")
    return Stock(documents, left_out)


def split_by_document(
    documents: Sequence[dict],
    queries: Sequence[dict],
    together: Iterable[tuple[str, str]] = (),
    shares: Sequence[float] = (0.6, 0.15, 0.25),
    seed: int = 12,
) -> Counter:
    """Give every document and query its `split`: train, dev or eval, so that these have about `shares` of the
    queries, and documents without queries fall in the same shares. Returns the queries of each split.

    Args:
        together: pairs of page ids, such as copies: their documents stay on one side.

    Raises:
        ValueError: queries of fewer than three groups of documents, so that one split would have none.
    """
    group = {document["document_id"]: document["document_id"] for document in documents}

    def root(document: str) -> str:
        while group[document] != document:
            document = group[document]
        return document

    pairs = [(pages.split_page_id(one)[0], pages.split_page_id(other)[0]) for one, other in together]
    pairs += [
        (document_of(query), pages.split_page_id(page)[0]) for query in queries for page in query["page_ids"]
    ]
    for one, other in pairs:
        group[root(one)] = root(other)
    asked = Counter(root(document_of(query)) for query in queries)
    if len(asked) < len(SPLITS):
        raise ValueError(
            f"All {len(queries)} queries are about {len(asked)} document(s), copies counted as one, and a "
            "model must be scored on documents that it has not trained on: three are the least. Add PDF "
            "files of other documents."
        )
    members = Counter(map(root, group))
    order = sorted(members)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda one: -asked[one])
    place, have, silent, wanted = {}, Counter(), Counter(), dict(zip(SPLITS, shares))
    for one in order:
        count, size = (have, asked[one]) if asked[one] else (silent, members[one])
        # the split that is furthest behind its share; at first each gets one, the largest train and eval
        name = min(wanted, key=lambda name: (count[name] > 0, count[name] / wanted[name], -wanted[name]))
        place[one], count[name] = name, count[name] + size
    for document in documents:
        document["split"] = place[root(document["document_id"])]
    for query in queries:
        query["split"] = place[root(document_of(query))]
    return have


def sample_of_pdfs(folder: Path, organizations: int = 30) -> Path:
    """A folder with the PDF files of the first organizations of `train`, as if they were a reader's own."""
    documents = data.load_documents("train")
    names = list(dict.fromkeys(one["organization"] for one in documents))[:organizations]
    folder.mkdir(parents=True, exist_ok=True)
    for document in documents:
        if document["organization"] in names:
            shutil.copy2(data.pdf_path(document), folder)
    return folder


def read_queries(file: str | Path, documents: Sequence[dict]) -> list[dict]:
    """Questions about the documents that `read_pdfs` found, as lines of queries.jsonl.

    Args:
        file: JSONL, CSV or TSV with `query`, `pdf` (a file name, with its folder where two have the same) and
            `pages` (numbers from 1 that answer it, the best first: a list, or "3", or "3 7"); `query_id` may
            be there.

    Raises:
        FileNotFoundError: no such file. ValueError: a line that cannot be meant, with its number.
    """
    file = Path(file).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}. Give the questions' path.")
    by_name: dict[str, list[dict]] = {}
    for document in documents:
        for name in {document["name"], Path(document["name"]).name}:
            by_name.setdefault(name, []).append(document)
    queries: dict[str, dict] = {}
    ids: set[str] = set()
    for number, row in _table(file):
        try:
            query = _query(row, by_name, number)
            if query["query_id"] in ids:
                raise ValueError(f"the query_id {query['query_id']!r} is there twice")
        except ValueError as error:
            raise ValueError(f"Line {number} of {file}: {error}.") from error
        ids.add(query["query_id"])
        if known := queries.get(query["query"]):  # asked twice: both lines' pages answer it
            known["page_ids"] = list(dict.fromkeys(known["page_ids"] + query["page_ids"]))
        else:
            queries[query["query"]] = query
    if not queries:
        raise ValueError(f"{file} holds no questions. Write one a line: query, pdf, pages.")
    return list(queries.values())


def _table(file: Path) -> list[tuple[int, dict]]:
    """The rows of a JSONL, CSV or TSV file, with the number of the line that each begins at."""
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix.lower() in (".csv", ".tsv"):
        first = text.split("\n", 1)[0]
        comma = ";" if ";" in first and "," not in first else ","  # as spreadsheets of some countries write
        reader = csv.DictReader(text.splitlines(), delimiter="\t" if file.suffix.lower() == ".tsv" else comma)
        return [(reader.line_num, row) for row in reader]
    if file.suffix.lower() not in (".jsonl", ".json"):
        raise ValueError(f"{file} is no JSONL, CSV or TSV file: name it so, or save it as one.")
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                rows.append((number, json.loads(line)))
            except ValueError as error:
                raise ValueError(f"Line {number} of {file} is not JSON ({error}).") from error
    return rows


def _numbers(given) -> list[int]:
    """Numbers of pages from a list, or from "3", "3, 7", "[3, 7]" or "3-5". Raises ValueError: no number."""
    parts = given if isinstance(given, list) else re.split(r"[\s,;]+", str(given).strip().strip("[]"))
    numbers: list[int] = []
    for part in map(str, parts):
        ends = re.fullmatch(r"(\d+)(?:[-–](\d+))?", part.strip())
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if not first <= last <= first + _MOST_PAGES:
            raise ValueError(f"pages are written 3, or 3 7, or 3-5, not {given!r}")
        numbers += range(first, last + 1)
    return numbers


def look_alikes(corpus: datasets.Dataset) -> list[tuple[str, str]]:
    """Pairs of page ids that look the same, to the byte or nearly; blank pages left out."""
    rows = {page: row for row, page in enumerate(corpus["page_id"])}
    found = [(one.item, one.other) for one in audit.duplicate_pages(corpus) if one.kind == "duplicate page"]

    def is_blank(page: str) -> bool:
        picture = corpus[rows[page]]["image"].convert("L").resize((64, 64))
        return np.asarray(picture).std() < copies.BLANK

    return [pair for pair in found if not is_blank(pair[0])]


def _query(row: dict, by_name: dict[str, list[dict]], number: int) -> dict:
    """A row as a line of queries.jsonl. Raises ValueError with what is wrong."""
    if not isinstance(row, dict):
        raise ValueError("it is no object with query, pdf and pages")
    row = {str(name).strip().lower(): value for name, value in row.items()}
    for name in ("query", "pdf", "pages"):
        if row.get(name) in (None, "", []):
            raise ValueError(f"{name!r} is missing; it has {', '.join(row) or 'nothing'}")
    words, name = str(row["query"]).strip(), str(row["pdf"]).strip()
    if not any(map(str.isalnum, words)):
        raise ValueError(f"the query {words!r} has no words")
    found = by_name.get(name) or by_name.get(f"{name}.pdf") or []
    if len(found) > 1:
        raise ValueError(f"{len(found)} files are named {name!r}: write it as in {found[0]['name']!r}")
    if not found:
        near = difflib.get_close_matches(name, by_name, 1)
        hint = f". Is it {near[0]!r}?" if near else ""
        raise ValueError(f"the pdf {name!r} is not among the files that can be used{hint}")
    there = [page["number"] for page in found[0]["pages"]]
    numbers = _numbers(row["pages"])
    for one in numbers:
        if one not in there:
            raise ValueError(f"{name!r} has no page {one} that can be read; its pages are 1 to {max(there)}")
    ids = [pages.page_id(found[0]["document_id"], one) for one in dict.fromkeys(numbers)]
    query_id = str(row["query_id"]) if row.get("query_id") not in (None, "") else f"q{number:05d}"
    return {"query_id": query_id, "query": words, "page_ids": ids, "written_by": "you"}


class Legibility(NamedTuple):
    """Whether a page's type survives being made as small as a model sees it."""

    pixels: float  # height of the body type of the middle page
    small: float  # share of pages below LEGIBLE
    needed: int  # max_pixels at which nine pages in ten reach it
    max_pixels: int

    def __str__(self) -> str:
        if self.small <= 0.1:
            return (
                f"At {self.max_pixels:,} pixels a page, body type is {self.pixels:.0f} pixels high: legible."
            )
        now, then = (pixels // pages.CELL**2 for pixels in (self.max_pixels, self.needed))
        return (
            f"At {self.max_pixels:,} pixels a page, body type is {self.pixels:.1f} pixels high, and below "
            f"{LEGIBLE:.0f} on {self.small:.0%} of the pages with text: too small to read. Use at least "
            f"MAX_PIXELS = {self.needed}: {then} visual tokens a page instead of {now}, so about "
            f"{then / now:.1f} times the time and memory for each page (computed)."
        )


def legibility(documents: Sequence[dict], max_pixels: int) -> Legibility | None:
    """How high the body type of pages is in pictures of `max_pixels`: its size in pixels, of which a small
    letter has about half. None where no page has a text layer.
    """
    typed = [page for one in documents for page in one["pages"] if page.get("type")]
    if not typed:
        return None

    def heights(pixels: int) -> list[float]:
        drawn = [pages.image_size(*page["size"], pixels) for page in typed]
        scales = [math.sqrt(math.prod(size) / math.prod(page["size"])) for size, page in zip(drawn, typed)]
        return [scale * page["type"] for scale, page in zip(scales, typed)]

    def small(pixels: int) -> float:
        return sum(height < LEGIBLE for height in heights(pixels)) / len(typed)

    lowest = sorted(heights(max_pixels))[len(typed) // 10]  # nine in ten are at least as high
    needed = math.ceil(max_pixels * max(1.0, LEGIBLE / lowest) ** 2 / pages.CELL**2) * pages.CELL**2
    while small(needed) > 0.1:  # sides are whole cells, so it is not quite in proportion
        needed += pages.CELL**2
    return Legibility(statistics.median(heights(max_pixels)), small(max_pixels), needed, max_pixels)


def _new_id(path: Path, taken: set[str]) -> str:
    """An id made of a file's name, with its folder's where two have the same; itself fit for a file name."""
    for name in (path.stem, "-".join(path.with_suffix("").parts)):
        one = re.sub(r"[^\w-]+", "-", name).strip("-")[:80] or "document"
        if one not in taken:
            break
    number, plain = 1, one
    while one in taken:
        number += 1
        one = f"{plain}-{number}"
    taken.add(one)
    return one


def _look_through(file: Path) -> tuple[str, dict | str]:
    """A file's hash, and its pages, or why it cannot be used."""
    content = hashlib.blake2b(file.read_bytes(), digest_size=12).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pages that cannot be read are left out, and counted
            found = pages.pdf_lines(file)
    except (ValueError, OSError) as error:
        return content, str(error)
    kept = []
    for number, page in enumerate(found, 1):
        if page is not None:
            size, lines = page
            every = sorted(line.size for line in lines for _ in line.text if line.level)
            kind = {"type": round(every[len(every) // 2], 1)} if every else {}
            words = sum(len(line.text.split()) for line in lines)
            kept.append({"number": number, "scanned": not lines, "words": words, "size": size, **kind})
    if not kept:
        return content, "none of its pages can be read"
    return content, {"pages": kept, "unreadable": len(found) - len(kept)}
