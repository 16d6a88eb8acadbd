"""A gradient cache's mini-batches by tokens against mini-batches of one row, which are the article's.

    python tests/bench/bench_cache.py         a minute on two CPU cores
    python tests/bench/bench_cache.py --save  and into data/measurements/cache_speed.json, for docs/speed.md

One step's forward and backward of the small checkpoint on the same batch, in turns in one process: pages and
queries one by one, and as many at a time as have so many tokens. The loss is the same up to rounding. The
last line is a JSON object; `ratio` is the first's seconds over the second's, medians.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from helpers import hardware  # noqa: E402
from helpers.course import ledger  # noqa: E402
from helpers.course.data import load_split  # noqa: E402
from helpers.course.profiles import get_profile  # noqa: E402
from helpers.files import write_json  # noqa: E402
from tools.fast_vision import fast_vision  # noqa: E402

FILE = ROOT / "data" / "measurements" / "cache_speed.json"


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--rows", type=int, default=64, help="rows of the batch")
    parser.add_argument("--pages", type=int, default=8, help="pages whose tokens make a mini-batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", action="store_true", help=f"write {FILE.relative_to(ROOT)}")
    options = parser.parse_args()
    hardware.keep_freed_memory()

    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import losses

    profile = get_profile("small")
    model = SentenceTransformer(
        profile.path(profile.embedding_model),
        model_kwargs={"dtype": "float32", "attn_implementation": hardware.training_attention()},
        processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
        device=hardware.device(),
    )
    fast_vision(model)
    model.train()
    rows = load_split(profile, "train", limit=options.rows)
    prompts = {"query": model.prompts["query"], "image": model.prompts["document"]}
    features = [model.preprocess(list(rows[name]), prompt=prompt) for name, prompt in prompts.items()]
    moved = [{k: v.to(model.device) if torch.is_tensor(v) else v for k, v in one.items()} for one in features]
    tokens = options.pages * int(features[1]["attention_mask"].sum(dim=1).max())
    ways = {"rows": {"mini_batch_size": 1}, "tokens": {"mini_batch_num_tokens": tokens}}
    seconds, values = {way: [] for way in ways}, {}
    for _ in range(options.rounds + 1):
        for way, how in ways.items():
            loss = losses.CachedMultipleNegativesRankingLoss(model, scale=profile.scale, **how)
            started = time.perf_counter()
            value = loss([dict(one) for one in moved], None)
            value.backward()
            values[way] = value.item()  # waits for a GPU
            seconds[way].append(time.perf_counter() - started)
            model.zero_grad(set_to_none=True)
    middle = {way: median(times[1:]) for way, times in seconds.items()}  # the first warms up
    difference = abs(values["rows"] - values["tokens"])
    assert difference < 1e-3, values
    result = {
        "ratio": round(middle["rows"] / middle["tokens"], 2),
        "rows": options.rows,
        "mini_batch_num_tokens": tokens,
        "seconds": middle,
        "loss_difference": difference,
        "device": hardware.device_name(),
    }
    for way, value in middle.items():
        print(f"mini-batches by {way:6} {value:6.2f} s a step, loss {values[way]:.6f}")
    if options.save:
        write_json(FILE, result | {"versions": ledger.versions()})
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
