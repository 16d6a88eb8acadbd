"""One look for all figures: colours that colour-blind readers tell apart, and pages beside their query."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from textwrap import shorten
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

# Okabe and Ito, "Color Universal Design", 2008: black, blue, vermillion, green, orange, sky blue, purple.
PALETTE = ("#000000", "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7")
_LINE_STYLES = ("-", "--", "-.", ":")


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
    import matplotlib.pyplot as plt

    from helpers.inputs import plain_page

    if not pages:
        raise ValueError("show_pages needs at least one page.")
    pages = [plain_page(page) for page in pages]
    titles = [""] * len(pages) if titles is None else list(titles)
    right = [False] * len(pages) if right is None else list(right)
    if not len(pages) == len(titles) == len(right):
        raise ValueError(
            f"There are {len(pages)} pages, {len(titles)} titles and {len(right)} values of right."
        )
    tallest = max(page.height / page.width for page in pages)
    size = (2.3 * len(pages), 0.75 + 1.75 * tallest)
    figure, axes = plt.subplots(1, len(pages), figsize=size, squeeze=False)
    for axis, page, title, answers in zip(axes[0], pages, titles, right):
        axis.imshow(page)
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.set_title(_literal(f"✓ {title}" if answers else title), fontsize=8)
        for spine in axis.spines.values():
            spine.set(
                visible=True, color=PALETTE[3] if answers else "#999999", linewidth=3 if answers else 0.8
            )
    figure.suptitle(_literal(shorten(str(query), 300)), fontsize=10, wrap=True)
    figure.tight_layout()
    plt.close(figure)  # the notebook shows it once, where `show` is called
    return figure


def _literal(text: str) -> str:
    """`text` as matplotlib draws it as it is: a price is no formula."""
    return str(text).replace("$", r"\$")


def show(figure: Figure, alt: str) -> None:
    """Show a figure in a notebook with a text for readers who do not see it.

    The picture is kept at 64 colours, which a chart or a page does not miss, so that notebooks stay small.

    Raises:
        ValueError: no alternative text.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Image as Shown
    from IPython.display import display
    from PIL import Image

    if not alt.strip():
        raise ValueError("show needs an alternative text: say in a sentence what the figure shows.")
    drawn, small = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", bbox_inches="tight")
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    display(Shown(data=small.getvalue(), alt=alt))
