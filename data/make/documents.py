"""Write the course's documents, queries and datasheet: `python data/make/documents.py`.

Everything follows from one seed. PDFs, `queries.jsonl` and `documents.jsonl` are written into a temporary
folder beside their place and moved there when all of them are ready, so that an interrupted run leaves the
old data as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from course_domain import (  # noqa: E402
    ADJECTIVES,
    COVER,
    FIRST_NAMES,
    KINDS,
    LAST_NAMES,
    MONTHS,
    NOUNS,
    SECTORS,
    SEED,
    Period,
    Topic,
    dictionary,
    item_labels,
    make_organizations,
    make_word,
)
from course_layouts import LAYOUTS  # noqa: E402
from course_pages import write_pdf  # noqa: E402
from course_queries import STYLES, Query, QueryMaker  # noqa: E402
from course_sheet import Document, Page  # noqa: E402

DATA = Path(__file__).resolve().parents[1]
SPLITS = {  # split: (organizations, pages, queries); four documents an organization
    "train": (90, 2700, 4600),
    "dev": (20, 600, 150),
    "eval": (50, 1500, 300),
}
MOST_ROWS = {
    "bar": 5,
    "line": 6,
    "pie": 5,
    "table": 7,
    "form": 4,
    "bullets": 5,
    "columns": 4,
    "diagram": 5,
    "timeline": 5,
    "figures": 4,
    "letter": 0,
    "title": 0,
}


def plan() -> list[Document]:
    """All documents with their pages and facts, train first, then dev, then eval. Draws nothing."""
    organizations = make_organizations(sum(count for count, _, _ in SPLITS.values()))
    subjects = _subjects()
    documents: list[Document] = []
    start = 0
    for split, (count, pages, _) in SPLITS.items():
        rng = random.Random(f"{SEED}/plan/{split}")
        part: list[tuple[Document, list[tuple[Topic, int, str, list[str]]]]] = []
        deck: list = []
        for organization in organizations[start : start + count]:
            people = _people(organization.slug)
            kinds: list = []
            pattern = rng.choice([(2, 2), (2, 2), (2, 2), (4,), (3, 1)])
            for size in pattern:
                if len(deck) < 2:
                    fresh = list(KINDS)
                    rng.shuffle(fresh)
                    deck = fresh + deck
                kind = deck.pop() if not kinds or deck[-1] is not kinds[0] else deck.pop(0)
                kinds.append(kind)
                series = f"{organization.slug}-{kind.name.lower().replace(' ', '-')}"
                shape = rng.choice(kind.formats)
                subject = next(subjects[kind.name]) if kind.name in subjects else ""
                entries = _entries(kind, organization, people, shape, rng)
                author = rng.choice(people)
                for period in _periods(kind.span, size, rng):
                    part.append(
                        (
                            Document(
                                f"{series}-{period.key}",
                                organization,
                                kind,
                                period,
                                split,
                                series,
                                shape,
                                subject,
                                author,
                            ),
                            entries,
                        )
                    )
        start += count
        lengths = _lengths([len(entries) + document.kind.cover for document, entries in part], pages, rng)
        for (document, entries), length in zip(part, lengths, strict=True):
            _fill(
                document, entries[: length - document.kind.cover], people=_people(document.organization.slug)
            )
            documents.append(document)
        _mark_scans([document for document, _ in part], rng)
    return documents


def _subjects() -> dict:
    """Names of products and projects, each used by one series only."""
    rng = random.Random(f"{SEED}/subjects")
    products, projects = set(), set()
    while len(products) < 120:
        products.add(
            f"{make_word(rng, 2)} {rng.choice([10, 20, 40, 50, 70, 90])}{rng.choice(['', '0', 'X'])}"
        )
    while len(projects) < 240:
        projects.add(f"Project {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}")
    names = sorted(projects)
    rng.shuffle(names)
    goods = sorted(products)
    rng.shuffle(goods)
    return {
        "Product manual": iter(goods),
        "Project plan": iter(names[:120]),
        "Research summary": iter(names[120:]),
    }


def _people(slug: str) -> list[str]:
    rng = random.Random(f"{SEED}/people/{slug}")
    return [
        f"{first} {last}"
        for first, last in zip(rng.sample(FIRST_NAMES, 6), rng.sample(LAST_NAMES, 6), strict=True)
    ]


def _periods(span: str, count: int, rng: random.Random) -> list[Period]:
    year = rng.randint(2014, 2024 - count)
    if span == "year":
        return [Period(year + i) for i in range(count)]
    size = 4 if span == "quarter" else 12
    first = rng.randint(1, size)
    ahead = rng.choice([1, size])  # the next one, or the same one a year later
    result = []
    for i in range(count):
        years, at = divmod(first - 1 + i * ahead, size)
        result.append(
            Period(year + years, quarter=at + 1) if span == "quarter" else Period(year + years, month=at + 1)
        )
    return result


def _entries(kind, organization, people: list[str], shape: str, rng: random.Random) -> list:
    """(topic, part, layout, row labels) of each page after the cover, in order, for a whole series."""
    topics = list(kind.topics)
    rng.shuffle(topics)
    entries = []
    for topic in topics:
        choices = [
            x
            for x in topic.layouts
            if not (x == "columns" and shape in ("slide", "tall"))
            and not (x == "letter" and shape == "slide")
        ] or ["bullets"]
        layout = rng.choice(choices)
        if layout == "line" and topic.items == "products" and shape not in ("landscape", "slide"):
            layout = "bar"  # the names of products are too long for a narrow axis
        labels = item_labels(topic, organization, Period(2000, *_span(kind.span)), people)
        if topic.items != "months" and topic.items[:5] not in ("Grade", "Under", "From ", "Code "):
            rng.shuffle(labels)
        most = MOST_ROWS[layout] - (layout == "table" and shape == "slide") * 2
        for part in range(1, topic.pages + 1):
            mine = (
                [f"{label} {mark}" for label in labels[:5] for mark in "AB"][part - 1 :: 2]
                if (topic.items == "products" and topic.pages > 1)
                else labels[(part - 1) * len(labels) // topic.pages : part * len(labels) // topic.pages]
            )
            entries.append((topic, part if topic.pages > 1 else 0, layout, mine[:most]))
    return entries[: 12 - kind.cover]


def _span(span: str) -> tuple:
    return {"year": (None, None), "quarter": (1, None), "month": (None, 1)}[span]


def _lengths(longest: list[int], total: int, rng: random.Random) -> list[int]:
    """A number of pages for each document, 4 to 12 and no more than it has, that add up to `total`."""
    lengths = [min(most, rng.randint(5, 11)) for most in longest]
    while sum(lengths) != total:
        step = 1 if sum(lengths) < total else -1
        i = rng.randrange(len(lengths))
        if 4 <= lengths[i] + step <= min(12, longest[i]):
            lengths[i] += step
    return lengths


def _fill(document: Document, entries: list, people: list[str]) -> None:
    """Give the document its pages, with figures of its own."""
    if document.kind.cover:
        document.pages.append(Page(document.document_id, 1, "title", COVER))
    for i, (topic, part, layout, labels) in enumerate(entries):
        number = len(document.pages) + 1
        rng = random.Random(f"{SEED}/facts/{document.document_id}/{topic.title}/{part}")
        alone = part == 1 and (i + 1 == len(entries) or entries[i + 1][0] is not topic)
        page = Page(document.document_id, number, layout, topic, 0 if alone else part, unit=topic.unit)
        if topic.items == "months":
            labels = item_labels(topic, document.organization, document.period, people)
        if topic.items == "events":
            page.rows = list(zip(labels, _dates(document.period, len(labels), rng), strict=True))
        elif layout == "pie":
            page.unit = "%"
            page.rows = [
                (label, str(n)) for label, n in zip(labels, _percents(len(labels), rng), strict=True)
            ]
        else:
            values = rng.sample(
                range(topic.low, topic.high + 1), min(len(labels), topic.high - topic.low + 1)
            )
            page.rows = [(label, f"{v:,}") for label, v in zip(labels, values, strict=False)]
            if (
                layout == "table"
                and document.format != "tall"
                and random.Random(f"{document.series}{topic.title}").random() < 0.4
            ):
                page.second = [f"{rng.randint(topic.low, topic.high):,}" for _ in page.rows]
        page.person = (
            rng.choice([p for p in people if p != document.author]) if layout in ("letter", "form") else ""
        )
        page.reference = f"{rng.choice('ABCDEFGH')}-{rng.randint(1000, 9999)}" if layout == "form" else ""
        document.pages.append(page)


def _percents(count: int, rng: random.Random) -> list[int]:
    """`count` different whole numbers from 5 up that add up to 100."""
    while True:
        cuts = sorted(rng.sample(range(5, 96), count - 1))
        parts = [b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
        if min(parts) >= 5 and len(set(parts)) == count:
            return parts


def _dates(period: Period, count: int, rng: random.Random) -> list[str]:
    months = (
        range(3 * period.quarter - 2, 3 * period.quarter + 1)
        if period.quarter
        else ([period.month] if period.month else range(1, 13))
    )
    days = sorted(rng.sample([(m, d) for m in months for d in range(1, 29)], count))
    return [f"{d} {MONTHS[m - 1][:3]}" for m, d in days]


def _mark_scans(documents: list[Document], rng: random.Random) -> None:
    """Make one page in six of the split a scan: half of them whole documents, half single pages."""
    wanted = sum(len(document.pages) for document in documents) // 6
    order = documents[:]
    rng.shuffle(order)
    marked = 0
    for document in order:
        if marked + len(document.pages) > wanted / 2:
            break
        for page in document.pages:
            page.scanned = True
        marked += len(document.pages)
    left = [page for document in documents for page in document.pages if not page.scanned]
    for page in rng.sample(left, wanted - marked):
        page.scanned = True


def make_queries(documents: list[Document]) -> dict[str, list[Query]]:
    """The queries of every split."""
    return {
        split: QueryMaker(split, [d for d in documents if d.split == split]).make(count)
        for split, (_, _, count) in SPLITS.items()
    }


def query_records(queries: dict[str, list[Query]]) -> list[dict]:
    return [
        {
            "query_id": f"{split}-{i:04d}",
            "query": query.text,
            "style": query.style,
            "split": split,
            "page_ids": [query.page.page_id, *(a for a in query.answers if a != query.page.page_id)],
            "document_id": query.document.document_id,
            "negative_ids": query.negatives,
            "jargon": query.jargon,
        }
        for split, part in queries.items()
        for i, query in enumerate(part, 1)
    ]


def document_records(documents: list[Document]) -> list[dict]:
    return [
        {
            "document_id": d.document_id,
            "file": d.file,
            "organization": d.organization.name,
            "sector": d.organization.sector,
            "kind": d.kind.name,
            "topic": d.subject or d.organization.sector,
            "period": d.period.text,
            "split": d.split,
            "pages": [
                {"number": p.number, "kind": p.layout, "heading": p.heading, "scanned": p.scanned}
                for p in d.pages
            ],
        }
        for d in documents
    ]


def datasheet_numbers(documents: list[dict], queries: list[dict], pdfs: Path) -> str:
    """The measured part of data/README.md, from the records and the files themselves."""
    splits = list(SPLITS)
    pages = defaultdict(Counter)
    scans, docs, orgs, per_style, jargon = (
        Counter(),
        Counter(),
        defaultdict(set),
        defaultdict(Counter),
        Counter(),
    )
    for d in documents:
        docs[d["split"]] += 1
        orgs[d["split"]].add(d["organization"])
        for p in d["pages"]:
            pages[d["split"]][p["kind"]] += 1
            scans[d["split"]] += p["scanned"]
    for q in queries:
        per_style[q["split"]][q["style"]] += 1
        jargon[q["split"]] += bool(q["jargon"])

    def row(name: str, values: list) -> str:
        return f"| {name} | " + " | ".join(f"{v:,}" for v in [*values, sum(values)]) + " |"

    size = sum(file.stat().st_size for file in pdfs.glob("*.pdf")) / 1e6
    several = sum(len(q["page_ids"]) > 1 for q in queries)
    head = ["| | " + " | ".join(splits) + " | all |", "| --- " * (len(splits) + 2) + "|"]
    lines = [
        f"{len(documents):,} PDF files, {size:.1f} MB; {sum(len(d['pages']) for d in documents):,} pages, "
        f"{min(len(d['pages']) for d in documents)} to {max(len(d['pages']) for d in documents)} a document; "
        f"{len(SECTORS)} sectors, {len(KINDS)} kinds of document, {len(dictionary())} terms of jargon and "
        f"three patterns for periods. {several} queries have two pages that answer them, all others "
        "exactly one.",
        "",
        *head,
        row("organizations", [len(orgs[s]) for s in splits]),
        row("documents", [docs[s] for s in splits]),
        row("pages", [sum(pages[s].values()) for s in splits]),
        row("scanned pages", [scans[s] for s in splits]),
        row("queries", [sum(per_style[s].values()) for s in splits]),
        row("queries with jargon", [jargon[s] for s in splits]),
        "",
        "Pages by kind:",
        "",
        *head,
        *(row(kind, [pages[s][kind] for s in splits]) for kind in LAYOUTS),
        "",
        "Queries by style:",
        "",
        *head,
        *(row(style, [per_style[s][style] for s in splits]) for style in STYLES),
        "",
        "Documents by kind:",
        "",
        *head,
        *(
            row(k.name, [sum(d["kind"] == k.name and d["split"] == s for d in documents) for s in splits])
            for k in KINDS
        ),
    ]
    return "\n".join(lines)


def jargon_table() -> str:
    plain: dict[str, list[str]] = defaultdict(list)
    for term, words in dictionary().items():
        plain[words].append(term)
    return "\n".join(
        [
            "| on the page | in a query |",
            "| --- | --- |",
            *(f"| {words} | {', '.join(terms)} |" for words, terms in plain.items()),
            "| 2021 | FY21 |",
            "| Third quarter 2021 | 3Q21 |",
            "| March 2021 | P03/21 |",
        ]
    )


def update_between(text: str, name: str, content: str) -> str:
    """`text` with what stands between the markers `<!-- name -->` and `<!-- /name -->` replaced."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if start not in text or end not in text:
        raise ValueError(f"data/README.md has no markers {start} and {end}: put them back and run again.")
    return text[: text.index(start) + len(start)] + "\n" + content + "\n" + text[text.index(end) :]


