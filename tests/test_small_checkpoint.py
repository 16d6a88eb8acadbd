"""The small checkpoints: what they weigh, how they load, and that every path feeds them the same tokens."""

import json
import random
import re
import struct
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest

from helpers.course.profiles import PROFILES, ROOT

sys.path.insert(0, str(ROOT / "data" / "make"))
from pretraining import assets, losses, places  # noqa: E402
from pretraining.assets import gather, read_assets  # noqa: E402
from pretraining.batches import READ_ON, characters, dense_targets, heading, make_batch, passages  # noqa: E402
from pretraining.canvas import FORMATS, Page  # noqa: E402
from pretraining.layouts import FAMILIES  # noqa: E402
from pretraining.model import INSTRUCTION, SPECIAL, build_model  # noqa: E402
from pretraining.pages import PageMaker, Sample, group_batch, make_query  # noqa: E402
from pretraining.reader import Reader  # noqa: E402
from pretraining.state import load_shipped  # noqa: E402
from pretraining.words import CHARS  # noqa: E402

CHECKPOINTS = ["small-vlm", "small-embedding", "small-reranker"]
WORDS = "total market river winter office paper growth energy street number health music garden".split()


@pytest.fixture(scope="module")
def model():
    import torch
    from sentence_transformers import SentenceTransformer

    path = ROOT / PROFILES["small"].embedding_model
    return SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": torch.float32})


@pytest.fixture(scope="module")
def maker():
    """A page maker with the faces that matplotlib brings, so that no font package is needed."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [
        [str(folder / "DejaVuSans.ttf"), str(folder / "DejaVuSans-Bold.ttf")],
        [str(folder / "DejaVuSerif.ttf")],
    ]
    return PageMaker(WORDS * 20, fonts, seed=5)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoint_is_small_and_in_bfloat16(name):
    folder = places.OUT / name
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < 16 * 2**20
    with (folder / "model.safetensors").open("rb") as stream:
        header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    assert {v["dtype"] for k, v in header.items() if k != "__metadata__"} == {"BF16"}
    assert not list(folder.rglob("*.py")), "a checkpoint must load without custom code"
    log = json.loads((folder / "training_log.json").read_text())
    assert log["settings"] and log["log"], "the log of the run that made it lies beside it"


def test_reads_pictures_and_text(model):
    assert {"text", "image"} <= set(model.modalities)
    assert [type(m).__name__ for m in model] == ["Transformer", "Pooling", "Normalize"]
    assert model[1].pooling_mode == "lasttoken"


def test_every_path_feeds_the_same_tokens(model, monkeypatch):
    """encode, encode_query, encode_document, the evaluator and the trainer: one instruction, one form."""
    from PIL import Image
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    query, page = "travel costs 2021", Image.new("RGB", (224, 320), "white")
    seen = []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda f, **k: seen.append(f["input_ids"].tolist()) or forward(f, **k)
    )
    model.encode(query)
    model.encode_query(query)
    InformationRetrievalEvaluator(
        {"q": query}, {"p": page, "r": page}, {"q": {"p"}}, show_progress_bar=False
    )(model)
    assert seen[0] == seen[1] == seen[2]
    assert model.tokenizer.decode(seen[0][0]).count(INSTRUCTION.lower()) == 1
    evaluated_page = seen[3][0]
    seen.clear()
    model.encode([page])
    model.encode_document([page])
    assert seen[0][0] == seen[1][0] == evaluated_page

    # What the trainer's collator calls, with the prompts that notebook 04 gives it.
    trained = model.preprocess([page], prompt=INSTRUCTION)["input_ids"][0].tolist()
    assert trained == evaluated_page
    assert model.preprocess([query], prompt=INSTRUCTION)["input_ids"].tolist() == [seen_query(model, query)]


def seen_query(model, query: str) -> list[int]:
    """The tokens of a query as the checkpoint was pretrained on them."""
    from transformers import AutoModelForImageTextToText

    vlm = AutoModelForImageTextToText.from_pretrained(places.OUT / "small-vlm")
    reader = Reader(vlm, model.tokenizer, "cpu")
    return reader.ids([query])[0][0].tolist()


def reader_of(name: str, tokenizer):
    """The pretraining script's reader with the weights of a shipped checkpoint."""
    reader = Reader(build_model(tokenizer), tokenizer, "cpu")
    load_shipped(reader, name)
    reader.model.eval()
    return reader


