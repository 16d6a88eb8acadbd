"""A line of progress at each report of a trainer, and in JupyterLab a loss curve that grows."""

from __future__ import annotations

import time
from functools import cache

from helpers.hardware import give_back_freed_memory, watched

_GIVE_BACK = 5  # steps


class _Progress:
    """Reports loss and score of a training run as plain lines, and draws the curve where a reader looks on.

    Args:
        metric: name of the evaluator's figure in the trainer's log, such as "eval_dev_cosine_ndcg@10".
    """

    label = "dev NDCG@10"

    def __init__(self, metric: str) -> None:
        self.metric, self.live, self.handle = metric, watched(), None

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.started, self.first_step, self.handle = time.perf_counter(), state.global_step, None
        if self.first_step:
            print(f"going on from step {self.first_step} of {state.max_steps}", flush=True)

    def on_log(self, args, state, control, logs, **kwargs) -> None:
        parts = []
        if "loss" in logs:
            parts.append(f"loss {float(logs['loss']):.3f}")
        if "eval_loss" in logs:
            parts.append(f"dev loss {float(logs['eval_loss']):.3f}")
        if self.metric in logs:
            parts.append(f"{self.label} {float(logs[self.metric]):.3f}")
        if not parts:
            return
        seconds = time.perf_counter() - self.started
        done = state.global_step - self.first_step
        left = f", {seconds / done * (state.max_steps - state.global_step):4.0f} s left" if done else ""
        print(f"step {state.global_step:4}/{state.max_steps}  {seconds:5.0f} s{left}  {', '.join(parts)}",
              flush=True)  # fmt: skip
        if self.live:
            self._draw(state.log_history)

    def _draw(self, history: list[dict]) -> None:
        import matplotlib.pyplot as plt
        from IPython.display import display

        losses = [(entry["step"], float(entry["loss"])) for entry in history if "loss" in entry]
        scores = [(entry["step"], float(entry[self.metric])) for entry in history if self.metric in entry]
        figure, axes = plt.subplots(1, 2, figsize=(8.4, 2.6), layout="constrained")
        for axis, points, name in zip(axes, (losses, scores), ("training loss", self.label)):
            axis.plot([step for step, _ in points], [value for _, value in points], marker="o", markersize=3)
            axis.set(xlabel="step", ylabel=name)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)
        plt.close(figure)


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


def report(trainer, metric: str) -> None:
    """Let `trainer` report in plain lines instead of its own table, which a headless run cannot show, and
    keep its process small on a CPU.
    """
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_callback(_Progress)(metric))
    trainer.add_callback(_callback(_KeepSmall))
