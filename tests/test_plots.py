"""Figures: pages beside their query, and small pictures with a text for readers who do not see them."""

import base64
from io import BytesIO

import pytest
from PIL import Image

from helpers import hardware, plots


@pytest.fixture(autouse=True)
def without_a_display(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")


PAGES = [Image.new("RGB", (224, 320), colour) for colour in ("white", "lightgray")]


def test_pages_in_a_row_mark_the_right_one():
    figure = plots.show_pages("what grew?", PAGES, titles=["rank 1", "rank 2"], right=[False, True])
    assert [axis.get_title() for axis in figure.axes] == ["rank 1", "✓ rank 2"]
    assert figure.texts[0].get_text() == "what grew?"


def test_rows_of_pages_have_names_and_do_not_overlap():
    wide = Image.new("RGB", (320, 224), "white")
    rows = {
        "base": [(PAGES[0], "1", False), (wide, "2", True)],
        "fine-tuned": [(wide, "1\nof two lines", True)],
    }
    figure = plots.show_rows("what grew?", rows)
    assert [text.get_text() for text in figure.texts] == ["what grew?", "base", "fine-tuned"]
    boxes = [axis.get_position() for axis in figure.axes]
    assert len(boxes) == 3
    for axis, (page, _, _) in zip(figure.axes, (one for row in rows.values() for one in row)):
        box = axis.get_window_extent()
        assert box.height / box.width == pytest.approx(page.height / page.width, rel=0.01)
    assert min(boxes[0].y0, boxes[1].y0) > boxes[2].y1, "the second row is below the first"
    with pytest.raises(ValueError, match="at least one page"):
        plots.show_rows("q", {"empty": []})


def test_pages_and_titles_must_fit_together():
    with pytest.raises(ValueError, match="2 pages, 1 titles"):
        plots.show_pages("q", PAGES, titles=["one"])
    with pytest.raises(ValueError, match="at least one page"):
        plots.show_pages("q", [])


def test_show_carries_the_text_and_stays_small(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, **kept: shown.append((data, kept["metadata"]))
    )
    plots.show(plots.show_pages("q", PAGES), alt="Two empty pages side by side.")
    ((data, metadata),) = shown
    assert metadata["image/png"]["alt"] == data["text/plain"] == "Two empty pages side by side."
    picture = Image.open(BytesIO(base64.b64decode(data["image/png"])))
    assert picture.mode == "P"
    assert picture.width > 300
    with pytest.raises(ValueError, match="alternative text"):
        plots.show(plots.show_pages("q", PAGES), alt=" ")


def test_style_changes_lines_along_with_colours():
    import matplotlib.pyplot as plt

    with plt.rc_context():
        plots.style()
        cycle = list(plt.rcParams["axes.prop_cycle"])
    assert len({(entry["color"], entry["linestyle"]) for entry in cycle}) == len(plots.PALETTE)
    assert cycle[0]["linestyle"] != cycle[1]["linestyle"]


def test_machine_is_described():
    facts = hardware.describe()
    assert {"Python", "torch", "CPU cores", "memory", "device", "attention"} <= set(facts)
    assert hardware.peak_memory_mb() > 10
    assert hardware.attn_implementation() in ("sdpa", "flash_attention_2")


def test_the_text_reaches_whoever_reads_a_saved_notebook():
    """nbconvert writes it beside the picture; where no picture is shown, it stands alone."""
    import nbformat
    from nbconvert import HTMLExporter

    alt = "Two empty pages side by side."
    data, metadata = plots.picture_of(plots.show_pages("q", PAGES), alt)
    cell = nbformat.v4.new_code_cell(
        "show", outputs=[nbformat.v4.new_output("display_data", data, metadata=metadata)]
    )
    html, _ = HTMLExporter(template_name="basic").from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert f'alt="{alt}"' in html and "data:image/png;base64" in html
    assert data["text/plain"] == alt
