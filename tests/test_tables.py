"""Tables as notebooks show them, searches of words for the search box, and README's picture."""

import json
import re

import numpy as np
import pytest

from tests.conftest import NOTEBOOKS
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


def test_no_table_gets_the_bars_of_another_on_its_page(shown):
    for caption, bars in (("one", []), ("two", ["a"])):
        show_table(caption, {"a": [0.5]}, ["row"], bars=bars)
    ids = [set(re.findall(r'id="(T_[^"]+)"', data["text/html"])) for data in shown]
    assert all(ids) and not ids[0] & ids[1]


def test_each_table_of_a_notebook_has_an_id_of_its_own():
    for file in NOTEBOOKS:
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
        tables = [re.search(r'<table id="(\w+)"', "".join(data.get("text/html", ""))) for data in outputs]
        found = [table[1] for table in tables if table]
        assert len(set(found)) == len(found), file.name


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
