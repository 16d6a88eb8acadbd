"""The course's queries, pages and splits as `datasets` data sets.

Page pictures are rendered once and kept as PNG files under `runs/<profile>/dataset`; the columns `image` and
`negative_*` hold their paths, so a page that many rows use is stored once. Nothing is decoded before a row is
read.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.copies import page_keys
from helpers.course.profiles import ROOT, in_cache, run_dir
from helpers.dataset import COLUMNS, NEGATIVES, check_columns
from helpers.files import replacing
from helpers.pages import open_pdf, render_open_page, split_page_id
from helpers.pages import page_id as make_page_id
from helpers.settings import Settings

if TYPE_CHECKING:
    import datasets

SPLITS = ("train", "dev", "eval")
OTHER = "other"  # a second collection, of other kinds of document: only to be scored with
_ID_COLUMNS = ("query_id", "page_id", "document_id", "negative_ids", "style", "page_ids")
_CORPUS_COLUMNS = ("page_id", "image", "document_id", "kind", "has_text")
DATA = ROOT / "data"
_RESTORE = "Restore it with `git checkout -- data`, or write it again with `python data/make/documents.py`."
_HUB_DEV_ROWS = 150


def load_queries(split: str | None = None) -> list[dict]:
    """The bundled queries of a split, or of all splits, as in `data/queries.jsonl`; those of `OTHER` come
    from `data/other/queries.jsonl`, and only when asked for.

    Keys: query_id, query, style, split, page_ids (all that answer), document_id, negative_ids (4), jargon.

    Raises:
        ValueError: unknown split. FileNotFoundError: the file is missing.
    """
    return _of_split("queries.jsonl", split)


def load_documents(split: str | None = None) -> list[dict]:
    """The bundled documents of a split, or of all splits, as in `data/documents.jsonl`; `OTHER` and errors as
    in `load_queries`.
    """
    return _of_split("documents.jsonl", split)


def _of_split(name: str, split: str | None) -> list[dict]:
    if split is not None:
        _check_split(split)
    return [record for record in _records(_of(name, split)) if split in (None, record["split"])]


def pdf_path(document: dict) -> Path:
    """The PDF file of a record that `load_documents` returned."""
    return DATA / _of("pdfs", document["split"]) / document["file"]


def _of(name: str, split: str | None) -> str:
    return f"{OTHER}/{name}" if split == OTHER else name


def load_dataset(profile: Settings) -> datasets.DatasetDict:
    """Splits `train`, `dev` and `eval` of the profile, with `dataset.COLUMNS`, then query_id, page_id,
    document_id, negative_ids, style and page_ids.

    With `profile.dataset` None they are built from the bundled PDFs, rendered at `profile.max_pixels`; else
    they come from that data set on the hub, `dev` is held out from its `train`, and rows of `train` with a
    page that is in the others are left out. `profile.train_rows` cuts `train`.
    """
    import datasets

    if profile.dataset is None:
        folder, limits = run_dir(profile) / "dataset", {"train": profile.train_rows}
        built = {s: _build_split(s, profile.max_pixels, folder, limits.get(s)) for s in SPLITS}
        return datasets.DatasetDict(built)
    return _load_hub(profile)


@lru_cache(maxsize=1)
def _load_hub(profile: Settings) -> datasets.DatasetDict:
    import datasets

    # ids first: adding columns to a selection of rows would copy every picture
    train, dev = _hold_out(_with_ids(_from_hub(profile, "train"), "train"), profile.seed)
    evaluation = _with_ids(_from_hub(profile, "eval"), "eval")
    train = _without_pages_of((dev, evaluation), train)
    if profile.train_rows is not None:
        train = train.select(range(min(profile.train_rows, len(train))))
    return datasets.DatasetDict({"train": train, "dev": dev, "eval": evaluation})


def _from_hub(profile: Settings, config: str, streaming: bool = False) -> datasets.Dataset:
    """The rows of a configuration of the profile's data set, which each have one split, `train`."""
    import datasets

    try:
        return datasets.load_dataset(profile.dataset, config, split="train", streaming=streaming)
    except Exception as error:  # of the network, the disk or the data set's form: many kinds
        raise RuntimeError(
            f"{config!r} of {profile.dataset} did not load ({type(error).__name__}: {error}). If a download "
            "broke off, run this again: what has arrived is kept."
        ) from error


