"""Pages that are there twice: as the same file, or as one that was scaled or compressed.

Every page is drawn once as a small grey picture. Two pages are near if these pictures differ little on
average; a copy differs little in every place too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from helpers.inputs import plain_page, read_otherwise

if TYPE_CHECKING:
    import datasets
    from PIL import Image

_SIDE = 48  # pixels a side of the grey picture that stands for a page
# Grey levels of 255: pages whose pictures differ by less, on average, count as near. On pages of reports and
# slides, one that was scaled to another size differs from itself by 0.4 at most, as a JPEG of quality 75 by
# 0.2 (median), and from a page of another organization by 1.7 or more.
NEAR = 0.6
BLANK = 2.0  # grey levels: a page whose picture varies by less (standard deviation) shows nothing
# Pages that differ little on average may differ in the one digit that matters, as covers of two years do. So
# the same are only those that differ by less than this in every place, drawn at _DRAWN pixels: on the same
# pages, copies scaled or saved as JPEG differ by 21 at most, pages that only share a layout by 51 or more.
_LOCAL = 35.0
_DRAWN = (96, 128)  # width, height


def undecoded(rows: datasets.Dataset, column: str) -> datasets.Dataset:
    """Only this column of pictures, each as {"path", "bytes"}."""
    import datasets

    return rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _picture_key(picture: Mapping | None) -> str:
    """What tells a picture that is not decoded from others: a hash of its file; where none is, its name."""
    content, path = (picture["bytes"], picture["path"]) if picture else (None, None)
    if content is not None:
        return hashlib.blake2b(content, digest_size=12).hexdigest()
    return _file_key(path, os.stat(path).st_mtime_ns) if os.path.isfile(path or "") else path or ""


@cache
def _file_key(path: str, changed: int) -> str:
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=12).hexdigest()


def page_keys(rows: datasets.Dataset, column: str) -> list[str]:
    """A key for each picture in a column, row by row: equal where the files are."""
    return [_picture_key(picture) for picture in undecoded(rows, column)[column]]


def no_duplicates(rows: datasets.Dataset, **options):
    """The library's NO_DUPLICATES, for `batch_sampler=` of the training arguments, over keys, not pages: none
    is decoded, and equal files of two names, which the library tells apart, are one page.
    """
    import datasets
    from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

    pictures = {name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)}
    keys = {name: page_keys(rows, name) if name in pictures else rows[name][:] for name in rows.column_names}
    return NoDuplicatesBatchSampler(datasets.Dataset.from_dict(keys), **options)


class Drawn(NamedTuple):
    """What is kept of a page that was decoded."""

    grey: np.ndarray  # the grey picture of 48 x 48, flat, 0 to 255
    size: tuple[int, int]  # of the page, in pixels: width, height
    otherwise: bool  # the library reads it otherwise, `inputs.read_otherwise`


_drawn: dict[str, Drawn] = {}  # each page is decoded once a process; 2.3 KB are kept of it


def draw(picture: Mapping | None, name: str) -> Drawn:
    """Decode a page, {"path", "bytes"}, unless that was done before. Raises as `plain_page` of `inputs`."""
    from PIL import Image

    key = _picture_key(picture)
    if key not in _drawn:
        page = plain_page(picture, name=name)
        content = picture["bytes"]
        with Image.open(picture["path"] if content is None else BytesIO(content)) as image:
            otherwise = read_otherwise(image)
        small = page.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        _drawn[key] = Drawn(np.asarray(small).ravel(), page.size, otherwise)
    return _drawn[key]


def page_pictures(rows: datasets.Dataset, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Every page in `columns` once, by its key, as a grey picture of 48 x 48 (float32, flat, 0 to 255).

    Raises:
        ValueError: a page that cannot be read, with its row and column.
    """
    found = {}
    for column in columns:
        for row, picture in enumerate(undecoded(rows, column)[column]):
            drawn = draw(picture, f"The page of row {row} in column {column!r}")
            found.setdefault(_picture_key(picture), drawn.grey.astype(np.float32))
    return found


def _near_rows(a: np.ndarray, b: np.ndarray, near: float = NEAR) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for each row of `a` (n, d), the rows of `b` (m, d) whose mean absolute difference is below
    `near`, nearest first, and the differences.
    """
    means = b.mean(axis=1)
    order = np.argsort(means)
    means = means[order]
    for row in a:
        # a mean of absolute differences is never below the difference of the means
        low, high = np.searchsorted(means, [row.mean() - near, row.mean() + near])
        distances = np.abs(b[order[low:high]] - row).mean(axis=1)
        rising = [place for place in np.argsort(distances, kind="stable") if distances[place] < near]
        yield order[low:high][rising], distances[rising]


class Same(NamedTuple):
    """A page that is in two data sets: where, and by how many grey levels the two differ."""

    row: int
    other_row: int
    other_column: str
    average: float
    worst: float

    def __str__(self) -> str:
        return f"{self.average:.2f} grey levels apart on average, {self.worst:.0f} at most"


def same_pages(
    rows: datasets.Dataset,
    others: datasets.Dataset,
    columns: Sequence[str] = ("image",),
    near: float = NEAR,
) -> Iterator[Same]:
    """Yield the pages of `rows`, in its column image, that look like one in `columns` of `others`; a page's
    nearest first. Blank pages are left out, and so is a page beside itself.
    """
    first = {key: row for row, key in reversed(list(enumerate(page_keys(rows, "image"))))}
    where: dict[str, tuple[int, str]] = {}
    for column in columns:
        for row, key in enumerate(page_keys(others, column)):
            where.setdefault(key, (row, column))
    a, b = page_pictures(rows, ["image"]), page_pictures(others, columns)
    if not a or not b:
        return
    keys, drawn = list(b), np.stack(list(b.values()))
    for (key, picture), (places, averages) in zip(
        a.items(), _near_rows(np.stack(list(a.values())), drawn, near)
    ):
        if picture.std() < BLANK:
            continue
        row = first[key]
        for place, average in zip(places, averages):
            other_row, column = where[keys[place]]
            if rows is others and other_row <= row:
                continue  # each pair once
            worst = _local_difference(rows[row]["image"], others[other_row][column])
            if worst < _LOCAL:
                yield Same(row, other_row, column, float(average), worst)


def _local_difference(a: Image.Image, b: Image.Image) -> float:
    """The largest difference, in grey levels of 255, between two pages drawn at the same small size."""
    from PIL import Image

    one, other = (
        np.asarray(plain_page(page).convert("L").resize(_DRAWN, Image.Resampling.LANCZOS), np.float32)
        for page in (a, b)
    )
    return float(np.abs(one - other).max())
