"""The pieces to touch: what they find and show, live and as a picture, with a small model's embeddings."""

import re

import ipywidgets
import numpy as np
import pytest
from PIL import Image, ImageDraw
from sentence_transformers import SentenceTransformer

from helpers import widgets
from helpers.course.profiles import ROOT, get_profile
from helpers.widgets import SearchBox, by_embedding
from tools import page_vectors
from tools.page_lens import PageLens

WORDS = ("revenue", "wiring", "parking permit", "voting results", "delivery times")


@pytest.fixture(autouse=True)
def without_a_display(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")


def page(text: str) -> Image.Image:
    picture = Image.new("RGB", (448, 640), "white")
    ImageDraw.Draw(picture).text((30, 30), text, fill="black", font_size=40)
    return picture


@pytest.fixture(scope="module")
def model():
    profile = get_profile("small")
    pixels = {"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels}
    return SentenceTransformer(
        profile.path(profile.embedding_model),
        processor_kwargs=pixels,
        model_kwargs={"dtype": "float32"},
        device="cpu",
    )


@pytest.fixture(scope="module")
def pages():
    return {f"file-p{number:02}": page(text) for number, text in enumerate(WORDS, 1)}


@pytest.fixture
def box(model, pages, tmp_path):
    search = by_embedding(model, model.encode_document(list(pages.values()), show_progress_bar=False))
    return SearchBox(
        {"base": search, "turned round": lambda query, size=None: -search(query, size)},
        list(pages),
        pages.get,
        {"wiring": {"file-p02"}, "a <b> & $5": {"file-p01"}},
        lambda one: (tmp_path / "a report.pdf", int(one[-2:])),
        dimensions=(256, 64),
        first=2,
    )


def test_a_search_is_cosine_similarity_at_any_size(model, pages):
    vectors = model.encode_document(list(pages.values()), show_progress_bar=False)
    query = model.encode_query(["parking permit"], show_progress_bar=False)
    for size in (None, 64):
        cut = [
            part[:, :size] / np.linalg.norm(part[:, :size], axis=1, keepdims=True)
            for part in (query, vectors)
        ]
        assert np.allclose(
            by_embedding(model, vectors)("parking permit", size), (cut[0] @ cut[1].T)[0], atol=1e-6
        )


def test_the_box_finds_pages_and_says_the_place_of_the_right_one(box, pages):
    order, place = box.find("wiring", "base")
    assert sorted(order) == sorted(pages) and order[place - 1] == "file-p02"
    turned, last = box.find("wiring", "turned round")
    assert turned == order[::-1] and last == len(pages) + 1 - place
    assert box.find("no example", "base")[1] is None, "nobody knows"


def test_an_answer_is_readable_and_marks_the_right_page(box):
    html = box.answer("wiring", "base", 64)
    place = box.find("wiring", "base", 64)[1]
    assert f"The right page is at place <b>{place}</b>" in html and "256 bytes a page" in html
    assert html.count("<img ") == 2 == html.count("alt='file-p")
    assert html.count("vdr-right'") == (place <= 2)
    assert "a report.pdf, page" in html and "<a href" not in html, "no link where nothing serves the file"


def test_words_of_a_reader_do_no_harm_in_the_page(box):
    assert "<b> &" not in box.answer("a <b> & $5", "base").replace("<b>1.</b>", "").replace("<b>2.</b>", "")
    box.still("a <b> & $5").canvas.draw()  # a price is no formula
    assert "Type a query" in box.answer("  ", "base")
    said = box.answer("wiring " * 5000, "base")
    assert "first 300 words" in said


def test_a_file_that_is_served_is_linked_at_its_page(box, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_SERVER_ROOT", str(tmp_path))
    assert re.search(r"<a href='/files/a%20report.pdf#page=\d'", box.answer("wiring", "base"))
    monkeypatch.setenv("JUPYTER_SERVER_ROOT", str(tmp_path / "elsewhere"))
    assert "<a href" not in box.answer("wiring", "base")


def test_a_page_that_cannot_be_drawn_hides_no_other(box):
    def broken(one):
        raise ValueError("the file is gone") if one == box.find("wiring", "base")[0][0] else ""

    whole = box.picture
    box.picture = lambda one: broken(one) or whole(one)
    assert box.answer("wiring", "base").count("<img ") == 2
    box.still("wiring")


def test_a_box_needs_something_to_search():
    with pytest.raises(ValueError, match="at least one search, and pages"):
        SearchBox({}, ["p"], {}.get)


def kinds(root, kind):
    """All widgets of a kind below another."""
    inside = [one for child in getattr(root, "children", ()) for one in kinds(child, kind)]
    return [root, *inside] if type(root) is kind else inside


def test_each_control_of_the_box_changes_the_answer(box):
    live = box._widget()
    (query,), (which,), (size,) = (
        kinds(live, kind) for kind in (ipywidgets.Text, ipywidgets.ToggleButtons, ipywidgets.SelectionSlider)
    )
    result = kinds(live, ipywidgets.HTML)[0]
    seen = [result.value]
    assert query.value == "wiring" and "<img" in seen[0], "the first example is there at once"
    query.value = "voting results"
    seen.append(result.value)
    which.value = "turned round"
    seen.append(result.value)
    size.value = 64
    seen.append(result.value)
    kinds(live, ipywidgets.Button)[1].click()
    seen.append(result.value)
    without_time = [re.sub(r"in \d+ ms", "", html) for html in seen]
    assert len(set(without_time)) == len(seen)
    assert query.value == "a <b> & $5"


def test_a_fault_is_said_where_it_is_seen(box):
    box.searches = {"base": lambda query, size: 1 / 0}
    assert "ZeroDivisionError" in kinds(box._widget(), ipywidgets.HTML)[0].value


@pytest.fixture
def shown(monkeypatch):
    found = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, **kept: found.append((data, kept["metadata"]))
    )
    return found


@pytest.mark.parametrize("live", [True, False])
def test_a_picture_stands_in_where_nothing_is_live(box, shown, monkeypatch, live):
    """Without widgets, and for whoever reads the saved notebook later."""
    monkeypatch.setattr(widgets, "watched", lambda: live)
    box.show()
    ((data, metadata),) = shown
    assert ("application/vnd.jupyter.widget-view+json" in data) == live
    assert data["image/png"] and "“wiring”" in data["text/plain"] == metadata["image/png"]["alt"]


@pytest.fixture(scope="module")
def lens(model, pages):
    return PageLens({"base": model}, pages["file-p02"], ["wiring", "revenue"], (12, 24, 70))


@pytest.mark.parametrize("tokens", [12, 24, 70])
def test_the_lens_shows_the_page_as_the_model_gets_it(lens, model, tokens):
    limit = {"min_pixels": 32 * 32, "max_pixels": tokens * 32 * 32}
    fed = model.preprocess([lens.seen(tokens)], processing_kwargs={"image": limit})
    assert (fed["input_ids"] == model[0].model.config.image_token_id).sum() <= tokens
    _, height, width = fed["image_grid_thw"][0].tolist()
    assert lens.seen(tokens).size == (16 * width, 16 * height)
    lost, _ = lens.lost("base", "wiring", tokens)
    assert lost.shape == (height // 2, width // 2), "a value for each visual token"


def test_the_model_looks_at_the_heading_of_an_otherwise_empty_page(lens):
    lost, whole = lens.lost("base", "wiring", 70)
    assert np.abs(lost[:2]).max() > 10 * np.abs(lost[3:]).max(), "covering white with white costs nothing"
    vectors = by_embedding(lens.models["base"], lens.models["base"].encode_document([lens.seen(70)]))
    assert whole == pytest.approx(float(vectors("wiring")[0]), abs=1e-5)


def test_parts_are_covered_together_where_there_are_many(lens, model):
    few = PageLens({"base": model}, lens.page, ["wiring"], (70,), most_cells=20)
    encoded = []
    encode = model.encode_document
    model.encode_document = lambda pages, **kwargs: encoded.append(len(pages)) or encode(pages, **kwargs)
    try:
        lost, _ = few.lost("base", "wiring", 70)
    finally:
        del model.encode_document
    assert encoded[0] <= 21 and lost.shape == (10, 7)
    assert lost[0, 0] == lost[1, 1]


def test_each_control_of_the_lens_changes_the_answer(lens):
    live = lens._widget()
    result = kinds(live, ipywidgets.HTML)[0]
    assert result.value.count("<img ") == 2
    first = result.value
    kinds(live, ipywidgets.SelectionSlider)[0].value = 12
    assert result.value != first
    kinds(live, ipywidgets.Checkbox)[0].value = False
    assert result.value.count("<img ") == 1
    lens.still()


def test_the_vectors_that_00_searches_are_the_checkpoints(model):
    from helpers.course.data import load_collection

    profile = get_profile("small")
    ids, vectors = page_vectors.load(profile)
    assert len(ids) == 1500 and vectors.shape == (1500, 256)
    collection = load_collection(profile)
    files = collection.render(ids[::300])
    again = model.encode_document([Image.open(files[one]) for one in ids[::300]], show_progress_bar=False)
    assert np.allclose(vectors[::300], again, atol=2e-3), "float16 on disk"


def test_vectors_of_another_checkpoint_or_size_are_refused(monkeypatch):
    profile = get_profile("small")
    with pytest.raises(ValueError, match="of another checkpoint"):
        page_vectors.load(get_profile("small", max_pixels=9999))
    monkeypatch.setattr(page_vectors, "made_by", lambda profile: "another")
    with pytest.raises(ValueError, match="of another checkpoint.*python tools/page_vectors.py"):
        page_vectors.load(profile)
    assert page_vectors.load(get_profile("full")) is None
    assert (ROOT / "data" / "vectors" / "base_pages.npz").stat().st_size < 1e6