def write_lines(path: Path, records: list[dict]) -> None:
    path.write_text(
        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8", newline="\n"
    )


def write_all(out: Path, count: int | None = None) -> None:
    """Write `pdfs/`, `queries.jsonl`, `documents.jsonl` and `jargon.json` into `out`; with `count`, only the
    first `count` documents and only the queries whose pages and negatives are all in them."""
    documents = plan()
    queries = query_records(make_queries(documents))
    if count is not None:
        documents = documents[:count]
        held = {page.page_id for d in documents for page in d.pages}
        queries = [q for q in queries if held.issuperset(q["page_ids"] + q["negative_ids"])]
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".making-", dir=out))
    try:
        (work / "pdfs").mkdir()
        for i, document in enumerate(documents, 1):
            write_pdf(document, work / "pdfs" / document.file)
            if i % 20 == 0 or i == len(documents):
                print(f"\r{i} of {len(documents)} documents", end="", flush=True)
        print()
        write_lines(work / "queries.jsonl", queries)
        write_lines(work / "documents.jsonl", document_records(documents))
        glossary = json.dumps(dictionary(), ensure_ascii=False, indent=1)
        (work / "jargon.json").write_text(glossary + "\n", encoding="utf-8", newline="\n")
        readme = out / "README.md"
        if readme.is_file() and count is None:
            text = update_between(
                readme.read_text(encoding="utf-8"),
                "numbers",
                datasheet_numbers(document_records(documents), queries, work / "pdfs"),
            )
            (work / "README.md").write_text(
                update_between(text, "jargon", jargon_table()), encoding="utf-8", newline="\n"
            )
        if (out / "pdfs").exists():
            os.replace(out / "pdfs", work / "old-pdfs")
        for name in ("pdfs", "queries.jsonl", "documents.jsonl", "jargon.json", "README.md"):
            if (work / name).exists():
                os.replace(work / name, out / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    terms = jargon_counts(queries, "train")
    rare = {term: terms[term] for term in dictionary() if terms[term] < 15}
    print(
        f"{len(documents)} documents, {sum(len(d.pages) for d in documents)} pages, "
        f"{len(queries)} queries in {out}"
    )
    if rare and count is None:
        print(f"terms in fewer than 15 train queries: {rare}")


def jargon_counts(records: list[dict], split: str) -> Counter:
    return Counter(term for r in records if r["split"] == split for term in r["jargon"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DATA, help="folder to write into (default: data/)")
    parser.add_argument("--documents", type=int, metavar="N", help="write only the first N documents")
    args = parser.parse_args()
    if args.documents is not None and args.documents < 1:
        parser.error("--documents must be at least 1")
    write_all(args.out, args.documents)


if __name__ == "__main__":
    main()
