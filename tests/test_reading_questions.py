"""Each question of tests/reading_questions.md is answered where it says, in the words that it quotes."""

import json
import re
from collections import Counter
from typing import NamedTuple
from urllib.parse import unquote

import pytest

from helpers.course.profiles import ROOT

FILE = ROOT / "tests" / "reading_questions.md"
ASKED = 24
NOTEBOOKS = ("00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10")


class Question(NamedTuple):
    """One question, and where its answer stands."""

    number: int
    question: str
    notebook: str
    anchor: str
    quoted: str
    answer: str


def questions(text: str) -> list[Question]:
    """The questions of the page, in order."""
    found = []
    for block in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        parts = re.fullmatch(
            r"(\d+)\. (.+?) Read: \[[^\]]+\]\(\.\./notebooks/(\w+)\.ipynb#(\S+)\): “(.+?)” Answer: (.+)",
            " ".join(block.split()),
        )
        assert parts, block
        number, question, notebook, anchor, quoted, answer = parts.groups()
        found.append(Question(int(number), question, notebook, unquote(anchor), quoted, answer))
    return found


def plain(text: str) -> str:
    """A text without emphasis, on one line."""
    return " ".join(re.sub(r"[*`]", "", text).split())


def cells_below(notebook: str, anchor: str) -> list[str]:
    """The cells from the heading that an anchor names to the next numbered one, code and Markdown."""
    found, below = [], False
    for cell in json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]:
        parts = [source := "".join(cell["source"])]
        if cell["cell_type"] == "markdown":
            parts = re.split(r"^(?=## )", source, flags=re.MULTILINE)
        for part in parts:
            if cell["cell_type"] == "markdown" and (heading := re.match(r"## (.+)", part)):
                below = plain(heading[1]).replace(" ", "-") == anchor
            if below:
                found.append(plain(part))
    return found


QUESTIONS = questions(FILE.read_text(encoding="utf-8"))


def test_questions_on_why_over_the_notebooks():
    assert [question.number for question in QUESTIONS] == list(range(1, ASKED + 1))
    assert len({question.question for question in QUESTIONS}) == ASKED
    assert all(re.fullmatch(r"Why .+\?", question.question) for question in QUESTIONS)
    count = Counter(question.notebook[:2] for question in QUESTIONS)
    assert set(count) == set(NOTEBOOKS) and max(count.values()) <= ASKED // 4


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: str(question.number))
def test_the_cell_says_what_is_quoted(question):
    assert len(question.quoted.split()) >= 4
    holding = [
        cell for cell in cells_below(question.notebook, question.anchor) if plain(question.quoted) in cell
    ]
    assert len(holding) == 1, f"{question.notebook}, {question.anchor} has not: {question.quoted}"


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: str(question.number))
def test_an_answer_has_two_sentences(question):
    assert len(re.findall(r"[.?!](?=\s|$)", question.answer)) == 2


def test_what_is_not_there_is_missed():
    first = QUESTIONS[0]
    cells = cells_below(first.notebook, first.anchor)
    assert cells and not any("words that no cell of it has" in cell for cell in cells)
    assert not cells_below(first.notebook, "no-such-heading")
