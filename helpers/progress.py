"""A training's panel: the time left, loss and score as they grow, and the first pages of queries of dev."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from textwrap import fill, shorten
from typing import TYPE_CHECKING

from helpers.hardware import give_back_freed_memory, watched
from helpers.inputs import plain_page
from helpers.plots import PALETTE, draw_page, picture_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GIVE_BACK, _QUERIES = 5, 3  # steps; queries whose first pages are drawn

#: A query, its first page as the evaluator has it, and the place of the first right page, if that is known.
_Found = tuple[str, object, "int | None"]


class _Progress:
    """Reports a training in plain lines where nobody looks on, and else in a panel; both end with the panel.

    Args:
        metric: name of the evaluator's figure in the trainer's log, such as "eval_dev_cosine_ndcg@10".
        guess: loss of a model that knows nothing, drawn as a line.
    """

    label = "dev NDCG@10"

    def __init__(self, trainer, metric: str, guess: float | None = None) -> None:
        self.metric, self.guess, self.live = metric, guess, watched()
        self.found: list[_Found] = []
        self.unwatch = _watch(trainer.evaluator, trainer.model, self.found)

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.started, self.first_step, self.drawn = time.perf_counter(), state.global_step, 0.0
        if self.first_step:
            print(f"going on from step {self.first_step} of {state.max_steps}", flush=True)
        if self.live:
            from IPython.display import HTML, display

            self.bar = display(HTML("<p>The first step begins.</p>"), display_id=True)
            self.panel = display(HTML(""), display_id=True)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        now = time.perf_counter()
        if self.live and now - self.drawn > 1:
            from IPython.display import HTML

            self.drawn = now
            bar = f"<progress value={state.global_step} max={state.max_steps} style='width:50%'></progress>"
            self.bar.update(HTML(f"{bar} step {state.global_step} of {state.max_steps}, {self._left(state)}"))

    def on_log(self, args, state, control, logs, **kwargs) -> None:
        known = {"loss": "loss", "dev loss": "eval_loss", self.label: self.metric}
        parts = [f"{name} {float(logs[key]):.3f}" for name, key in known.items() if key in logs]
        if parts and self.live:
            self.panel.update(*self._picture(state)[:1], raw=True)
        elif parts:
            where = f"step {state.global_step:4}/{state.max_steps}"
            print(f"{where}  {self._left(state)}  {', '.join(parts)}", flush=True)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.unwatch()
        from IPython.display import HTML, display

        if self.live:
            self.bar.update(HTML(f"{state.global_step} steps, {self._left(state)}"))
        picture, metadata = self._picture(state)
        (self.panel.update if self.live else display)(picture, raw=True, metadata=metadata)

    def _left(self, state) -> str:
        seconds, done = time.perf_counter() - self.started, state.global_step - self.first_step
        left = f", {seconds / done * (state.max_steps - state.global_step):4.0f} s left" if done else ""
        return f"{seconds:5.0f} s{left}"

    def _picture(self, state) -> tuple[dict, dict]:
        scores = f" and {self.label}" if _points(state.log_history, self.metric) else ""
        pages = ", and the first pages of queries of dev" if self.found else ""
        figure = _panel(state.log_history, self.metric, self.guess, self.found)
        return picture_of(figure, f"Loss{scores} of a training against steps{pages}.")


def _points(history: list[dict], key: str) -> list[tuple[int, float]]:
    return [(entry["step"], float(entry[key])) for entry in history if key in entry]


def _panel(history: list[dict], metric: str, guess: float | None, found: list[_Found]) -> Figure:
    """Loss and score against steps; below, the first page of each query in `found`."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(9, 6.4 if found else 3), layout="constrained")
    parts = figure.subfigures(2, 1, height_ratios=[3, 3.4]) if found else [figure]
    scores = _points(history, metric)
    left, *right = parts[0].subplots(1, 2 if scores else 1, squeeze=False)[0]
    for key, label, mark in (("loss", "training", ""), ("eval_loss", "dev", "o")):
        if points := _points(history, key):
            left.plot(*zip(*points), label=label, marker=mark)
    if guess is not None:
        left.axhline(guess, color="#999999", linewidth=1, linestyle=":", label="guessing")
    left.set(xlabel="step", ylabel="loss", title="Loss")
    left.legend(fontsize=8)
    for axis in right:
        axis.plot(*zip(*scores), marker="o", color=PALETTE[2])
        axis.axhline(scores[0][1], color="#999999", linewidth=1, linestyle=":")
        axis.annotate("before" if scores[0][0] == 0 else "first", (1, scores[0][1]), fontsize=8, ha="right",
                      xycoords=("axes fraction", "data"), va="bottom")  # fmt: skip
        axis.set(xlabel="step", ylabel="NDCG@10", title="NDCG@10 on dev", ylim=(0, 1))
    if found:
        for axis, (query, page, place) in zip(parts[1].subplots(1, len(found), squeeze=False)[0], found):
            title = f"first page; the right one: {f'place {place}' if place else 'far down'}"
            title = f"{fill(shorten(query, 76), 40)}\n{'the right page' if place == 1 else title}"
            draw_page(axis, plain_page(page), title, place == 1)
            axis.set_aspect("equal")
    plt.close(figure)
    return figure


