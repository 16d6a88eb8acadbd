"""A table as a notebook shows it: HTML with bars where they help, and plain text where there is no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from zlib import crc32


def show_table(
    caption: str,
    columns: Mapping[str, Sequence],
    rows: Sequence[str],
    bars: Sequence[str] = (),
    digits: int = 3,
) -> None:
    """Display columns of equal length.

    Args:
        rows: a name for each row.
        bars: columns of figures from 0 to 1 that get a bar behind the number.
        digits: after the point of every figure that is not whole.

    Raises:
        ValueError: a column of another length than `rows`.
    """
    import pandas
    from IPython.display import display

    odd = [name for name, values in columns.items() if len(values) != len(rows)]
    if odd:
        raise ValueError(f"The column {odd[0]!r} has {len(columns[odd[0]])} values for {len(rows)} rows.")
    frame = pandas.DataFrame({name: list(values) for name, values in columns.items()}, index=list(rows))
    styled = (
        frame.style.format(precision=digits, thousands=",", escape="html")
        .format_index(escape="html")
        .set_caption(escape(caption))
    )
    if bars:
        styled = styled.bar(subset=list(bars), vmin=0, vmax=1, color="#BFD9EA")
    plain = f"{caption}\n{frame.to_string(float_format=f'{{:.{digits}f}}'.format)}"
    # Styles go by the table's id: two tables of one page that share it get each other's bars.
    styled = styled.set_uuid(f"{crc32(plain.encode()):08x}").set_table_styles(
        [{"selector": "caption", "props": "text-align: left; font-weight: bold; padding: 4px 0"}]
    )
    display({"text/html": styled.to_html(), "text/plain": plain}, raw=True)
