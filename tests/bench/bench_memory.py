"""Memory of one training step: the plain loss against the cached one, at two batch sizes.

    python tests/bench/bench_memory.py         batches of 64 and 512 rows, about two minutes on two CPU cores
    python tests/bench/bench_memory.py --save  and into data/measurements/memory.json, which notebook 03 shows

Each step runs in a process of its own, on the same rows, without an optimizer: forward and backward over
(query, page) rows in float32. Counted is what the step adds to the process's memory at its peak (on a GPU:
to the memory allocated there). The batch's pixel values, there before the step begins, are shown apart.
The last line is a JSON object; `ratio` is plain over cached at the larger batch.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from helpers import hardware  # noqa: E402
from helpers.course import ledger  # noqa: E402
from helpers.course.profiles import get_profile  # noqa: E402
from helpers.files import write_json  # noqa: E402
from tools.own_process import last_json  # noqa: E402

FILE = ROOT / "data" / "measurements" / "memory.json"
BATCHES = (64, 512)
LOSSES = ("plain", "cached")


class Peak:
    """The most memory in use while it is open, above what was in use before, in MB (10^6 bytes)."""

    def __enter__(self) -> Peak:
        if hardware.device() == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
        self.before = self.most = self._used()
        self.open = True
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *error) -> None:
        self.open = False
        self.thread.join()
        if hardware.device() == "cuda":
            import torch

            self.most = torch.cuda.max_memory_allocated() / 1e6
        self.mb = self.most - self.before

    def _used(self) -> float:
        import psutil

        if hardware.device() == "cuda":
            import torch

            return torch.cuda.memory_allocated() / 1e6
        return psutil.Process().memory_info().rss / 1e6

    def _watch(self) -> None:
        while self.open:
            self.most = max(self.most, self._used())
            time.sleep(0.01)


def step(kind: str, batch: int) -> dict[str, float]:
    """Run one step and return what it took, in MB, and the seconds."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import losses

    from helpers.course.data import load_split

    profile = get_profile("small")
    model = SentenceTransformer(
        profile.path(profile.embedding_model),
        model_kwargs={"dtype": "float32"},
        processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
        device=hardware.device(),
    )
    model.train()
    rows = load_split(profile, "train", limit=batch)
    features = [
        {
            key: value.to(model.device) if hasattr(value, "to") else value
            for key, value in model.preprocess(list(rows[name]), prompt=model.prompts[prompt]).items()
        }
        for name, prompt in (("query", "query"), ("image", "document"))
    ]
    if kind == "plain":
        loss = losses.MultipleNegativesRankingLoss(model)
    else:
        size = profile.mini_batch_size
        loss = losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=size)
    for weight in model.parameters():  # there before, as in any step but the first
        weight.grad = weight.new_zeros(weight.shape)
    started = time.perf_counter()
    with Peak() as peak:
        loss(features, None).backward()
    return {
        "step_mb": peak.mb,
        "pixel_values_mb": features[1]["pixel_values"].nbytes / 1e6,
        "seconds": time.perf_counter() - started,
    }


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES, help="rows a batch, ascending")
    parser.add_argument("--save", action="store_true", help=f"write {FILE.relative_to(ROOT)}")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)  # set in the processes started below
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step(options.step[0], int(options.step[1]))))
        return 0
    measured = {kind: {} for kind in LOSSES}
    print("rows  loss     step, MB  pixel values, MB  seconds")
    for batch in options.batches:
        for kind in LOSSES:
            figures = measured[kind][str(batch)] = last_json(__file__, "--step", kind, batch)
            print(
                f"{batch:4}  {kind:7} {figures['step_mb']:9,.0f}  {figures['pixel_values_mb']:16,.0f}  "
                f"{figures['seconds']:7.1f}",
                flush=True,
            )
    largest = str(options.batches[-1])
    ratio = measured["plain"][largest]["step_mb"] / measured["cached"][largest]["step_mb"]
    result = {"ratio": round(ratio, 2), "device": hardware.device_name(), **measured}
    if options.save:
        write_json(FILE, result | {"versions": ledger.versions()})
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
