"""A lens over a page: what a model gets of it, and where it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from helpers.inputs import plain_page
from helpers.plots import PALETTE, show_rows
from helpers.widgets import READABLE, STYLE, by_embedding, card, display_live, live

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from sentence_transformers import SentenceTransformer

_CELL = 32  # pixels: a visual token of Qwen3-VL covers 32 x 32 of them


@dataclass
class PageLens:
    """A page as a model gets it, and where covering it costs the similarity with a query.

    Attributes:
        models: name -> model, of the Qwen3-VL family.
        page: as large as it is.
        queries: to choose from.
        tokens: numbers of visual tokens to choose from.
        most_cells: that are covered, one at a time; of more, several are covered together.
    """

    models: Mapping[str, SentenceTransformer]
    page: Image
    queries: Sequence[str]
    tokens: Sequence[int]
    most_cells: int = 120

    def __post_init__(self) -> None:
        self._lost = lru_cache(maxsize=64)(self.lost)

    def seen(self, tokens: int) -> Image:
        """The page at the size that the processor gives it for at most so many visual tokens."""
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        most = tokens * _CELL**2
        page = plain_page(self.page, most)
        height, width = smart_resize(page.height, page.width, _CELL, min(_CELL**2, most), most)
        return page.resize((width, height), 3)  # bicubic, as the processor does

    def lost(self, name: str, query: str, tokens: int) -> tuple[np.ndarray, float]:
        """(similarity lost when a part of the page is covered, (rows, columns); similarity of the page).

        Each part in turn gets the page's median colour: Zeiler and Fergus, "Visualizing and Understanding
        Convolutional Networks", 2014, section 2.1, on a retriever.
        """
        from PIL import Image as Pictures

        page = np.array(self.seen(tokens))
        rows, columns = page.shape[0] // _CELL, page.shape[1] // _CELL
        step = int(np.ceil(np.sqrt(rows * columns / self.most_cells)))
        parts = [(row, column) for row in range(0, rows, step) for column in range(0, columns, step)]
        plain, variants = np.median(page.reshape(-1, 3), axis=0), [page]
        for row, column in parts:
            covered = page.copy()
            covered[_CELL * row :, _CELL * column :][: _CELL * step, : _CELL * step] = plain
            variants.append(covered)
        model, size = self.models[name], {"min_pixels": _CELL**2, "max_pixels": page[..., 0].size}
        pages = model.encode_document(
            [Pictures.fromarray(one) for one in variants], batch_size=16, show_progress_bar=False,
            processing_kwargs={"image": size},  # over the limit that it was loaded with
        )  # fmt: skip
        whole, *others = by_embedding(model, pages)(query)
        across = -(-columns // step)
        lost = whole - np.array(others).reshape(-1, across)
        return lost.repeat(step, 0).repeat(step, 1)[:rows, :columns], float(whole)

    def grid(self, tokens: int) -> Image:
        """The page as the model gets it, with a line around each visual token."""
        from PIL import ImageDraw

        page = self.seen(tokens)
        large = page.resize((2 * page.width, 2 * page.height), 0)
        draw = ImageDraw.Draw(large)
        for at in range(0, max(large.size), 2 * _CELL):
            draw.line([(at, 0), (at, large.height)], fill=PALETTE[1])
            draw.line([(0, at), (large.width, at)], fill=PALETTE[1])
        return large

    def heat(self, name: str, query: str, tokens: int) -> Image:
        """The page with what each part loses laid over it, in orange."""
        from PIL import Image as Pictures

        lost, _ = self._lost(name, query, tokens)
        page = plain_page(self.page, READABLE)
        alpha = np.clip(lost, 0, None) / max(float(lost.max()), 1e-9)
        mask = Pictures.fromarray((200 * alpha).astype(np.uint8)).resize(page.size, 3)
        return Pictures.composite(Pictures.new("RGB", page.size, PALETTE[2]), page, mask)

    def _pictures(self, query: str, names: Sequence[str], tokens: int) -> list[tuple[Image, str, bool]]:
        page = self.seen(tokens)
        counted = page.width * page.height // _CELL**2
        shown = [(self.grid(tokens), f"{page.width} x {page.height} pixels, {counted} visual tokens", False)]
        for name in names:
            lost, whole = self._lost(name, query, tokens)
            title = f"{name}: covering costs up to {lost.max():.2f} of {whole:.2f}"
            shown.append((self.heat(name, query, tokens), title, False))
        return shown

    def still(self) -> Figure:
        """What the model gets, and where each model looks for the first query, as a figure."""
        query, tokens = self.queries[0], self.tokens[len(self.tokens) // 2]
        return show_rows(query, {"": self._pictures(query, list(self.models), tokens)})

    def show(self) -> None:
        """Show the lens, or its static picture where nobody looks on."""
        alt = (
            "A page, its grid of visual tokens, and where covering it costs similarity with "
            f"“{self.queries[0]}”: {', '.join(self.models)}."
        )
        display_live(self._widget, self.still, alt, colors=128)

    def answer(self, query: str, name: str, tokens: int, heat: bool) -> str:
        """Both pictures as HTML."""
        shown = self._pictures(query, [name] if heat else [], tokens)
        cards = [card(picture, escape(title), title) for picture, title, _ in shown]
        return f"{STYLE}<div class='vdr-row'>{''.join(cards)}</div>"

    def _widget(self):
        import ipywidgets

        query = ipywidgets.Dropdown(
            options=list(self.queries), description="query", layout={"flex": "1 1 400px"}
        )
        which = ipywidgets.ToggleButtons(options=list(self.models), style={"button_width": "auto"})
        tokens = ipywidgets.SelectionSlider(
            options=sorted(self.tokens), value=self.tokens[len(self.tokens) // 2],
            description="tokens", continuous_update=False,
        )  # fmt: skip
        heat = ipywidgets.Checkbox(value=True, description="where does it look?", indent=False)
        return live(self.answer, [query, which, tokens, heat], [[query, which], [tokens, heat]])
