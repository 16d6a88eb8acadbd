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
    assert figure.get_suptitle() == "what grew?"


def test_pages_and_titles_must_fit_together():
    with pytest.raises(ValueError, match="2 pages, 1 titles"):
        plots.show_pages("q", PAGES, titles=["one"])
    with pytest.raises(ValueError, match="at least one page"):
        plots.show_pages("q", [])


def test_show_carries_the_text_and_stays_small(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    plots.show(plots.show_pages("q", PAGES), alt="Two empty pages side by side.")
    data, metadata = shown[0]._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == "Two empty pages side by side."
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
