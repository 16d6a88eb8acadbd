"""Do the checkpoints read what they have never seen? The measurements of `small_checkpoint.py reading`, and a
few of its pages here and now: other typefaces and other layouts than those of pretraining, made-up names.
"""

import json
import random
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.course.profiles import ROOT

sys.path.insert(0, str(ROOT / "data" / "make"))
from pretraining import assets, export, places, reading  # noqa: E402
from pretraining.batches import heading  # noqa: E402
from pretraining.canvas import FORMATS  # noqa: E402
from pretraining.held_out import HELD_OUT, HeldOutMaker  # noqa: E402
from pretraining.layouts import FAMILIES  # noqa: E402
from pretraining.pages import PageMaker, written  # noqa: E402

WORDS = "total market river winter office paper growth energy street number health music garden".split() * 20


@pytest.fixture(scope="module")
def proof():
    return json.loads((places.OUT / "small-vlm" / "training_log.json").read_text())["reading"]


@pytest.fixture(scope="module")
def models():
    return reading.load()


def maker(kind=PageMaker, seed=4):
    return kind(WORDS, reading.unseen_fonts(), seed)


def test_edits_are_those_of_levenshtein():
    pairs = [("kitten", "sitting"), ("", "abc"), ("abc", ""), ("a", "a")]
    assert [reading.edits(*pair) for pair in pairs] == [3, 3, 3, 0]
    r = random.Random(3)
    for _ in range(30):
        a, b = ("".join(r.choice("abc") for _ in range(r.randrange(8))) for _ in range(2))
        table = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
        for i, x in enumerate(a, 1):
            for j, y in enumerate(b, 1):
                table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (x != y))
        assert reading.edits(a, b) == table[len(a), len(b)]


def test_error_rate_counts_edits_per_character():
    samples = [maker().page() for _ in range(3)]
    truth = [heading(sample.content) for sample in samples]
    assert reading.error_rate([text.upper() for text in truth], samples) == 0
    missing = reading.error_rate([text[:-1] for text in truth], samples)
    assert missing == pytest.approx(3 / sum(map(len, truth)))


@pytest.mark.parametrize("kind", ["year", "figure"])
@pytest.mark.parametrize("made_by", [PageMaker, HeldOutMaker])
def test_twins_differ_in_one_digit(kind, made_by):
    pairs, queries = reading.twins(maker(made_by), kind, 12)
    assert len(pairs) == len(queries) == 12
    for (first, second), query in zip(pairs, queries):
        assert not np.array_equal(first.pixels, second.pixels)
        one, two = written(first), written(second)
        differing = [(a, b) for a, b in zip(one, two) if a != b]
        assert len(one) == len(two) and differing and all(a.isdigit() and b.isdigit() for a, b in differing)
        if kind == "year":
            assert first.content.period in query and second.content.period not in query
        else:
            told = [value for _, value in first.content.facts if value in query]
            assert told


def test_typefaces_and_layouts_are_held_out():
    names = {family.__name__ for family in FAMILIES}
    assert len(HELD_OUT) == 5
    assert not names & {family.__name__ for family in HELD_OUT}
    trained = {Path(file).stem for *files, _ in assets.FONTS.values() for file in files if file}
    unseen = {Path(file).stem for family in reading.unseen_fonts() for file in family}
    assert len(trained) > 30 and len(unseen) == 6 and not trained & unseen
    designs = {name[:4].lower() for name in unseen}  # no other cut of the same design either
    assert not [name for name in trained if name[:4].lower() in designs]
    for file in (ROOT / "data" / "make" / "pretraining").glob("*.py"):
        if file.stem not in ("held_out", "reading"):
            source = file.read_text()
            assert not re.search(r"import.*(held_out|reading\b)|from \.(held_out|reading)\b", source), (
                file.name
            )


@pytest.mark.parametrize("family", HELD_OUT, ids=lambda family: family.__name__)
@pytest.mark.parametrize("size", FORMATS, ids=str)
def test_held_out_layouts_show_what_is_asked_for(family, size):
    sample = maker(HeldOutMaker).page(size=size, family=family)
    assert sample.pixels.shape == (size[1], size[0], 3)
    for part in (sample.content.organization, sample.content.topic, sample.content.period):
        assert part.split()[0].lower() in written(sample).lower()
    for text, centers in sample.runs:
        inside = (centers > -8).all() and (centers < np.array(size) + 8).all()  # a scan is turned a little
        assert inside, f"{text!r} leaves the page"


@pytest.mark.parametrize("kind", [PageMaker, HeldOutMaker])
def test_retriever_finds_pages_of_typefaces_and_layouts_it_never_saw(models, kind):
    samples, _ = reading.draw(maker(kind), 100)
    page = reading.embed(models[0], reading.pictures(samples))
    scores = reading.retrieval(models[0], page, reading.named(samples))
    assert scores["recall@1"] >= 0.5, scores  # chance: 0.01
    assert scores["ndcg@10"] >= 0.7, scores


def test_models_tell_years_apart(models):
    scores = reading.told_apart(models[0], models[1], *reading.twins(maker(), "year", 60))
    assert scores["small-embedding"] >= 0.7 and scores["small-reranker"] >= 0.7, scores  # chance: 0.5


def test_the_reranker_tells_figures_apart(models):
    scores = reading.told_apart(models[0], models[1], *reading.twins(maker(), "figure", 60))
    assert scores["small-reranker"] >= 0.65, scores  # chance: 0.5


def test_reads_headings_aloud(models):
    pages_of = maker()
    samples = [pages_of.page() for _ in range(25)]
    said = reading.read_aloud(models[2], models[3], reading.pictures(samples))
    right, wrong = (reading.error_rate(texts, samples) for texts in (said, said[1:] + said[:1]))
    assert right < 0.3  # the measured rate is half of that, over many more pages
    assert right < wrong - 0.3, "what it says of a page fits any other page nearly as well"


def test_the_measured_proof_meets_what_the_course_needs(proof):
    for name in ("seen", "fonts", "layouts"):
        assert proof[name]["pages"] >= 500
    assert proof["seen"]["ndcg@10"] >= 0.7 and proof["seen"]["recall@1"] >= 0.5
    assert proof["seen"]["heading cer"] <= 0.15
    assert proof["fonts"]["ndcg@10"] >= 0.8 * proof["seen"]["ndcg@10"]
    assert proof["layouts"]["ndcg@10"] >= 0.75 * proof["seen"]["ndcg@10"]
    for name in reading.TWINNED:
        assert min(proof[name]["twins"][kind]["pairs"] for kind in ("year", "figure")) >= 250


@pytest.mark.parametrize("name", ["small-vlm", "small-embedding", "small-reranker"])
def test_model_cards_show_the_measured_proof(proof, name):
    card = (places.OUT / name / "README.md").read_text(encoding="utf-8")
    assert export.proof(name, proof) in card
