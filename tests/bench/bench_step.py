"""Where the time of a training step goes, with the course's settings on this machine.

    python tests/bench/bench_step.py           640 rows, a minute on two CPU cores
    python tests/bench/bench_step.py --save    and into data/measurements/step_time.json

Steps alternate: one is only timed, in the next each operation is. The parts of a step are taken from the
first kind; the second kind says what share of forward and backward each kind of operation has. The first
four steps are left out: they touch memory for the first time. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

from helpers import hardware  # noqa: E402
from helpers.course import ledger  # noqa: E402
from helpers.course.profiles import get_profile  # noqa: E402
from helpers.files import write_json  # noqa: E402
from tools.fine_tune import ShortTraining, fine_tune  # noqa: E402

FILE = ROOT / "data" / "measurements" / "step_time.json"
WARM_UP = 4
#: Kinds of operation, and words of which one is in the name.
KINDS = {
    "matrix products": ("mm", "linear"),
    "copies between types and layouts": ("copy", "clone", "cat", "stack", "index", "slice", "select", "view"),
    "softmax and norms": ("softmax", "norm"),
}
OTHER = "other, element by element"


def kind_of(name: str) -> str:
    """The kind of an operation, by its name: "aten.addmm.default" is a matrix product."""
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), OTHER)


class Operations(TorchDispatchMode):
    """Seconds by kind of operation while it is switched on."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: Counter[str] = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        started = time.perf_counter()
        result = operation(*args, **(kwargs or {}))
        if hardware.device() == "cuda":
            import torch

            torch.cuda.synchronize()
        self.seconds[kind_of(str(operation))] += time.perf_counter() - started
        return result


class Watch(TrainerCallback):
    """Times the parts of each step as the trainer passes from one to the next."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = defaultdict(list)
        self.operations = Operations()
        self.step, self.last = 0, 0.0

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        if self.step >= WARM_UP and self.step % 2 == 0:
            self.parts[part].append(now - self.last)
        self.last = now

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self.lap("reading pages, making patches and tokens")
        if self.step >= WARM_UP and self.step % 2 == 1:
            self.operations.__enter__()

    def on_pre_optimizer_step(self, args, state, control, **kwargs) -> None:
        if self.step >= WARM_UP and self.step % 2 == 1:
            self.operations.__exit__(None, None, None)
        self.lap("forward and backward")

    def on_optimizer_step(self, args, state, control, **kwargs) -> None:
        self.lap("optimizer")

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.step += 1
        self.last = time.perf_counter()


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--rows", type=int, default=640, help="training rows (default: 640)")
    parser.add_argument("--batch", type=int, default=get_profile("small").batch_size)
    parser.add_argument("--save", action="store_true", help=f"write {FILE.relative_to(ROOT)}")
    options = parser.parse_args()
    if options.rows < (WARM_UP + 4) * options.batch:
        parser.error(f"--rows must be at least {(WARM_UP + 4) * options.batch}: {WARM_UP + 4} steps")
    watch = Watch()
    fine_tune(ShortTraining(rows=options.rows, batch=options.batch), callbacks=[watch])
    seconds = {part: median(times) for part, times in watch.parts.items()}
    total = sum(seconds.values())
    operations = {kind: share / watch.operations.seconds.total() for kind, share in
                  watch.operations.seconds.most_common()}  # fmt: skip
    for part, value in seconds.items():
        print(f"{part:42} {1000 * value:7.0f} ms  {value / total:4.0%}")
    print("of the operations in forward and backward:")
    for kind, share in operations.items():
        print(f"    {kind:38} {share:4.0%}")
    result = {"batch": options.batch, "seconds": seconds, "operations": operations}
    if options.save:
        write_json(FILE, result | {"device": hardware.device_name(), "versions": ledger.versions()})
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
