"""A collection: documents, the split that each is in, and queries with the pages that answer them.

On disk it is a folder:

    documents.jsonl   document_id, file (below pdfs/, or anywhere: a path), split, pages: [{number, scanned}]
    queries.jsonl     query_id, query, page_ids (the first is the positive), split; negative_ids where known
    texts.jsonl       page_id, text: words of pages without a text layer, where something has read them
    pdfs/

A line may hold more, such as a page's `kind` or a query's `style`. A document is a PDF file, or a picture of
one page. Three calls are all that training and evaluation need, whatever the data is:

    collection = Collection.load("my-collection", max_pixels=600 * 600)
    rows, corpus, task = collection.split("train"), collection.corpus("eval"), collection.task("eval")
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import pages
from helpers.dataset import NEGATIVES, retrieval_task
from helpers.evaluation import repeats
from helpers.files import replacing
from helpers.inputs import plain_page

if TYPE_CHECKING:
    import datasets
    from PIL import Image

SPLITS = ("train", "dev", "eval")
_SCHEMA = 1  # of the folder; raise it when the meaning of a field changes
ROW_COLUMNS = ("query_id", "page_id", "document_id", "negative_ids", "style", "page_ids")
_FEW = 64  # pages: for fewer, starting processes takes longer than the work


@dataclass
class Collection:
    """Documents and queries, as the lines of `documents.jsonl` and `queries.jsonl` say them.

    Attributes:
        folder: where `pdfs/` is, and `texts.jsonl`, if any.
        pictures: folder for rendered pages; None: `folder / "pages"`.
        max_pixels: of a page's picture.
        train_rows: cuts the split `train`; None: all.
    """

    documents: list[dict]
    queries: list[dict]
    folder: Path = Path()
    pictures: Path | None = None
    max_pixels: int = 600 * 600
    train_rows: int | None = None
    _by_id: dict[str, dict] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        for name, records in (("document_id", self.documents), ("query_id", self.queries)):
            missing = [record for record in records if not isinstance(record.get(name), str)]
            twice = repeats([record.get(name) for record in records])
            if missing or twice:
                what = (
                    f"{twice[0]!r} is there twice" if not missing else f"is missing, or no text: {missing[0]}"
                )
                raise ValueError(f"In {self.folder}: {name} {what}. Each needs one of its own.")
        self._by_id = {document["document_id"]: document for document in self.documents}
        there = {page for document in self.documents for page, _ in pages_of(document)}
        for query in self.queries:
            answers = query.get("page_ids")
            if not isinstance(answers, list) or not answers or not there.issuperset(answers):
                raise ValueError(
                    f"In {self.folder}: query {query['query_id']!r} has page_ids {answers!r}. Give a list of "
                    "pages that documents.jsonl has, such as ['report-2016-p05'], or leave the query out."
                )
            query["split"] = self._by_id[document_of(query)].get("split")  # its document's

    @classmethod
    def load(
        cls, folder: str | Path, max_pixels: int = 600 * 600, pictures: Path | None = None
    ) -> Collection:
        """Read a folder of the form above.

        Raises:
            FileNotFoundError: no collection is there. ValueError: a line that is not JSON, a folder that a
            newer or older version made, ids that do not fit together.
        """
        folder = Path(folder)
        if not (folder / "documents.jsonl").is_file() or not (folder / "queries.jsonl").is_file():
            raise FileNotFoundError(
                f"{folder} is no collection: it has no documents.jsonl, or no queries.jsonl. Notebook "
                "10_your_own_pdfs makes one of a folder of PDF files: set its PDFS."
            )
        form = folder / "collection.json"
        schema = json.loads(form.read_text(encoding="utf-8")).get("schema") if form.is_file() else _SCHEMA
        if schema != _SCHEMA:
            raise ValueError(
                f"{folder} is a collection of form {schema!r}, and this code reads form {_SCHEMA}. Make it "
                "anew, or use the version that made it."
            )
        records = [read_lines(folder / f"{name}.jsonl") for name in ("documents", "queries")]
        return cls(*records, folder=folder, pictures=pictures, max_pixels=max_pixels)

    def save(self, folder: Path, source: str = "") -> None:
        """Write the collection into a folder, with `source`, where it is from; its files stay in place."""
        folder = Path(folder)
        documents = [document | {"file": str(self.file(document).resolve())} for document in self.documents]
        _write_lines(folder / "documents.jsonl", documents)
        _write_lines(folder / "queries.jsonl", self.queries)
        _write_lines(folder / "collection.json", [{"schema": _SCHEMA, "source": source}])
        if (self.folder / "texts.jsonl").is_file() and folder.resolve() != self.folder.resolve():
            shutil.copy(self.folder / "texts.jsonl", folder)

    def file(self, document: dict) -> Path:
        """The file of one of the documents."""
        return self.folder / "pdfs" / document["file"]  # of a whole path, only that remains

    def source(self, page_id: str) -> tuple[Path, int]:
        """The file that a page is in, and its number there. Raises KeyError: an unknown document."""
        document, number = pages.split_page_id(page_id)
        return self.file(self._by_id[document]), number

    def page(self, page_id: str, max_pixels: int) -> Image.Image:
        """One page at a size of its own, such as one to be read by people; nothing is kept."""
        file, number = self.source(page_id)
        is_pdf = file.suffix.lower() == ".pdf"
        return pages.render_page(file, number, max_pixels) if is_pdf else plain_page(file, max_pixels)

    def splits(self) -> list[str]:
        """The splits that documents are in."""
        return list(dict.fromkeys(document["split"] for document in self.documents if document.get("split")))

    def split(self, name: str, limit: int | None = None) -> datasets.Dataset:
        """The rows of a split: `query`, `image`, as many `negative_*` as every query has (at most 4), ids.

        Args:
            limit: only the first rows; only their pages are rendered.

        Raises:
            ValueError: no such split, or one without queries.
        """
        asked = self._queries(name)[:limit]
        if name == "train":
            asked = asked[: self.train_rows]
        if not asked:
            raise ValueError(f"The split {name!r} has no queries. Give some to its documents.")
        wrong = min(len(query.get("negative_ids") or ()) for query in asked)
        shown = [(query["page_ids"][0], *(query.get("negative_ids") or ())[:wrong]) for query in asked]
        pictures = ("image", *NEGATIVES[:wrong])
        files = self.render({page for row in shown for page in row[: len(pictures)]})
        columns = {"query": [query["query"] for query in asked]}
        columns |= {column: [files[row[i]] for row in shown] for i, column in enumerate(pictures)}
        given = {"page_id": [page for page, *_ in shown]}
        given["document_id"] = [pages.split_page_id(page)[0] for page in given["page_id"]]
        for column in ROW_COLUMNS:
            values = given.get(column) or [query.get(column) for query in asked]
            if None not in values:
                columns[column] = values
        return _with_pictures(columns, pictures)

    def corpus(self, name: str | None = None) -> datasets.Dataset:
        """Every page of a split's documents, or of all: page_id, image, document_id, kind (where pages have
        one), has_text.
        """
        shown = [(page, record) for one in self._documents(name) for page, record in pages_of(one)]
        ids = [page for page, _ in shown]
        files = self.render(ids)
        columns = {
            "page_id": ids,
            "image": [files[page] for page in ids],
            "document_id": [pages.split_page_id(page)[0] for page in ids],
        }
        if all("kind" in record for _, record in shown):
            columns["kind"] = [record["kind"] for _, record in shown]
        columns["has_text"] = [not record.get("scanned") for _, record in shown]
        return _with_pictures(columns, ["image"])

    def task(self, name: str) -> tuple[dict[str, str], dict[str, object], dict[str, set[str]]]:
        """Queries, pages and relevant pages of a split, as `dataset.retrieval_task` gives them."""
        import datasets

        asked = self._queries(name)
        rows = {column: [query[column] for query in asked] for column in ("query_id", "query", "page_ids")}
        return retrieval_task(datasets.Dataset.from_dict(rows), self.corpus(name), self.max_pixels)

    def texts(self, name: str | None = None, read: bool = True) -> dict[str, str]:
        """Page id -> words of its text layer, else, with `read`, those of `texts.jsonl`; "" for none."""
        file = self.folder / "texts.jsonl"
        lines = read_lines(file) if read and file.is_file() else []
        known = {line["page_id"]: line["text"] for line in lines}
        documents, found = self._documents(name), {}
        layers = in_processes(_texts, [(self.file(document),) for document in documents], "Reading text")
        for document, layer in zip(documents, layers):
            for page, record in pages_of(document):
                text = layer[record["number"] - 1] if record["number"] <= len(layer) else ""
                found[page] = text or known.get(page, "")
        return found

    def render(self, page_ids: Iterable[str]) -> dict[str, str]:
        """Page id -> path of its PNG file, rendered unless that was done before, by several processes. An
        interrupted run goes on; pictures of a file that has changed since are removed.

        Raises:
            KeyError: a page of an unknown document. IndexError: a page number that a document does not have.
        """
        target = (self.pictures or self.folder / "pages") / f"{self.max_pixels}px"
        target.mkdir(parents=True, exist_ok=True)
        kept = {folder.name.rpartition(".")[0]: folder for folder in target.iterdir()}
        found: dict[str, str] = {}
        missing: dict[str, list[tuple[int, Path]]] = {}
        there: dict[str, tuple[Path, set[str]]] = {}
        for page in sorted(set(page_ids)):
            document, number = pages.split_page_id(page)
            if document not in self._by_id:
                raise KeyError(f"No document {document!r} in {self.folder} (asked for page {page!r}).")
            if document not in there:
                file = self.file(self._by_id[document])
                place = target / f"{document}.{_key(file)}"
                if document in kept and kept[document] != place:
                    shutil.rmtree(kept[document], ignore_errors=True)
                there[document] = place, set(os.listdir(place)) if place.is_dir() else set()
            place, names = there[document]
            found[page] = str(place / f"{page}.png")
            if f"{page}.png" not in names:
                missing.setdefault(document, []).append((number, place / f"{page}.png"))
        jobs = [
            (self.file(self._by_id[document]), part, self.max_pixels)
            for document, wanted in missing.items()
            for part in (wanted[i : i + 16] for i in range(0, len(wanted), 16))
        ]
        try:
            list(in_processes(_render, jobs, "Rendering pages", sum(map(len, missing.values()))))
        except OSError as error:  # such as a full disk
            raise OSError(
                f"Not all pages are rendered ({error}). Those that are stay in {target}: run again."
            ) from error
        return found

    def _documents(self, name: str | None) -> list[dict]:
        if name is not None and name not in self.splits():
            known = ", ".join(self.splits()) or "none"
            raise ValueError(f"There is no split {name!r} in {self.folder}. Splits: {known}.")
        return [document for document in self.documents if name in (None, document.get("split"))]

    def _queries(self, name: str) -> list[dict]:
        inside = {document["document_id"] for document in self._documents(name)}
        return [query for query in self.queries if document_of(query) in inside]


def read_lines(file: Path) -> list[dict]:
    """The objects of a JSONL file. Raises ValueError with the line that is none."""
    records = []
    for number, line in enumerate(Path(file).read_text(encoding="utf-8-sig").splitlines(), 1):
        try:
            records.append(json.loads(line))
            if not isinstance(records[-1], dict):
                raise ValueError("no object")
        except ValueError as error:
            raise ValueError(f"Line {number} of {file} is not a JSON object ({error}).") from error
    return records


def _write_lines(file: Path, records: Iterable[dict]) -> None:
    """Write a JSONL file, whole or not at all."""
    with replacing(file) as partial:
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        partial.write_text("".join(lines), encoding="utf-8")


def pages_of(document: dict) -> list[tuple[str, dict]]:
    """Id and line of each page of a document."""
    return [(pages.page_id(document["document_id"], page["number"]), page) for page in document["pages"]]


def document_of(query: dict) -> str:
    """The document that a query's positive is in."""
    return pages.split_page_id(query["page_ids"][0])[0]


