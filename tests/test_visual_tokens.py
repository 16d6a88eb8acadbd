"""The visual tokens of a frozen tower are computed once for each page, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from sentence_transformers import CrossEncoder, SentenceTransformer

from tools.visual_tokens import keep_visual_tokens

CHECKPOINTS = Path(__file__).resolve().parents[1] / "data" / "checkpoints"

PIXELS = {"min_pixels": 32 * 32, "max_pixels": 128 * 160}


def page(number: int, size=(96, 128)) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    ImageDraw.Draw(picture).text((8, 8 + 4 * number), f"page {number}", fill="black")
    return picture


def reranker(checkpoint, freeze=True) -> CrossEncoder:
    precise = {"dtype": "float32"}
    model = CrossEncoder(str(checkpoint), processor_kwargs=PIXELS, model_kwargs=precise, device="cpu")
    if freeze:
        next(part for name, part in model.named_modules() if name.endswith(".visual")).requires_grad_(False)
    return model


@pytest.fixture
def checkpoint():
    return CHECKPOINTS / "small-reranker"


def test_scores_are_the_same_and_a_page_is_computed_once(checkpoint):
    pages = [page(0), page(1), page(2, size=(128, 96))]
    pairs = [(query, picture) for query in ("first", "a second query") for picture in pages]
    plain, model = reranker(checkpoint), reranker(checkpoint)
    kept = keep_visual_tokens(model)
    pairs += pairs[:1]  # a batch may hold a new page twice
    for _ in range(2):
        scores = model.predict(pairs, batch_size=2)  # a batch holds pages that are kept beside new ones
        np.testing.assert_allclose(scores, plain.predict(pairs, batch_size=2), atol=1e-4)
    assert kept.computed == len(kept.pages) == len(pages)
    another = page(0)
    another.putpixel((0, 0), (0, 0, 0))  # one pixel less white is another page
    model.predict([("first", another)])
    assert kept.computed == len(pages) + 1


def test_gradients_are_the_same_in_the_trainers_precision(checkpoint):
    pairs, found = [("one", page(0)), ("two", page(1))], []
    for keep in (False, True):
        model = reranker(checkpoint)
        if keep:
            keep_visual_tokens(model)
            model.predict(pairs)  # in inference mode: what is kept there must serve a training step
        with torch.autocast("cpu", torch.bfloat16):
            scores = model(model.preprocess(pairs))["scores"]
        scores.float().sum().backward()
        layer = model[0].model.model.language_model.layers[0]
        grad = layer.mlp.up_proj.weight.grad
        found.append(grad)
    plain, kept = found
    assert (plain - kept).norm() < 0.05 * plain.norm()  # bfloat16's rounding
    assert torch.nn.functional.cosine_similarity(plain.flatten(), kept.flatten(), dim=0) > 0.999


def test_equal_towers_share_what_is_kept_and_others_do_not(checkpoint):
    one, other = reranker(checkpoint), reranker(checkpoint)
    kept = keep_visual_tokens(one)
    assert keep_visual_tokens(other) is kept
    with torch.no_grad():
        next(other[0].model.model.visual.parameters()).add_(1.0)
    assert keep_visual_tokens(other) is not kept


def test_no_more_is_kept_than_there_is_room_for(checkpoint):
    model, plain = reranker(checkpoint), reranker(checkpoint)
    with torch.no_grad():  # a tower of its own, so that no other test has kept its pages
        for each in (model, plain):
            next(each[0].model.model.visual.parameters()).mul_(1.01)
    kept = keep_visual_tokens(model, most_mb=0.0)
    pairs = [("one", page(0)), ("two", page(0)), ("three", page(1))]
    np.testing.assert_allclose(model.predict(pairs), plain.predict(pairs), atol=1e-4)
    assert not kept.pages and kept.mb == 0


def test_a_saved_model_is_the_librarys_own(checkpoint, tmp_path):
    for name, keep in (("plain", False), ("kept", True)):
        model = reranker(checkpoint)
        if keep:
            keep_visual_tokens(model)
        model.predict([("one", page(0))])
        model.save_pretrained(str(tmp_path / name), create_model_card=False)
    plain, kept = (
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (tmp_path / "plain", tmp_path / "kept")
    )
    assert plain.keys() == kept.keys() and "model.safetensors" in plain
    assert [name for name in plain if plain[name] != kept[name]] == []


def test_a_retriever_keeps_its_tokens_too():
    plain, model = (
        SentenceTransformer(str(CHECKPOINTS / "small-embedding"), processor_kwargs=PIXELS, device="cpu")
        for _ in range(2)
    )
    model[0].model.visual.requires_grad_(False)
    kept = keep_visual_tokens(model)
    pages = [page(0), page(1)]
    first = model.encode_document(pages)
    np.testing.assert_allclose(model.encode_document(pages), first, atol=1e-5)
    np.testing.assert_allclose(plain.encode_document(pages), first, atol=1e-5)
    assert kept.reused >= len(pages)


def test_what_cannot_be_kept_is_refused(checkpoint):
    with pytest.raises(ValueError, match="requires_grad_"):
        keep_visual_tokens(reranker(checkpoint, freeze=False))
    with pytest.raises(ValueError, match="Qwen3-VL"):
        keep_visual_tokens(torch.nn.Sequential(torch.nn.Linear(2, 2)))
