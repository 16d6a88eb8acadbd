"""A training's panel: from what the evaluators compute anyway, in plain lines where nobody looks on."""

from types import SimpleNamespace

import pytest
from PIL import Image
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from helpers import progress

METRIC = "eval_dev_cosine_ndcg@10"
PAGES = {f"p{i}": Image.new("RGB", (64, 96), (i, i, i)) for i in range(6)}
QUERIES = {f"q{i}": f"query {i}" for i in range(6)}


@pytest.fixture(autouse=True)
def without_a_display(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")


def retriever_evaluator():
    relevant = {query: {f"p{query[1]}"} for query in QUERIES}
    return InformationRetrievalEvaluator(QUERIES, PAGES, relevant, name="dev", write_csv=False)


def test_first_pages_come_from_the_retrievers_own_evaluation():
    import torch

    evaluator, found = retriever_evaluator(), []
    without = retriever_evaluator()
    end = progress._watch(evaluator, None, found)
    ranked = [[{"corpus_id": f"p{(i + j) % 6}", "score": 1 - j / 10} for j in range(6)] for i in range(6)]
    ranked[2] = ranked[2][1:] + ranked[2][:1]  # its own page comes last
    assert evaluator.compute_metrics(ranked) == without.compute_metrics(ranked)
    assert [(query, place) for query, _, place in found] == [("query 0", 1), ("query 2", 6), ("query 4", 1)]
    assert found[1][1] is PAGES["p3"]
    end()
    found.clear()
    evaluator.compute_metrics(ranked)
    assert not found and torch is not None


def test_first_pages_come_from_the_rerankers_own_predictions():
    samples = [
        {"query": f"query {i}", "positive": [PAGES[f"p{i}"]], "documents": [PAGES["p5"], PAGES[f"p{i}"]]}
        for i in range(5)
    ]
    evaluator, found = CrossEncoderRerankingEvaluator(samples, name="dev", always_rerank_positives=False), []
    calls = []

    class Model:
        model_card_data = SimpleNamespace(set_evaluation_metrics=lambda *args, **kwargs: None)

        def predict(self, pairs, **kwargs):
            import numpy as np

            calls.append(len(pairs))
            return np.array([float(page is PAGES["p5"]) for _, page in pairs])

    model = Model()
    end = progress._watch(evaluator, model, found)
    evaluator(model)
    assert calls == [10], "no pair is scored twice"
    assert [(query, page is PAGES["p5"], place) for query, page, place in found] == [
        ("query 0", True, 2), ("query 2", True, 2), ("query 4", True, 2)
    ]  # fmt: skip
    end()
    assert "predict" not in vars(model)


def history():
    losses = [{"step": step, "loss": 10 / step} for step in (2, 4, 6, 8)]
    return [{"step": 0, METRIC: 0.5, "eval_loss": 9.0}, *losses, {"step": 8, METRIC: 0.75, "eval_loss": 2.0}]


def test_the_panel_has_losses_score_and_pages():
    found = [("query 0", PAGES["p0"], 1), ("costs $5", PAGES["p3"], 7), ("query 4", PAGES["p1"], None)]
    figure = progress._panel(history(), METRIC, 12.0, found)
    figure.canvas.draw()
    loss, score, *pages = figure.axes
    assert [line.get_label() for line in loss.lines] == ["training", "dev", "guessing"]
    assert list(score.lines[0].get_ydata()) == [0.5, 0.75]
    assert score.lines[1].get_ydata()[0] == 0.5, "the line of before"
    titles = [axis.get_title() for axis in pages]
    assert titles[0] == "✓ query 0\nthe right page" and "place 7" in titles[1] and "far down" in titles[2]
    assert len(progress._panel(history(), METRIC, None, []).axes) == 2, "without an evaluator of pages"


@pytest.mark.parametrize(
    ("logged", "found", "text"),
    [
        (history(), [("query 0", PAGES["p0"], 1)],
         "Loss and dev NDCG@10 of a training against steps, and the first pages of queries of dev."),
        (history(), [], "Loss and dev NDCG@10 of a training against steps."),
        (history()[1:-1], [], "Loss of a training against steps."),
    ],
    ids=["evaluator of pages", "other evaluator", "no evaluator"],
)  # fmt: skip
def test_the_text_in_place_of_the_panel_names_what_is_drawn(logged, found, text):
    told = progress._Progress(SimpleNamespace(evaluator=None, model=None), METRIC)
    told.found[:] = found
    picture, metadata = told._picture(SimpleNamespace(log_history=logged))
    assert picture["text/plain"] == metadata["image/png"]["alt"] == text


class Displayed:
    def __init__(self):
        self.updates = []

    def update(self, value, **kwargs):
        self.updates.append(value)


@pytest.mark.parametrize("live", [True, False])
def test_a_reader_sees_the_panel_and_a_headless_run_lines(monkeypatch, capsys, live):
    handles = []

    def display(value, **kwargs):
        handles.append(Displayed())
        handles[-1].updates.append(value)
        return handles[-1]

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(progress, "watched", lambda: live)
    trainer = SimpleNamespace(evaluator=None, model=None)
    told = progress._Progress(trainer, METRIC)
    state = SimpleNamespace(global_step=0, max_steps=8, log_history=[])
    told.on_train_begin(None, state, None)
    for entry in history():
        state.global_step = entry["step"]
        state.log_history.append(entry)
        told.on_step_end(None, state, None)
        told.on_log(None, state, None, entry)
    told.on_train_end(None, state, None)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (0 if live else 6)
    last = handles[-1].updates[-1]
    assert last["image/png"] and "training" in last["text/plain"]
    assert len(handles) == (2 if live else 1), "a bar and a panel, or one picture at the end"
    if live:
        assert len(handles[1].updates) > 5 and "8 steps" in handles[0].updates[-1].data