def _key(file: Path) -> str:
    """Eight digits that change when a file does: by its size and time, since files may be large."""
    state = file.stat()
    return hashlib.blake2b(f"{state.st_size} {state.st_mtime_ns}".encode(), digest_size=4).hexdigest()


def _with_pictures(columns: dict[str, list], pictures: Iterable[str]) -> datasets.Dataset:
    """A table whose columns `pictures` hold paths: a page of many rows is stored once, decoded when read."""
    import datasets

    table = datasets.Dataset.from_dict(columns)
    for name in pictures:
        table = table.cast_column(name, datasets.Image())
    return table


def in_processes(work: Callable, jobs: Sequence[tuple], title: str, size: int | None = None) -> Iterator:
    """`work(*job)` for each job, in order, in several processes where there is enough to do, with a bar."""
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    size = 16 * len(jobs) if size is None else size
    several = min(len(jobs), os.cpu_count() or 1) if size >= _FEW else 1
    parallel = Parallel(several, return_as="generator")
    with tqdm(total=len(jobs), desc=title, disable=size < _FEW) as bar:
        for done in parallel(delayed(work)(*job) for job in jobs):
            bar.update()
            yield done


def _render(file: Path, wanted: Sequence[tuple[int, Path]], max_pixels: int) -> None:
    """Render pages of one file, each into a picture that is there whole or not at all."""
    is_pdf = file.suffix.lower() == ".pdf"
    with pages.open_pdf(file) if is_pdf else nullcontext() as pdf:
        for number, target in wanted:
            with replacing(target) as partial:
                if is_pdf:
                    picture = pages.render_open_page(pdf, file, number, max_pixels)
                else:
                    picture = plain_page(file, max_pixels)
                picture.save(partial, "PNG", compress_level=1)


def _texts(file: Path) -> list[str]:
    return pages.pdf_texts(file) if file.suffix.lower() == ".pdf" else []
