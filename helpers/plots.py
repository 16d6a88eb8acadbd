"""One look for all figures: colours that colour-blind readers tell apart, and pages beside their query."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from textwrap import fill, shorten
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

# Okabe and Ito, "Color Universal Design", 2008: black, blue, vermillion, green, orange, sky blue, purple.
PALETTE = ("#000000", "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7")
_LINE_STYLES = ("-", "--", "-.", ":")
_PAGE, _GAP, _LINE = 2.7, 0.2, 0.19  # inches: a page and its margin across, margins, a line of text


def style() -> None:
    """Set matplotlib's defaults for the rest of the notebook; line styles change along with colours."""
    import matplotlib.pyplot as plt
    from cycler import cycler

    styles = [_LINE_STYLES[index % len(_LINE_STYLES)] for index in range(len(PALETTE))]
    plt.rcParams.update({
        "axes.prop_cycle": cycler(color=PALETTE, linestyle=styles),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "figure.figsize": (6.4, 3.6),
        "figure.dpi": 90,
        "font.size": 10,
        "savefig.bbox": "tight",
    })  # fmt: skip


def show_pages(
    query: str,
    pages: Sequence[Image],
    titles: Sequence[str] | None = None,
    right: Sequence[bool] | None = None,
) -> Figure:
    """Draw pages in a row below their query.

    Args:
        pages: page images, from the left.
        titles: a line above each page, such as its rank and score.
        right: whether each page answers the query; it gets a thick green frame and a tick in its title if so.

    Raises:
        ValueError: `titles` or `right` of another length than `pages`, or no pages.
    """
    titles = [""] * len(pages) if titles is None else list(titles)
    right = [False] * len(pages) if right is None else list(right)
    if not len(pages) == len(titles) == len(right):
        raise ValueError(
            f"There are {len(pages)} pages, {len(titles)} titles and {len(right)} values of right."
        )
    return show_rows(query, {"": list(zip(pages, titles, right))})


def show_rows(heading: str, rows: Mapping[str, Sequence[tuple[Image, str, bool]]]) -> Figure:
    """Draw several rows of pages, each below its name: a picture, its title, and whether it is framed.

    Raises:
        ValueError: no pages in a row.
    """
    import matplotlib.pyplot as plt

    from helpers.inputs import plain_page

    if not rows or not all(rows.values()):
        raise ValueError("Each row needs at least one page.")
    shown = [[(plain_page(page), title, right) for page, title, right in row] for row in rows.values()]
    # Inches, from the top: the heading; then of each row its name, the titles, and the pages.
    tall = [max((_PAGE - _GAP) * page.height / page.width for page, _, _ in row) for row in shown]
    above = [
        _LINE * (bool(name) + max(1 + title.count("\n") for _, title, _ in row))
        for name, row in zip(rows, shown)
    ]
    width = _PAGE * max(map(len, shown))
    heading = fill(shorten(str(heading), 300), max(20, int(16 * width)))
    top = _LINE * (2 + 1.2 * heading.count("\n"))
    height = top + sum(tall) + sum(above) + _GAP * len(shown)
    figure = plt.figure(figsize=(width, height))
    figure.text(0.5, 1 - 0.3 * _LINE / height, _literal(heading), ha="center", va="top", fontsize=10)
    at = top
    for name, row, page_height, lines in zip(rows, shown, tall, above):
        if name:
            figure.text(_GAP / width, 1 - at / height, _literal(name), va="top", fontsize=9, weight="bold")
        at += lines
        for number, (page, title, right) in enumerate(row):
            inner = _PAGE - _GAP
            own = inner * page.height / page.width
            axis = figure.add_axes(
                ((_PAGE * number + _GAP / 2) / width, 1 - (at + own) / height, inner / width, own / height)
            )
            draw_page(axis, page, title, right)
        at += page_height + _GAP
    plt.close(figure)  # the notebook shows it once, where `show` is called
    return figure


def draw_page(axis: Axes, page: Image, title: str, right: bool) -> None:
    """A page on axes of its shape, with a green frame and a tick if it is right."""
    axis.imshow(page, aspect="auto")
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.set_title(_literal(f"✓ {title}" if right else title), fontsize=8, pad=4)
    for spine in axis.spines.values():
        spine.set(visible=True, color=PALETTE[3] if right else "#999999", linewidth=3 if right else 0.8)


def _literal(text: str) -> str:
    """`text` as matplotlib draws it as it is: a price is no formula."""
    return str(text).replace("$", r"\$")


def show(figure: Figure, alt: str) -> None:
    """Show a figure in a notebook with a text for readers who do not see it.

    Raises:
        ValueError: no alternative text.
    """
    from IPython.display import display

    picture, metadata = picture_of(figure, alt)
    display(picture, raw=True, metadata=metadata)


def picture_of(figure: Figure, alt: str, colors: int = 40) -> tuple[dict[str, str], dict]:
    """(data, metadata) of a figure as a notebook keeps them; the text stands where no picture is shown, too.

    The picture is kept at few colours, which a chart or a page does not miss, so that notebooks stay small.
    """
    import matplotlib.pyplot as plt
    from PIL import Image

    if not alt.strip():
        raise ValueError("show needs an alternative text: say in a sentence what the figure shows.")
    drawn, small = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", bbox_inches="tight")
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(colors, dither=Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    data = {"image/png": b64encode(small.getvalue()).decode(), "text/plain": alt}
    return data, {"image/png": {"alt": alt}}
