"""The plan of a training run: what it counts, and that it leaves no trace."""

import itertools

import pytest

from helpers.course.profiles import ROOT, get_profile
from tools import planning


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (600, "10 min"), (5399, "1 h 30 min"), (7800, "2 h 10 min")],
)
def test_duration(seconds, shown):
    assert planning._duration(seconds) == shown


@pytest.fixture(scope="module")
def make_trainer(tmp_path_factory):
    """A trainer on a few text pairs: the plan asks nothing of pages."""
    import torch
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    profile = get_profile("small")
    path = str(ROOT / profile.embedding_model)
    model = SentenceTransformer(path, device="cpu", model_kwargs={"dtype": torch.float32})
    rows = Dataset.from_dict({"a": [f"word {i}" for i in range(20)], "b": [f"page {i}" for i in range(20)]})

    def make(model=model, **settings):
        args = SentenceTransformerTrainingArguments(
            output_dir=str(tmp_path_factory.mktemp("out")),
            use_cpu=True,
            report_to="none",
            per_device_train_batch_size=8,
            **settings,
        )
        loss = MultipleNegativesRankingLoss(model)
        return SentenceTransformerTrainer(model=model, args=args, train_dataset=rows, loss=loss)

    return make


@pytest.mark.parametrize(
    ("settings", "steps"),
    [({"num_train_epochs": 1}, 3), ({"num_train_epochs": 2.5}, 8), ({"max_steps": 5}, 5)]
    + [({"num_train_epochs": 1, "gradient_accumulation_steps": 2}, 2)],
)
def test_counts_the_steps_that_the_trainer_takes(make_trainer, settings, steps, monkeypatch):
    monkeypatch.setattr(planning, "_matmul_rate", lambda precision: 1e12)  # a busy machine's varies
    trainer = make_trainer(**settings)
    planned = planning.plan(trainer, probes=2)
    assert planned.steps == steps
    trainer.train()
    assert trainer.state.global_step == steps
    assert planned.rows == 20 and planned.batch_size == 8
    assert planned.mini_batch is None and planned.page_tokens == 0 and not planned.adapter
    assert sum(planned.shares.values()) == pytest.approx(1)
    assert planned.trainable == planned.weights > 3e6
    assert planned.seconds > 0 and planned.peak_memory_mb > 100
    assert "float32" in str(planned)
    # Two operations a weight and token forward, four backward; embeddings are looked up, not multiplied.
    assert 1e9 < planned.step_flops < 1e11
    assert planned.utilization == pytest.approx(planned.step_flops / planned.step_seconds / 1e12)


def test_leaves_no_trace(make_trainer):
    import torch

    trainer = make_trainer(max_steps=1)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    state = torch.random.get_rng_state()
    planning.plan(trainer, probes=2)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())
    assert all(weight.grad is None for weight in trainer.model.parameters())


def test_too_few_rows(make_trainer):
    trainer = make_trainer(max_steps=1)
    trainer.train_dataset = trainer.train_dataset.select(range(4))
    with pytest.raises(ValueError, match="4 training rows and a batch has 8"):
        planning.plan(trainer)
    with pytest.raises(ValueError, match="probes must be at least 2"):
        planning.plan(trainer, probes=1)


def test_the_measured_rate_is_that_of_products(monkeypatch):
    """By a clock that goes on by a hundredth of a second each time it is read."""
    readings = itertools.count(step=0.01)
    monkeypatch.setattr(planning.time, "perf_counter", lambda: next(readings))
    rate = planning._matmul_rate("float32", seconds=0.1)
    assert rate == pytest.approx(2 * 1536**3 / 0.01)


def test_says_how_pages_and_the_cache_are_handled(tmp_path, monkeypatch):
    from datasets import Dataset
    from PIL import Image
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers.sentence_transformer import losses

    monkeypatch.setattr(planning, "_matmul_rate", lambda precision: 1e12)
    model = SentenceTransformer(str(ROOT / get_profile("small").embedding_model), device="cpu")
    pictures = [Image.new("RGB", (64, 96), (i, i, i)) for i in range(4)]
    rows = Dataset.from_dict({"query": list("abcd"), "image": pictures})
    loss = losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=2)
    loss = losses.MatryoshkaLoss(model, loss, matryoshka_dims=[256, 32])
    args = Arguments(str(tmp_path), use_cpu=True, report_to="none", per_device_train_batch_size=4)
    planned = planning.plan(SentenceTransformerTrainer(model, args, rows, loss=loss), probes=2)
    assert (planned.mini_batch, planned.page_tokens, planned.attention) == ("2 rows", 6, "sdpa")
    shown = str(planned)
    for words in (
        "mini-batches of 2 rows",
        "6 visual tokens a page",
        "(full)",
        "reading the rows",
        "backward",
    ):
        assert words in shown


@pytest.mark.parametrize("cached", [False, True])
def test_plans_in_the_precision_that_is_trained_in(make_trainer, cached, monkeypatch):
    """What leaves a layer, in each forward pass of the plan and of the training; a cache makes two a step."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

    monkeypatch.setattr(planning, "_matmul_rate", lambda precision: 1e12)
    path = str(ROOT / get_profile("small").embedding_model)
    # A model of its own: accelerate wraps each only once, for the first trainer that it meets.
    own = SentenceTransformer(path, device="cpu", model_kwargs={"dtype": torch.float32})
    trainer = make_trainer(own, bf16=True, max_steps=1)
    if cached:
        trainer.loss = CachedMultipleNegativesRankingLoss(own, mini_batch_size=4)
    layer = next(part for name, part in own.named_modules() if name.endswith("q_proj"))
    left = []
    layer.register_forward_hook(lambda module, given, output: left.append(output.dtype))
    planning.plan(trainer, probes=2)
    assert "forward" not in vars(own)
    planned, left[:] = list(left), []
    trainer.train()
    assert set(planned) == set(left) == {torch.bfloat16}