def test_pretraining_form_equals_the_librarys(model, maker):
    """The pretraining script's own forward pass gives the embeddings that SentenceTransformer gives."""
    import torch
    from PIL import Image

    reader = reader_of("small-embedding", model.tokenizer)
    samples, queries = group_batch(maker, 6)
    pixels = np.stack([s.pixels for s in samples])
    with torch.no_grad():
        out, grid = reader.see(pixels)
        ours = reader.embed_pages(out, grid, [heading(s.content) for s in samples])[0]
        theirs = model.encode_document([Image.fromarray(p) for p in pixels], convert_to_tensor=True)
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert torch.allclose(
            reader.embed_texts(queries), model.encode_query(queries, convert_to_tensor=True), atol=1e-5
        )


def test_reranker_pretraining_form_equals_the_librarys(maker):
    """CrossEncoder feeds page and query as the reranker was trained on them, and reads the same answer."""
    import torch
    from PIL import Image
    from sentence_transformers import CrossEncoder
    from transformers import AutoModelForImageTextToText

    path = places.OUT / "small-reranker"
    reranker = CrossEncoder(str(path), device="cpu", model_kwargs={"dtype": torch.float32})
    vlm = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
    reader = Reader(vlm.eval(), reranker.tokenizer, "cpu")
    samples, queries = group_batch(maker, 6)
    pixels = np.stack([s.pixels for s in samples])
    with torch.no_grad():
        out, grid = reader.see(pixels)
        # Two queries a page in one row: neither may see the other.
        both = [(queries[i], queries[(i + 1) % 6]) for i in range(6)]
        asked = [[reader.enc(query.strip()) + reader.opening for query in pair] for pair in both]
        odds, _ = reader.yes_or_no(out, grid, asked)
        ours = [[odds[i, j, len(row) - 1] for j, row in enumerate(rows)] for i, rows in enumerate(asked)]
        theirs = reranker.predict([(q, Image.fromarray(p)) for pair, p in zip(both, pixels) for q in pair])
    assert np.allclose(np.ravel(ours), theirs, atol=1e-3)


def test_what_is_read_and_written_side_by_side_is_that_of_rows_of_their_own(model, maker, monkeypatch):
    """A page's heading, query and passages share one row and do not see each other."""
    import torch

    monkeypatch.setattr(losses, "GARBLED", 0.0)
    reader = reader_of("small-vlm", model.tokenizer)
    batch = make_batch(maker, None, model.tokenizer, "speak", 5) | {"instructed": True}
    alone = {**batch, "passages": [read[:1] for read in batch["passages"]]}
    with torch.no_grad():
        out, grid = reader.see(batch["pixels"])
        _, spoken = reader.embed_pages(out, grid, batch["headings"])
        both, one = (losses.speech_losses(reader, out, grid, given) for given in (batch, alone))
    assert float(both["spoken"]) == pytest.approx(float(spoken), rel=1e-4)
    assert float(both["spoken"]) == pytest.approx(float(one["spoken"]), rel=1e-4)
    assert float(both["query"]) == pytest.approx(float(one["query"]), rel=1e-4)
    assert 0 <= float(both["next"]) <= 1 and float(both["passage"]) > 0


def test_garbled_words_are_other_pieces_of_the_vocabulary(model):
    random.seed(0)
    tokens = [losses.garble(500, len(model.tokenizer)) for _ in range(2000)]
    changed = [token for token in tokens if token != 500]
    assert 0.07 < len(changed) / len(tokens) < 0.13
    assert len(SPECIAL) <= min(changed) and max(changed) < len(model.tokenizer)


def test_passages_go_on_where_the_request_ends(maker):
    sample = maker.page()
    lines = [text for text, _ in sample.runs]
    for asked, said in passages(sample, random.Random(3)):
        line = asked.removeprefix(READ_ON)
        assert said in ["\n".join(lines[i + 1 :]) for i, other in enumerate(lines) if other == line]


def test_reranker_tells_the_right_page_from_one_that_differs_in_one_thing(maker):
    """On pages of a typeface it was trained on, with names and words it has never seen together."""
    from PIL import Image
    from sentence_transformers import CrossEncoder

    reranker = CrossEncoder(str(places.OUT / "small-reranker"), device="cpu")
    samples, queries = group_batch(maker, 40, groups=1.0)
    pictures = [Image.fromarray(sample.pixels) for sample in samples]
    first = 0
    for start in range(0, 40, 4):
        for place in range(4):
            scores = reranker.predict(
                [(queries[start + place], page) for page in pictures[start : start + 4]]
            )
            first += int(scores.argmax() == place)
    assert first >= 16, f"{first} of 40 first among four look-alikes; chance is 10"


