"""What a model is given: a page as a plain RGB picture, a query as text, whatever they come as.

What is scored and what is drawn goes through here; `checks.readable_rows` names the training rows that the
library would read otherwise.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.pages import CELL, LONGEST, image_size

if TYPE_CHECKING:
    from PIL.Image import Image

_LARGEST = 50_000_000  # pixels: a page at 600 dots an inch has 35 million
_LONG = 5_000  # bytes: models read some 2,000 tokens, the prompt included; a Chinese character has three
_TOKEN = re.compile(r"<(?=[|/\w]\S*>)")  # begins what a tokenizer may take for one of its own: <|im_end|>


def plain_query(query, name: str = "The query") -> str:
    """A query as text that a model reads word by word: with a space, before and after or within, where the
    library would open a URL or a media file, or a tokenizer read `<|image_pad|>` as a picture's place.

    Raises:
        ValueError: not a text, or one without letters and digits; `name` says which.
    """
    from sentence_transformers.base.modality import infer_modality

    if not isinstance(query, str) or not any(map(str.isalnum, query)):
        raise ValueError(f"{name} has no words: {query!r}. Leave it out, or write it as text.")
    query = query.encode("utf-8", "replace").decode()  # half a character, of a broken text, is none
    if len(query.encode()) > _LONG:
        warnings.warn(f"{name} has {len(query):,} characters: a model may cut it off.", stacklevel=2)
    query = _TOKEN.sub("< ", query)
    return query if infer_modality(query) == "text" else f" {query} "


def plain_page(page, max_pixels: int | None = None, name: str | None = None) -> Image:
    """A page as a picture that models and figures read alike: RGB, upright, on white.

    What is transparent shows white below it; more than eight bits of grey are scaled by their own range; of
    several pages or frames the first is taken, with a warning.

    Args:
        page: a picture, the path or the bytes of a picture file, or {"path", "bytes"}, as `datasets` has it.
        max_pixels: a picture with more is brought to `pages.image_size`.
        name: what messages call it; None: its file.

    Raises:
        ValueError: nothing, no picture, one that is cut short, or one too small, long or large for a page.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if isinstance(page, Mapping):
        name = f"{name} ({page['path']})" if name and page.get("path") else name or page.get("path")
        page = page["path"] if page.get("bytes") is None else page["bytes"]
    if name is None:
        name = str(page) if isinstance(page, (str, Path)) else getattr(page, "filename", "") or "The picture"
    if page is None:
        raise ValueError(f"{name} is missing. Leave it out.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # said below
            if not isinstance(page, Image.Image):
                page = Image.open(BytesIO(page if isinstance(page, bytes) else Path(page).read_bytes()))
            width, height = page.size
            if max_pixels is None and width * height > _LARGEST:
                fix = "dataset.map(inputs.plain_row, fn_kwargs={'max_pixels': 600 * 600})"
                raise ValueError(f"it has {width:,} x {height:,} pixels. Give max_pixels; for rows: {fix}")
            page.load()
        frames = getattr(page, "n_frames", 1)
        if frames > 1 and page.tell() == 0:
            warnings.warn(f"{name} holds {frames} pages or frames: the first is read.", stacklevel=2)
        picture = _plain(ImageOps.exif_transpose(page))
    except Exception as error:  # what Pillow raises differs from format to format
        wrong = "it is no picture" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(
            f"{name} does not open as a page: {wrong}. Leave it out, or save it anew from its source."
        ) from error
    width, height = picture.size  # turned, perhaps
    if min(width, height) < CELL or max(width, height) > LONGEST * min(width, height):
        raise ValueError(
            f"{name} has {width} x {height} pixels: a page has at least {CELL} a side, and one side at most "
            f"{LONGEST} times the other. Leave it out."
        )
    if max_pixels is None or width * height <= max_pixels:
        return picture
    return picture.resize(image_size(width, height, max_pixels))


def read_otherwise(image: Image) -> bool:
    """Whether the library shows a picture otherwise than `plain_page`: black where transparent, say."""
    if image.mode[0] in "IF" or image.mode in ("LAB", "La"):
        return True
    return image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255


def _plain(image: Image) -> Image:
    """`image` in RGB."""
    from PIL import Image, ImageCms

    if image.mode[0] in "IF":  # 16 or 32 bits; Pillow's own conversion cuts off at 255
        values = np.asarray(image, np.float64)
        finite = values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
        low, high = finite.min(), finite.max()
        values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
        if high - low < high / 256:  # one grey, but for noise
            low = 0
        return Image.fromarray(((values - low) * 255 / (high - low or 1)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    return image.convert("RGB")


def plain_row(row: Mapping, max_pixels: int | None = None) -> dict:
    """The texts and pictures of a row, plain: for `dataset.map(plain_row)`."""
    from PIL import Image

    texts = {name: plain_query(value) for name, value in row.items() if isinstance(value, str) and value}
    pages = {name: value for name, value in row.items() if isinstance(value, Image.Image)}
    return texts | {name: plain_page(value, max_pixels) for name, value in pages.items()}
