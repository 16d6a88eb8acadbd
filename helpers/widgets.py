"""A search box to touch in a notebook, and what other live pieces are made of.

Where nobody looks on (papermill, a test), a piece draws one static picture instead. That picture also stands
beside the live piece, for a front end without widgets.
"""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path
from textwrap import fill, shorten
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from helpers.hardware import watched
from helpers.inputs import plain_page, plain_query
from helpers.plots import picture_of, show_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from sentence_transformers import SentenceTransformer

READABLE = 600 * 850  # pixels of a page that people are to read
_MOST_WORDS = 300  # of a query; a model cuts it anyway
_HINT = "Nothing happens? The kernel was restarted, or has stopped: run the notebook up to this cell."
STYLE = """<style>.widget-html-content{min-width:0;white-space:normal}
.vdr-row{display:flex;flex-wrap:wrap;gap:12px;line-height:1.4} .vdr-page{width:290px}
.vdr-page[open]{width:620px;max-width:100%} .vdr-page summary{list-style:none;cursor:zoom-in}
.vdr-page img{width:100%;box-sizing:border-box;border:1px solid #999} .vdr-right img{border:5px solid #009E73}
</style>"""

#: Scores of all pages for a query, (pages,), with so many dimensions of an embedding, or None for all.
Search = Callable[[str, int | None], np.ndarray]


def by_embedding(model: SentenceTransformer, page_embeddings: np.ndarray) -> Search:
    """A search by cosine similarity with embeddings of pages, (pages, dimensions), for a `SearchBox`."""

    @lru_cache(maxsize=16)
    def pages(dimensions: int | None) -> np.ndarray:
        return _unit(np.asarray(page_embeddings, dtype=np.float32)[:, :dimensions])

    def search(query: str, dimensions: int | None = None) -> np.ndarray:
        vector = model.encode_query([plain_query(query)], show_progress_bar=False)
        return pages(dimensions) @ _unit(np.asarray(vector, dtype=np.float32)[:, :dimensions])[0]

    return search


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


@dataclass
class SearchBox:
    """A box for queries above the pages that they find.

    Attributes:
        searches: name, such as "fine-tuned" -> search.
        page_ids: in the order of the searches' scores.
        picture: page id -> picture that people can read.
        examples: query -> pages that answer it, to be clicked; the first is drawn where nobody looks on.
        source: page id -> its file, and its number there.
        dimensions: sizes of an embedding to choose from, the largest first; none: no slider.
        first: number of pages shown.
    """

    searches: Mapping[str, Search]
    page_ids: Sequence[str]
    picture: Callable[[str], Image]
    examples: Mapping[str, set[str]] = field(default_factory=dict)
    source: Callable[[str], tuple[Path, int]] | None = None
    dimensions: Sequence[int] = ()
    first: int = 4

    def __post_init__(self) -> None:
        if not self.searches or not len(self.page_ids):
            raise ValueError("A search box needs at least one search, and pages to search.")

    def find(self, query: str, name: str, dimensions: int | None = None) -> tuple[list[str], int | None]:
        """(all page ids, best first; the place from 1 of the first page that answers `query`, if known)."""
        scores = np.asarray(self.searches[name](query, dimensions))
        order = [self.page_ids[i] for i in np.argsort(-scores, kind="stable")]
        right = self.examples.get(query, set())
        return order, next((place for place, page in enumerate(order, 1) if page in right), None)

    def still(self, query: str) -> Figure:
        """The first pages of each search for a query, as a figure."""
        right, rows = self.examples.get(query, set()), {}
        for name in self.searches:
            order, place = self.find(query, name)
            known = f": the right page is at place {place:,} of {len(order):,}" if place else ""
            shown = [(self._page(page), f"{rank}. {self._where(page)}", page in right)
                     for rank, page in enumerate(order[: self.first], 1)]  # fmt: skip
            rows[f"{name}{known}"] = shown
        return show_rows(query, rows)

    def show(self) -> None:
        """Show the box, or its static picture where nobody looks on."""
        query = next(iter(self.examples), "page")
        display_live(self._widget, lambda: self.still(query), f"The first pages for “{query}”, by "
                 f"{' and '.join(self.searches)}; a page that answers it has a green frame.")  # fmt: skip

    def answer(self, query: str, name: str, dimensions: int | None = None) -> str:
        """The result as HTML: a line about the search, then the first pages."""
        words = query.split()
        if not words:
            return "Type a query, or choose an example."
        cut = f" Only its first {_MOST_WORDS} words were searched for." if len(words) > _MOST_WORDS else ""
        query = " ".join(words[:_MOST_WORDS])
        started = time.perf_counter()
        order, place = self.find(query, name, dimensions or None)
        took = 1000 * (time.perf_counter() - started)
        size = f", {4 * dimensions:,} bytes a page" if dimensions else ""
        found = f" The right page is at place <b>{place:,}</b>." if place else ""
        right = self.examples.get(query, set())
        cards = [self._card(page, rank, page in right) for rank, page in enumerate(order[: self.first], 1)]
        said = f"<p>{len(order):,} pages searched in {took:.0f} ms{size}.{found}{cut}</p>"
        return f"{STYLE}{said}<div class='vdr-row'>{''.join(cards)}</div>"

    def _page(self, page: str) -> Image:
        from PIL import Image as Pictures
        from PIL import ImageDraw

        try:
            return plain_page(self.picture(page), READABLE)
        except Exception as error:  # one page that cannot be drawn hides no other
            notice = Pictures.new("RGB", (600, 400), "white")
            text = fill(f"{page} cannot be drawn: {error}", 60)
            ImageDraw.Draw(notice).multiline_text((20, 20), text, fill="black")
            return notice

    def _where(self, page: str) -> str:
        if self.source is None:
            return page
        file, number = self.source(page)
        return f"{shorten(file.name, 40)}, page {number}"

    def _card(self, page: str, rank: int, right: bool) -> str:
        where = escape(self._where(page))
        if self.source is not None and (url := _url(*self.source(page))):
            where = f"<a href='{url}' target='_blank'>{where}</a>"
        return card(self._page(page), f"<b>{rank}.</b> {'✓ ' if right else ''}{where}", page, right)

    def _widget(self):
        import ipywidgets

        box = ipywidgets.Text(
            value=next(iter(self.examples), ""), placeholder="Type a query, then Enter",
            continuous_update=False, layout={"flex": "1 1 400px"},
        )  # fmt: skip
        which = ipywidgets.ToggleButtons(options=list(self.searches), style={"button_width": "auto"})
        sizes = sorted(self.dimensions or [0])
        size = ipywidgets.SelectionSlider(options=sizes, value=sizes[-1], description="dimensions")
        examples = []
        for query in list(self.examples)[:4]:
            button = ipywidgets.Button(
                description=shorten(query, 46), tooltip=query, layout={"width": "auto"}
            )
            button.on_click(lambda clicked: setattr(box, "value", clicked.tooltip))
            examples.append(button)
        rows = [[box, which], [*([size] if self.dimensions else []), *examples]]
        return live(self.answer, [box, which, size], rows)


