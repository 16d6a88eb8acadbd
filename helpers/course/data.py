"""The course's own data, as collections: the bundled documents, those of other kinds, the hub's data set.
Page pictures are kept under `runs/<profile>/dataset`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.collection import SPLITS, Collection, read_lines
from helpers.course.profiles import ROOT, run_dir
from helpers.settings import Settings

if TYPE_CHECKING:
    import datasets

    from tools.hub import HubCollection

OTHER = "other"  # the split of a second collection, of other kinds of document: only to be scored with
DATA = ROOT / "data"
_RESTORE = "Restore it with `git checkout -- data`, or write it again with `python data/make/documents.py`."


def load_collection(profile: Settings, split: str | None = None) -> Collection | HubCollection:
    """The data of a profile: the folder that `profile.collection` names, else its data set on the hub, else
    the bundled documents. Each has the calls `split`, `corpus`, `task` and `texts`; `profile.train_rows` cuts
    `train`. With the split `OTHER` it is always that of other kinds.
    """
    if split == OTHER:
        return bundled(profile.max_pixels, run_dir(profile) / "dataset", OTHER)
    if profile.collection is None and profile.dataset is not None:
        from tools.hub import HubCollection

        return HubCollection(profile)
    pictures = run_dir(profile) / "dataset"
    if profile.collection is None:
        collection = bundled(profile.max_pixels, pictures)
    else:
        collection = Collection.load(profile.collection, profile.max_pixels, pictures)
    collection.train_rows = profile.train_rows
    return collection


def bundled(max_pixels: int, pictures: Path | None = None, name: str = "") -> Collection:
    """The bundled documents, or those of `OTHER`; pages are kept in `pictures`, or `runs/small/dataset`."""
    lines = (list(_records(str(Path(name, f"{kind}.jsonl")))) for kind in ("documents", "queries"))
    return Collection(*lines, DATA / name, pictures or run_dir("small") / "dataset", max_pixels)


def load_queries(split: str | None = None) -> list[dict]:
    """The bundled queries of a split, or of all splits, as in `data/queries.jsonl`; those of `OTHER` come
    from `data/other/queries.jsonl`, and only when asked for.

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
    if split not in (None, OTHER, *SPLITS):
        raise ValueError(f"There is no split {split!r}. Splits: {', '.join((*SPLITS, OTHER))}.")
    records = _records(f"{OTHER}/{name}" if split == OTHER else name)
    return [record for record in records if split in (None, record["split"])]


def pdf_path(document: dict) -> Path:
    """The PDF file of a record that `load_documents` returned."""
    return DATA / (OTHER if document["split"] == OTHER else "") / "pdfs" / document["file"]


def load_dataset(profile: Settings) -> datasets.DatasetDict:
    """Splits `train`, `dev` and `eval` of the profile's collection; `profile.train_rows` cuts `train`."""
    import datasets

    return datasets.DatasetDict({split: load_split(profile, split) for split in SPLITS})


def load_split(profile: Settings, split: str, limit: int | None = None) -> datasets.Dataset:
    """One split of the profile's collection, cut to `limit` rows; `OTHER` is always the bundled one."""
    return load_collection(profile, split).split(split, limit)


def load_corpus(profile: Settings, split: str) -> datasets.Dataset:
    """The pages that the queries of a split are searched in; `OTHER` as in `load_split`."""
    return load_collection(profile, split).corpus(split)


@lru_cache(maxsize=4)
def _records(name: str) -> tuple[dict, ...]:
    file = DATA / name
    if not file.is_file():
        raise FileNotFoundError(f"data/{name} is missing. {_RESTORE}")
    try:
        return tuple(read_lines(file))
    except ValueError as error:
        raise ValueError(f"{error} {_RESTORE}") from error