def load_split(profile: Settings, split: str, limit: int | None = None) -> datasets.Dataset:
    """One split as `load_dataset` has it, cut to `limit` rows; only these rows' pages are rendered.

    `OTHER` is always the bundled collection. Of a hub's data set that is not here yet, only `limit` rows are
    downloaded, the first that come.
    """
    _check_split(split)
    if profile.dataset is None or split == OTHER:
        return _build_split(split, profile.max_pixels, run_dir(profile) / "dataset", limit)
    if limit is not None and not in_cache(profile.dataset, "dataset"):
        import datasets

        first = _from_hub(profile, "eval" if split == "eval" else "train", streaming=True)
        rows = datasets.Dataset.from_list(list(first.take(limit)), features=first.features)
        return _with_ids(rows, split)
    rows = load_dataset(profile)[split]
    return rows if limit is None else rows.select(range(min(limit, len(rows))))


def load_corpus(profile: Settings, split: str) -> datasets.Dataset:
    """The pages that the queries of a split are searched in, with `_CORPUS_COLUMNS`.

    Bundled data: all pages of the split's documents. Hub data: the split's positives, then its negatives.
    """
    _check_split(split)
    if profile.dataset is None or split == OTHER:
        return _build_corpus(split, profile.max_pixels, run_dir(profile) / "dataset")
    import datasets

    rows = load_dataset(profile)[split]
    parts = [rows.select_columns(["image"])]
    parts += [rows.select_columns([name]).rename_column(name, "image") for name in NEGATIVES]
    negatives = rows["negative_ids"]
    ids = [*rows["page_id"], *(row[i] for i in range(len(NEGATIVES)) for row in negatives)]
    named = {"page_id": ids, "document_id": ids, "kind": ["page"] * len(ids), "has_text": [False] * len(ids)}
    parts = [datasets.concatenate_datasets(parts), datasets.Dataset.from_dict(named)]
    return datasets.concatenate_datasets(parts, axis=1).select_columns(list(_CORPUS_COLUMNS))


def _build_split(
    split: str, max_pixels: int, folder: Path | None = None, limit: int | None = None
) -> datasets.Dataset:
    """Rows of a split from the bundled PDFs: `dataset.COLUMNS`, then `_ID_COLUMNS`.

    `image` is the first page that answers the query.

    Args:
        folder: where rendered pages are kept; by default `runs/small/dataset`.
        limit: only the first rows (they are in random order), and only their pages are rendered.
    """
    queries = load_queries(split)[:limit]
    shown = [(query["page_ids"][0], *query["negative_ids"]) for query in queries]  # positive, negatives
    files = render_pages({page for pages in shown for page in pages}, max_pixels, folder)
    columns = {"query": [query["query"] for query in queries]}
    columns |= {name: [files[pages[i]] for pages in shown] for i, name in enumerate(COLUMNS[1:])}
    columns |= {name: [query.get(name) for query in queries] for name in _ID_COLUMNS}
    return _with_pictures(columns | {"page_id": [page for page, *_ in shown]}, COLUMNS[1:])


def _build_corpus(split: str, max_pixels: int, folder: Path | None = None) -> datasets.Dataset:
    """Every page of a split's bundled documents, with `_CORPUS_COLUMNS`; `folder` as in `_build_split`."""
    pages = [
        (document["document_id"], page) for document in load_documents(split) for page in document["pages"]
    ]
    ids = [make_page_id(document, page["number"]) for document, page in pages]
    files = render_pages(ids, max_pixels, folder)
    values = (
        ids,
        [files[page] for page in ids],
        [document for document, _ in pages],
        [page["kind"] for _, page in pages],
        [not page["scanned"] for _, page in pages],
    )
    return _with_pictures(dict(zip(_CORPUS_COLUMNS, values, strict=True)), ["image"])


def _with_pictures(columns: dict[str, list], pictures: Iterable[str]) -> datasets.Dataset:
    """A table whose columns `pictures` hold paths of pictures."""
    import datasets

    table = datasets.Dataset.from_dict(columns)
    for name in pictures:
        table = table.cast_column(name, datasets.Image())
    return table


