"""Pages that are there twice: as the same file, or as one that was scaled or compressed.

Every page is drawn once as a small grey picture. Two pages are near if these pictures differ little on
average; a copy differs little in every place too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import datasets
    from PIL import Image

_SIDE = 48  # pixels a side of the grey picture that stands for a page
# Grey levels of 255: pages whose pictures differ by less, on average, count as near. On pages of reports and
# slides, one that was scaled to another size differs from itself by 0.4 at most, as a JPEG of quality 75 by
# 0.2 (median), and from a page of another organization by 1.7 or more.
NEAR = 0.6
BLANK = 2.0  # grey levels: a page whose picture varies by less (standard deviation) shows nothing
# Two pictures that differ little on average may differ in the one digit that matters: covers of two years do.
# So pages count as the same only if no place on them differs by more than this many grey levels of 255 when
# both are drawn at _DRAWN pixels. On the same pages, copies scaled or saved as JPEG differ by 21 at most,
# pages that only share a layout by 51 or more.
LOCAL = 35.0
_DRAWN = (96, 128)  # width, height


def undecoded(rows: datasets.Dataset, column: str) -> datasets.Dataset:
    """Only this column of pictures, each as {"path", "bytes"}."""
    import datasets

    return rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))


def picture_key(picture: Mapping) -> str:
    """What tells a picture that is not decoded from others: its path, or a hash of its bytes where there is
    no path.
    """
    if picture["bytes"] is None:
        return picture["path"]
    return hashlib.blake2b(picture["bytes"], digest_size=12).hexdigest()


def page_keys(rows: datasets.Dataset, column: str) -> list[str]:
    """The key of each picture in a column, row by row."""
    return [picture_key(row[column]) for row in undecoded(rows, column)]


def page_pictures(rows: datasets.Dataset, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Every page in `columns` once, by its key, as a grey picture of 48 x 48 (float32, flat, 0 to 255)."""
    import datasets
    from PIL import Image

    decoder, found = datasets.Image(), {}
    for column in columns:
        for row in undecoded(rows, column):
            key = picture_key(row[column])
            if key not in found:
                picture = decoder.decode_example(row[column]).convert("L")
                small = picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
                found[key] = np.asarray(small, np.float32).ravel()
    return found


def near_rows(a: np.ndarray, b: np.ndarray, near: float = NEAR) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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


def local_difference(a: Image.Image, b: Image.Image) -> float:
    """The largest difference, in grey levels of 255, between two pages drawn at the same small size."""
    from PIL import Image

    one, other = (
        np.asarray(page.convert("L").resize(_DRAWN, Image.Resampling.LANCZOS), np.float32) for page in (a, b)
    )
    return float(np.abs(one - other).max())