def live(answer: Callable[..., str], controls: Sequence, rows: Sequence[Sequence]):
    """Rows of widgets above `answer(...)` of the controls' values, made anew when one of them changes."""
    import ipywidgets

    result = ipywidgets.HTML()

    def update(_=None) -> None:
        try:
            result.value = answer(*(control.value for control in controls))
        except Exception as error:  # where it is seen, and not only in a log
            result.value = f"<p>{escape(f'{type(error).__name__}: {error}')}</p>"

    for control in controls:
        control.observe(update, names="value")
    update()
    boxes = [ipywidgets.HBox(list(row), layout={"flex_flow": "row wrap"}) for row in rows]
    return ipywidgets.VBox([*boxes, result, ipywidgets.HTML(f"<small>{_HINT}</small>")])


def card(picture: Image, caption: str, alt: str, right: bool = False) -> str:
    """A picture that grows when it is clicked, above its caption, as HTML."""
    drawn = BytesIO()
    picture.save(drawn, "JPEG", quality=80)
    data = b64encode(drawn.getvalue()).decode()
    image = f"<img src='data:image/jpeg;base64,{data}' alt='{escape(alt)}'>"
    kind = "vdr-page vdr-right" if right else "vdr-page"
    return f"<details class='{kind}'><summary>{image}<div>{caption}</div></summary></details>"


def _url(file: Path, number: int) -> str | None:
    """Where JupyterLab serves a page's file; None where it does not, or does not say what it serves."""
    served = os.environ.get("JUPYTER_SERVER_ROOT")
    if not served or not (file := Path(file).resolve()).is_relative_to(served):
        return None
    return f"/files/{quote(file.relative_to(served).as_posix())}#page={number}"


def display_live(widget: Callable, still: Callable[[], Figure], alt: str, colors: int = 40) -> None:
    """Show a live piece, with its static picture for front ends that have no widgets; else the picture."""
    from IPython.display import display

    alive = widget()._repr_mimebundle_() if watched() else {}
    picture, metadata = picture_of(still(), alt, colors)
    display({**alive, **picture}, raw=True, metadata=metadata)
