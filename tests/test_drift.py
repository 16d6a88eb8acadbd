"""What the course leans on in other people's libraries: each test is a break of the past, with its story.

The weekly workflow runs these on the newest versions first of all: a failure here names the cause.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modality import infer_modality
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

CHECKPOINT = str(Path(__file__).resolve().parents[1] / "data" / "checkpoints" / "small-embedding")
PIXELS = {"min_pixels": 32 * 32, "max_pixels": 128 * 160}


def page(text: str, size=(224, 320)) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    ImageDraw.Draw(picture).text((12, 12), text, fill="black", font_size=24)
    return picture


@pytest.fixture(scope="module")
def model():
    return SentenceTransformer(
        CHECKPOINT, processor_kwargs=PIXELS, model_kwargs={"dtype": "float32"}, device="cpu"
    )


def visual_tokens(model, *pages, **options) -> list[int]:
    ids = model.preprocess(list(pages), **options)["input_ids"]
    return (ids == model[0].model.config.image_token_id).sum(dim=1).tolist()


def test_a_limit_of_pixels_given_at_load_holds(model):
    """Older versions passed it with each call; transformers deprecated that, with removal announced for
    5.23. A limit that is dropped without a word makes pages of thousands of tokens.
    """
    assert max(visual_tokens(model, page("large", (1600, 2000)))) <= 128 * 160 // 32**2


def test_a_call_may_set_another_limit(model):
    """`size=` has no effect beside a limit from the load, `min_pixels` and `max_pixels` have: notebook 01
    measures with them, and the page lens moves them.
    """
    wider = {"image": {"min_pixels": 32 * 32, "max_pixels": 320 * 320}}
    large = page("large", (640, 640))
    assert visual_tokens(model, large) < visual_tokens(model, large, processing_kwargs=wider) == [100]


def test_weights_come_in_the_files_precision():
    """transformers 5 loads what the file holds; before, it loaded float32. Who does not ask trains in
    bfloat16, where most small steps are rounded away.
    """
    assert SentenceTransformer(CHECKPOINT, device="cpu").dtype == torch.bfloat16


def test_the_prompt_goes_before_a_query_only_where_it_is_asked_for(model):
    """`preprocess`, which the trainer calls, adds none: `args.prompts` has to name it."""
    prompt = model.prompts["query"]
    plain, prompted = (model.preprocess(["a query"], prompt=one)["input_ids"] for one in (None, prompt))
    assert plain.shape[1] < prompted.shape[1]


@pytest.mark.parametrize(
    ("name", "kind"), [("page.png", "image"), ("page.jpg", "image"), ("page.tif", "text")]
)
def test_only_some_endings_are_read_as_pictures(tmp_path, name, kind):
    """A path with another ending is embedded as text, by its name: `page_paths` refuses it."""
    file = tmp_path / name
    page("a page").save(file)
    assert infer_modality(str(file)) == kind


def test_equal_pictures_count_as_duplicates():
    """Before 6.0 NO_DUPLICATES compared the pictures' addresses in memory, so no two were equal."""
    import datasets
    from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

    rows = datasets.Dataset.from_dict(
        {
            "query": [f"query {i}" for i in range(4)],
            "image": [page("one"), page("one"), page("two"), page("three")],
        }
    )
    batches = list(NoDuplicatesBatchSampler(rows, batch_size=2, drop_last=False))
    assert not any({0, 1} <= set(batch) for batch in batches)


def test_a_cached_loss_within_matryoshka_has_the_gradient_of_the_plain_one(model):
    """Before 5.7.0 it was wrong: each size of the embedding went through the cache of the one before."""
    inputs = [model.preprocess(["one", "two"]), model.preprocess([page("one"), page("two")])]
    found = {}
    for name, kind, options in (
        ("plain", losses.MultipleNegativesRankingLoss, {}),
        ("cached", losses.CachedMultipleNegativesRankingLoss, {"mini_batch_size": 1}),
    ):
        loss = losses.MatryoshkaLoss(model, kind(model, **options), matryoshka_dims=[256, 64])
        model.zero_grad()
        with torch.random.fork_rng():
            loss([dict(one) for one in inputs], None).backward()
        found[name] = torch.cat(
            [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
        )
    model.zero_grad(set_to_none=True)
    assert torch.allclose(found["plain"], found["cached"], atol=1e-5)


def test_the_evaluator_says_what_it_ranked(model):
    """The panel of a training listens to `compute_metrics`: a list for each query, best first."""
    evaluator = InformationRetrievalEvaluator(
        {"q": "one"}, {"a": page("one"), "b": page("two")}, {"q": {"a"}}, write_csv=False
    )
    seen, own = [], evaluator.compute_metrics
    evaluator.compute_metrics = lambda results: seen.append(results) or own(results)
    evaluator(model)
    assert [hit["corpus_id"] for hit in seen[0][0]] in (["a", "b"], ["b", "a"])
    assert np.all(np.diff([hit["score"] for hit in seen[0][0]]) <= 0)