def render_pages(page_ids: Iterable[str], max_pixels: int, folder: Path | None = None) -> dict[str, str]:
    """Render pages of the bundled PDFs that are not rendered yet. Returns page id -> path of a PNG file.

    An interrupted run leaves whole pictures only, and the next one goes on from there. Pictures of PDFs that
    have changed since are removed.

    Raises:
        KeyError: a page id of an unknown document. IndexError: a page number the document does not have.
    """
    from tqdm.auto import tqdm

    everything = (*load_documents(), *load_documents(OTHER))
    files = {document["document_id"]: pdf_path(document) for document in everything}
    target = (folder or run_dir("small") / "dataset") / f"pages-{max_pixels}px-{_fingerprint()}"
    for old in target.parent.glob(f"pages-{max_pixels}px-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
    target.mkdir(parents=True, exist_ok=True)
    there = set(os.listdir(target))
    paths: dict[str, str] = {}
    missing: dict[str, list[int]] = {}
    for page in sorted(set(page_ids)):
        document, number = split_page_id(page)
        if document not in files:
            raise KeyError(
                f"No document {document!r} (asked for page {page!r}). data/documents.jsonl lists them all."
            )
        paths[page] = str(target / f"{page}.png")
        if f"{page}.png" not in there:
            missing.setdefault(document, []).append(number)
    with tqdm(
        total=sum(map(len, missing.values())), desc="Rendering pages", unit="page", disable=not missing
    ) as bar:
        for document, numbers in missing.items():
            name = files[document]
            with open_pdf(name) as pdf:
                for number in numbers:
                    picture = render_open_page(pdf, name, number, max_pixels)
                    with replacing(target / f"{make_page_id(document, number)}.png") as partial:
                        picture.save(partial, "PNG", compress_level=3)
                    bar.update()
    return paths


@lru_cache(maxsize=1)
def _fingerprint() -> str:
    """Ten hexadecimal digits that change when any bundled PDF does."""
    digest = hashlib.blake2b(digest_size=5)
    for file in sorted([*(DATA / "pdfs").glob("*.pdf"), *(DATA / OTHER / "pdfs").glob("*.pdf")]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _check_split(split: str) -> None:
    if split not in (*SPLITS, OTHER):
        raise ValueError(f"There is no split {split!r}. Splits: {', '.join((*SPLITS, OTHER))}.")


@lru_cache(maxsize=4)
def _records(name: str) -> tuple[dict, ...]:
    records, file = [], DATA / name
    if not file.is_file():
        raise FileNotFoundError(f"data/{name} is missing. {_RESTORE}")
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"Line {number} of data/{name} is not JSON ({error}). {_RESTORE}") from error
    return tuple(records)


def _hold_out(train: datasets.Dataset, seed: int) -> tuple[datasets.Dataset, datasets.Dataset]:
    """(train, dev): up to `_HUB_DEV_ROWS` random rows, at most a fifth, whose queries are not in the rest."""
    texts = train["query"][:]
    order = list(range(len(texts)))
    random.Random(seed).shuffle(order)
    held: dict[str, int] = {}
    for row in order:
        if len(held) < min(_HUB_DEV_ROWS, len(texts) // 5):
            held.setdefault(texts[row], row)
    rest = [row for row, text in enumerate(texts) if text not in held]
    return train.select(rest), train.select(sorted(held.values()))


def _without_pages_of(scored: Iterable[datasets.Dataset], train: datasets.Dataset) -> datasets.Dataset:
    """The rows none of whose pages is in `scored`: the hub's splits draw negatives from one pool of pages."""
    taken = {key for rows in scored for name in COLUMNS[1:] for key in page_keys(rows, name)}
    pages = zip(*(page_keys(train, name) for name in COLUMNS[1:]))
    kept = [row for row, keys in enumerate(pages) if taken.isdisjoint(keys)]
    print(f"{len(train) - len(kept)} of {len(train)} training rows hold pages that are scored: left out")
    return train.select(kept)


def _with_ids(rows: datasets.Dataset, split: str) -> datasets.Dataset:
    """Add `_ID_COLUMNS` to rows from the hub. A page's id is made of its split, row and column."""
    import datasets

    check_columns(rows, COLUMNS)
    numbers = range(len(rows))
    pages = [f"{split}-{i:05d}-image" for i in numbers]
    ids = {
        "query_id": [f"{split}-{i:05d}" for i in numbers],
        "page_id": pages,
        "document_id": pages,
        "negative_ids": [[f"{split}-{i:05d}-{name}" for name in NEGATIVES] for i in numbers],
        "style": ["hub"] * len(rows),
        "page_ids": [[page] for page in pages],
    }
    extra = datasets.Dataset.from_dict(ids)
    return datasets.concatenate_datasets([rows.select_columns(list(COLUMNS)), extra], axis=1)