def test_small_vlm_has_its_language_head_and_reads_aloud_something():
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    path = places.OUT / "small-vlm"
    vlm, processor = AutoModelForImageTextToText.from_pretrained(path), AutoProcessor.from_pretrained(path)
    page = [{"role": "user", "content": [{"type": "image", "image": Image.new("RGB", (224, 320), "white")}]}]
    inputs = processor.apply_chat_template(
        page, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    out = vlm.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert inputs["input_ids"].shape[1] < out.shape[1] <= inputs["input_ids"].shape[1] + 3
    for word in ("yes", "no", "0", "1"):
        assert len(processor.tokenizer(word, add_special_tokens=False)["input_ids"]) == 1, word


def test_generator_is_broad_and_apart_from_the_course_documents():
    assert len(FAMILIES) >= 30 and len(set(FAMILIES)) == len(FAMILIES)
    assert len(assets.FONTS) >= 20
    for file in (ROOT / "data" / "make" / "pretraining").glob("*.py"):
        text = file.read_text()
        assert not re.search(r"(import|from) (documents|course_)", text), file.name
    for file in (ROOT / "data" / "make").glob("course_*.py"):
        assert "pretraining" not in file.read_text()


def test_files_are_short_and_their_imports_have_no_circle():
    make = ROOT / "data" / "make"
    for file in make.rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 600, file.name
    imported = {}
    for file in (make / "pretraining").glob("[!_]*.py"):
        found = re.findall(r"^ *from \.(?:(\w+) import| import (.+))", file.read_text(), re.MULTILINE)
        imported[file.stem] = {name for pair in found for part in pair for name in re.findall(r"\w+", part)}
    assert imported["export"] >= {"assets", "places", "model"}
    order = list(TopologicalSorter(imported).static_order())  # a CycleError names the circle
    assert order.index("words") < order.index("pages") < order.index("train")


def test_same_seed_same_pages(maker):
    first, second = (PageMaker(WORDS * 20, maker.fonts, seed=9) for _ in range(2))
    for family in FAMILIES[:6]:
        a, b = first.page(family=family), second.page(family=family)
        assert np.array_equal(a.pixels, b.pixels) and a.content == b.content


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_every_layout_draws_and_is_asked_about(maker, family):
    for size in (FORMATS[0], FORMATS[1]):
        sample = maker.page(size=size, family=family)
        assert sample.pixels.shape == (size[1], size[0], 3) and sample.runs
        query = make_query(sample.content, random.Random(1))
        assert len(query) > 2 and "{" not in query


def test_dense_targets_name_what_is_written_where(maker):
    """One word drawn at a known place: its characters are targets of the patches that hold their centres."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(places.OUT / "small-vlm")
    content = maker.content()
    page = Page(maker.words, maker.fonts, content, (64, 64))
    page.runs = []
    page.text(36, 34, "ab", size=14)
    sample = Sample(np.zeros((64, 64, 3), np.uint8), page.runs, content, "none")
    targets = dense_targets([characters(sample, tokenizer)], (64, 64))
    assert set(targets["tc"]) == {3}, "the lower right of the four visual tokens"
    assert {CHARS[i] for i in targets["pi"]} == {"a", "b"}
    assert set(targets["pc"]) <= {12, 13}, "the upper two patches of that visual token"
    assert np.allclose(np.bincount(targets["pc"], targets["pw"])[sorted(set(targets["pc"]))], 1)
    pieces = tokenizer(" ab", add_special_tokens=False)["input_ids"]
    assert set(targets["ti"]) <= set(pieces)


def test_groups_differ_in_one_thing(maker):
    samples, queries = group_batch(maker, 12, groups=1.0)
    assert len(samples) == len(queries) == 12
    for start in range(0, 12, 4):
        contents = [s.content for s in samples[start : start + 4]]
        varying = [
            key for key in ("organization", "topic", "period") if len({getattr(c, key) for c in contents}) > 1
        ]
        assert len(varying) == 1


def test_clear_errors(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="small_checkpoint.py gather"):
        read_assets(tmp_path)
    monkeypatch.setitem(assets.FONTS, "missing", ("/nowhere/Missing.ttf", None, "fonts-missing"))
    with pytest.raises(SystemExit, match="apt-get install .*fonts-missing"):
        gather()
