"""Reranking: training and scoring pairs a second, the course's way against the library's plain one.

    python tests/bench/bench_reranker.py           two minutes on two quiet CPU cores
    python tests/bench/bench_reranker.py --save    and into data/measurements/reranker_speed.json

Both ways load the small reranker in float32 with a frozen vision tower, and see the same pairs in the same
order. Plain is the library as it comes. The course's way keeps each page's visual tokens
(`tools.visual_tokens`) and takes the attention that `helpers.hardware.training_attention` names. Two cases:

* pages met before, as in a search service or from the second pass on: their tokens are there;
* pages met for the first time, then with as many queries as notebook 06 has for a page, tower included.

The ways alternate, round by round; a figure is the median over rounds. Scores must agree.

The last line is a JSON object. `ratio` is that of scoring, `ratio_training` that of a training step (forward,
backward and the optimizer's step, in the trainer's precision), both for pages met before; `_from_new` behind
a name: from the first meeting on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from itertools import product
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ["HF_HUB_OFFLINE"] = "1"  # everything is here: no time lost on asking

import numpy as np  # noqa: E402
import torch  # noqa: E402

from helpers import hardware  # noqa: E402
from helpers.course import data, ledger  # noqa: E402
from helpers.course.profiles import get_profile  # noqa: E402
from helpers.files import write_json  # noqa: E402
from tools.fast_vision import fast_vision  # noqa: E402
from tools.visual_tokens import keep_visual_tokens  # noqa: E402

FILE = ROOT / "data" / "measurements" / "reranker_speed.json"
PROMPT = "Find the page that answers the query."
BATCH = 32
WAYS = ("plain", "course")


def load(way: str, profile):
    """The small reranker, its vision tower frozen, and for the course's way its visual tokens kept."""
    from sentence_transformers import CrossEncoder

    attention = {"attn_implementation": hardware.training_attention()} if way == "course" else {}
    model = CrossEncoder(
        profile.path(profile.reranker_model),
        model_kwargs={"dtype": "float32"} | attention,
        processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
        device=hardware.device(),
        activation_fn=torch.nn.Identity(),
    )
    next(part for name, part in model.named_modules() if name.endswith(".visual")).requires_grad_(False)
    if way == "course":
        fast_vision(model)
    return model, keep_visual_tokens(model) if way == "course" else None


def score(model, pairs: list) -> np.ndarray:
    return model.predict(pairs, prompt=PROMPT, batch_size=BATCH)


def train(model, pairs: list, optimizer) -> None:
    """One pass over the pairs, each labelled right or wrong by turns."""
    for start in range(0, len(pairs), BATCH):
        part = pairs[start : start + BATCH]
        labels = torch.arange(len(part), device=model.device).remainder(2).float()
        with torch.autocast(model.device.type, torch.bfloat16, enabled=hardware.use_bf16()):
            features = model.preprocess(part, prompt=PROMPT)
            features = {
                name: value.to(model.device) if hasattr(value, "to") else value
                for name, value in features.items()
            }
            logits = model(features)["scores"].flatten()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def timed(work, *arguments) -> tuple[float, object]:
    started = time.perf_counter()
    result = work(*arguments)
    if hardware.device() == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--pages", type=int, default=32, help="different pages (default: 32)")
    parser.add_argument("--meetings", type=int, default=7, help="queries that meet each page (default: 7)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--save", action="store_true", help=f"write {FILE.relative_to(ROOT)}")
    options = parser.parse_args()
    if min(options.pages, options.meetings, options.rounds) < 1:
        parser.error("--pages, --meetings and --rounds must be at least 1")
    profile = get_profile("small")
    hardware.keep_freed_memory()
    rows = data.load_split(profile, "train", limit=options.pages)
    pages, queries = rows["image"][:], rows["query"][:]
    pairs = [
        (queries[(number + shift) % len(queries)], page)
        for shift in range(options.meetings)
        for number, page in enumerate(pages)
    ]
    loaded = {}
    for way in WAYS:
        model, kept = load(way, profile)
        optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=1e-5)
        loaded[way] = model, kept, optimizer
        score(model, pairs[:BATCH])  # the first call is slower
    rates: dict[str, dict[str, float]] = {way: {} for way in WAYS}
    difference = 0.0
    for work, new in product(("scoring", "training"), (False, True)):
        seconds, scores = {way: [] for way in WAYS}, {}
        for _ in range(options.rounds):
            for way, (model, kept, optimizer) in loaded.items():
                if new and kept:
                    kept.pages.clear()
                    kept.mb = 0.0
                if work == "scoring":
                    took, scores[way] = timed(score, model, pairs)
                else:
                    took, _ = timed(train, model, pairs, optimizer)
                seconds[way].append(took)
        if scores:
            difference = max(difference, float(np.abs(scores["plain"] - scores["course"]).max()))
        name = f"{work}{'_from_new' if new else ''}"
        for way in WAYS:
            rates[way][name] = len(pairs) / median(seconds[way])
        plain, course = (rates[way][name] for way in WAYS)
        print(f"{name:18} plain {plain:6.1f}, course {course:6.1f} pairs/s: {course / plain:.2f} times")
    print(f"largest difference between two scores of a pair: {difference:.1e}")
    ratios = {name: round(rates["course"][name] / rates["plain"][name], 3) for name in rates["course"]}
    result = {
        "ratio": ratios["scoring"],
        "ratio_training": ratios["training"],
        "ratio_from_new": ratios["scoring_from_new"],
        "ratio_training_from_new": ratios["training_from_new"],
        "pairs_per_second": rates,
        "largest_score_difference": difference,
        "pages": options.pages,
        "pairs": len(pairs),
        "held_equal": "weights, pairs and their order, batch size, frozen vision tower, precision",
    }
    if options.save:
        write_json(FILE, result | {"device": hardware.device_name(), "versions": ledger.versions()})
    print(json.dumps(result))
    return int(difference > 1e-3)


if __name__ == "__main__":
    raise SystemExit(main())
