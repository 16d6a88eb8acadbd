"""Tables as notebooks show them, searches of words for the search box, and README's picture."""

import numpy as np
import pytest

from tools import first_search
from tools.tables import show_table
from tools.text_search import by_words


@pytest.fixture
def shown(monkeypatch):
    found = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: found.append(data))
    return found


def test_a_table_is_html_and_plain_text(shown):
    columns = {"NDCG@10": [0.51239, 1.0], "bytes": [1024, 32]}
    show_table("Two <systems>", columns, ["<b>base", "fine-tuned"], bars=["NDCG@10"])
    ((html, plain),) = [(data["text/html"], data["text/plain"]) for data in shown]
    assert "0.512" in html and "1,024" in html and "0.512" in plain and "1024" in plain
    assert "<b>base" not in html and "&lt;b&gt;base" in html and "&lt;systems&gt;" in html, "no markup"
    assert "linear-gradient" in html, "a bar"
    shown.clear()
    show_table("Two <systems>", columns, ["<b>base", "fine-tuned"], bars=["NDCG@10"])
    assert shown[0]["text/html"] == html, "a second run changes nothing"


def test_a_table_says_which_column_is_too_short(shown):
    with pytest.raises(ValueError, match="'b' has 1 values for 2 rows"):
        show_table("x", {"a": [1, 2], "b": [1]}, ["one", "two"])


def test_words_score_every_page_in_order():
    texts = {"p1": "annual report revenue", "p2": "", "p3": "parking permit"}
    scores = by_words(texts)("the parking permit")
    assert scores.shape == (3,) and np.argmax(scores) == 2 and scores[0] == scores[1] == 0
    assert not by_words(texts)("nothing of this").any()


def test_the_picture_needs_notebook_04(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    assert first_search.main() == 2
    assert "make course NOTEBOOKS=04" in capsys.readouterr().err
