"""The data set of a profile on the hub, with the calls of a `helpers.collection.Collection`."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from helpers.collection import ROW_COLUMNS, SPLITS
from helpers.copies import page_keys
from helpers.dataset import COLUMNS, NEGATIVES, check_columns, retrieval_task
from helpers.settings import Settings
from tools.readiness import in_cache

if TYPE_CHECKING:
    import datasets

_HUB_DEV_ROWS = 150


class HubCollection:
    """The profile's data set on the hub, with the calls of a `Collection`.

    `dev` is held out from its `train`, and rows of `train` with a page that is in the others are left out.
    Its pages have no text layer.
    """

    def __init__(self, profile: Settings) -> None:
        self.profile = profile

    def split(self, name: str, limit: int | None = None) -> datasets.Dataset:
        """As `Collection.split`. Of a data set that is not here yet, only `limit` rows are downloaded, the
        first that come.
        """
        if name not in SPLITS:
            raise ValueError(f"There is no split {name!r}. Splits: {', '.join(SPLITS)}.")
        if limit is not None and not in_cache(self.profile.dataset, "dataset"):
            import datasets

            first = _from_hub(self.profile, "eval" if name == "eval" else "train", streaming=True)
            rows = datasets.Dataset.from_list(list(first.take(limit)), features=first.features)
            return _with_ids(rows, name)
        rows = _load_hub(self.profile)[name]
        return rows if limit is None else rows.select(range(min(limit, len(rows))))

    def corpus(self, name: str) -> datasets.Dataset:
        """The pages of a split: its positives, then its negatives."""
        import datasets

        rows = self.split(name)
        parts = [rows.select_columns(["image"])]
        parts += [rows.select_columns([column]).rename_column(column, "image") for column in NEGATIVES]
        negatives = rows["negative_ids"]
        ids = [*rows["page_id"], *(row[i] for i in range(len(NEGATIVES)) for row in negatives)]
        named = datasets.Dataset.from_dict(
            {"page_id": ids, "document_id": ids, "has_text": [False] * len(ids)}
        )
        parts = [datasets.concatenate_datasets(parts), named]
        columns = ["page_id", "image", "document_id", "has_text"]
        return datasets.concatenate_datasets(parts, axis=1).select_columns(columns)

    def task(self, name: str) -> tuple[dict[str, str], dict[str, object], dict[str, set[str]]]:
        """As `Collection.task`."""
        return retrieval_task(self.split(name), self.corpus(name), self.profile.max_pixels)

    def texts(self, name: str | None = None, read: bool = True) -> dict[str, str]:
        """No page has any."""
        return {}


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
    """Add `ROW_COLUMNS` to rows from the hub. A page's id is made of its split, row and column."""
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
    extra = datasets.Dataset.from_dict({name: ids[name] for name in ROW_COLUMNS})
    return datasets.concatenate_datasets([rows.select_columns(list(COLUMNS)), extra], axis=1)