def _watch(evaluator, model, found: list[_Found]) -> Callable[[], object]:
    """Let `found` hold the first pages of a few queries after each evaluation: of what the evaluator computes
    anyway, nothing is encoded twice. Returns what ends it.
    """
    if hasattr(evaluator, "queries_ids"):  # of a retriever
        numbers = range(0, len(evaluator.queries), -(-len(evaluator.queries) // _QUERIES))
        pages, score = dict(zip(evaluator.corpus_ids, evaluator.corpus)), evaluator.compute_metrics

        def compute_metrics(results):
            found[:] = []
            for i in numbers:
                order = [hit["corpus_id"] for hit in results[i]]
                right = evaluator.relevant_docs[evaluator.queries_ids[i]]
                place = next((place for place, page in enumerate(order, 1) if page in right), None)
                found.append((evaluator.queries[i], pages[order[0]], place))
            return score(results)

        evaluator.compute_metrics = compute_metrics
        return lambda: vars(evaluator).pop("compute_metrics", None)
    if hasattr(evaluator, "samples"):  # of a reranker
        watched_samples = evaluator.samples[:: -(-len(evaluator.samples) // _QUERIES)]
        scores_of = model.predict

        def predict(pairs, **kwargs):
            values = scores_of(pairs, **kwargs)
            found[:] = []
            for sample in watched_samples:
                own = [i for i, (query, _) in enumerate(pairs) if query == sample["query"]]
                order = [pairs[i][1] for i in sorted(own, key=lambda i: -values[i])] or sample["documents"]
                place = next((i for i, page in enumerate(order, 1) if page in sample["positive"]), None)
                found.append((sample["query"], order[0], place))
            return values

        model.predict = predict
        return lambda: vars(model).pop("predict", None)
    return lambda: None


class _KeepSmall:
    """Gives back freed memory every few steps, which `hardware.keep_freed_memory` would let add up."""

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step % _GIVE_BACK == 0:
            give_back_freed_memory()


@cache
def _callback(kind: type) -> type:
    """`kind` as the trainer takes it, made here: the base class takes seconds to import."""
    from transformers import TrainerCallback

    return type(kind.__name__, (kind, TrainerCallback), {})


def report(trainer, metric: str, guess: float | None = None) -> None:
    """Let `trainer` report in a panel that stays, headless in plain lines, instead of its own table; and keep
    its process small on a CPU.

    Args:
        metric: name of the evaluator's figure in the log. guess: loss of a model that knows nothing.
    """
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_callback(_Progress)(trainer, metric, guess))
    trainer.add_callback(_callback(_KeepSmall))
