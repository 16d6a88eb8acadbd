"""Collections in the forms that others read: the public data set's columns, and BEIR's and ViDoRe's tables.

    python tools/exchange.py rows runs/collections/reports rows/    train rows: query, image, negative_0 ...
    python tools/exchange.py beir runs/collections/reports beir/    the eval split: corpus, queries and qrels
    python tools/exchange.py from-beir beir/ my-collection/         the way back: pages become PNG files
    python tools/exchange.py from-rows rows/ my-collection/         the same for rows; a page is there once

A table is a Parquet file. Nothing is sent anywhere. Pages are pictures of documents: before you push a folder
to a hub, be sure that everybody may see them.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.collection import Collection  # noqa: E402
from helpers.dataset import COLUMNS, check_columns  # noqa: E402
from helpers.inputs import plain_page  # noqa: E402
from tools.own_process import told  # noqa: E402

QRELS = ("query-id", "corpus-id", "score")


def export_rows(collection: Collection, folder: Path, split: str = "train") -> int:
    """Write `<split>.parquet`: query, image, negative_*, with the pictures inside; return how many rows."""
    rows = collection.split(split)
    rows = rows.select_columns([name for name in COLUMNS if name in rows.column_names])
    folder.mkdir(parents=True, exist_ok=True)
    _embedded(rows).to_parquet(str(folder / f"{split}.parquet"))
    return len(rows)


def export_beir(collection: Collection, folder: Path, split: str = "eval") -> tuple[int, int, int]:
    """Write corpus (corpus-id, image), queries (query-id, query) and qrels (query-id, corpus-id, score), as
    ViDoRe's data sets have them, each as `<name>/test.parquet`; return their numbers of rows.
    """
    import datasets

    asked = [query for query in collection.queries if query["split"] == split]
    corpus = (
        collection.corpus(split).select_columns(["page_id", "image"]).rename_column("page_id", "corpus-id")
    )
    judged = [(query["query_id"], page, 1) for query in asked for page in query["page_ids"]]
    tables = {
        "corpus": _embedded(corpus),
        "queries": datasets.Dataset.from_dict(
            {"query-id": [query["query_id"] for query in asked], "query": [query["query"] for query in asked]}
        ),
        "qrels": datasets.Dataset.from_dict(dict(zip(QRELS, map(list, zip(*judged))))),
    }
    for name, table in tables.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        table.to_parquet(str(folder / name / "test.parquet"))
    return tuple(len(table) for table in tables.values())


def import_beir(folder: Path, target: Path, split: str = "eval") -> Collection:
    """Make a collection of tables as `export_beir` writes them; every page becomes a PNG file and a document.

    Raises:
        FileNotFoundError: a table that is missing. ValueError: a page or query that it names and lacks.
    """
    import datasets

    tables = {}
    for name in ("corpus", "queries", "qrels"):
        files = sorted((folder / name).glob("*.parquet"))
        if not files:
            raise FileNotFoundError(f"{folder / name} has no Parquet file: a table {name!r} is needed.")
        tables[name] = datasets.Dataset.from_parquet(list(map(str, files)))
    kept = _Pages(target, split)
    page_of = {row["corpus-id"]: kept.add(row["image"], row["corpus-id"]) for row in tables["corpus"]}
    answers: dict[str, list[str]] = {}
    for row in tables["qrels"]:
        if row["score"] > 0:
            if row["corpus-id"] not in page_of:
                raise ValueError(f"qrels of {folder} name page {row['corpus-id']!r}, which corpus lacks.")
            answers.setdefault(row["query-id"], []).append(page_of[row["corpus-id"]])
    queries = [
        {"query_id": str(row["query-id"]), "query": row["query"], "page_ids": answers[row["query-id"]]}
        for row in tables["queries"]
        if row["query-id"] in answers
    ]
    return kept.collection(queries)


def import_rows(folder: Path, target: Path, split: str = "train") -> Collection:
    """Make a collection of rows with the public columns: query, image and, where they are, negative_*.

    Raises:
        FileNotFoundError: no Parquet file. ValueError: a column that is missing.
    """
    import datasets

    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"{folder} has no Parquet file with columns query and image.")
    rows = datasets.Dataset.from_parquet(list(map(str, files)))
    columns = [name for name in COLUMNS if name in rows.column_names]
    check_columns(rows.select_columns(columns), COLUMNS[:2])
    kept, queries = _Pages(target, split), []
    for number, row in enumerate(rows):
        positive, *wrong = (kept.add(row[name], f"{name} of row {number}") for name in columns[1:])
        query = {"query_id": f"row-{number:06d}", "query": row["query"], "page_ids": [positive]}
        queries.append(query | ({"negative_ids": wrong} if wrong else {}))
    return kept.collection(queries)


class _Pages:
    """Pages as PNG files in a folder, each picture once, a document each."""

    def __init__(self, target: Path, split: str) -> None:
        self.target, self.split = target, split
        self.documents: list[dict] = []
        self.known: dict[bytes, str] = {}
        (target / "pdfs").mkdir(parents=True, exist_ok=True)

    def add(self, picture, name) -> str:
        """The id of the page."""
        picture = plain_page(picture, name=f"Page {name!r}")
        key = hashlib.blake2b(f"{picture.size}".encode() + picture.tobytes(), digest_size=16).digest()
        if key not in self.known:
            document = f"page-{len(self.known) + 1:06d}"
            picture.save(self.target / "pdfs" / f"{document}.png")
            page = {"number": 1, "scanned": True, "name": str(name)}
            line = {"document_id": document, "file": f"{document}.png", "split": self.split, "pages": [page]}
            self.documents.append(line)
            self.known[key] = f"{document}-p01"
        return self.known[key]

    def collection(self, queries: list[dict]) -> Collection:
        made = Collection(self.documents, queries, self.target)
        made.save(self.target)
        return made


def _embedded(table):
    """The table with its pictures in it, not their paths on this machine."""
    import datasets

    names = [name for name, kind in table.features.items() if isinstance(kind, datasets.Image)]

    def read(row: dict) -> dict:
        return {name: {"bytes": Path(row[name]["path"]).read_bytes(), "path": None} for name in names}

    features = table.features
    for name in names:
        table = table.cast_column(name, datasets.Image(decode=False))
    return table.map(read, features=features, desc="Reading pages")


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("form", choices=("rows", "beir", "from-beir", "from-rows"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--split", help="train for rows, eval for beir")
    options = parser.parse_args(arguments)
    try:
        if options.form.startswith("from-"):
            read, split = (import_beir, "eval") if options.form == "from-beir" else (import_rows, "train")
            made = read(options.source, options.target, options.split or split)
            print(f"{len(made.documents)} pages, {len(made.queries)} queries: {options.target}")
        elif options.form == "rows":
            rows = export_rows(Collection.load(options.source), options.target, options.split or "train")
            print(f"{rows} rows: {options.target}")
        else:
            split = options.split or "eval"
            sizes = export_beir(Collection.load(options.source), options.target, split)
            print(f"{sizes[0]} pages, {sizes[1]} queries, {sizes[2]} judgements: {options.target}")
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
