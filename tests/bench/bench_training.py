"""Training speed: the course's settings against the article's plain ones, on this machine.

    python tests/bench/bench_training.py               960 rows, three to six minutes on two CPU cores
    python tests/bench/bench_training.py --rows 4600   what notebook 04 trains on
    python tests/bench/bench_training.py --each        and the course's settings with one choice taken back
    python tests/bench/bench_training.py --save        and into data/measurements/training_speed.json

Both train the small checkpoint on the same rows in the same order, with the same loss and seed, for one
epoch, in processes of their own, one after the other; nothing is evaluated or saved on the way. Then each is
scored on the dev split. A page counts once for each row that holds it (two a row: the positive and one hard
negative).

The article's settings (https://huggingface.co/blog/train-multimodal-sentence-transformers): gradient cache
with mini-batches of 1, bfloat16, the library's own attention and data loading. The last line is a JSON
object; `ratio` is the course's pages per second over the article's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from helpers import hardware  # noqa: E402
from helpers.course import ledger  # noqa: E402
from helpers.course.profiles import get_profile  # noqa: E402
from helpers.files import write_json  # noqa: E402
from tools.fine_tune import ShortTraining, fine_tune, weights_id  # noqa: E402
from tools.own_process import last_json  # noqa: E402

FILE = ROOT / "data" / "measurements" / "training_speed.json"
#: One hard negative and the scale of the article's loss in both: what differs is how fast it is computed.
COURSE = ShortTraining(batch=get_profile("small").batch_size, negatives=1, scale=20.0)
LIBRARY = {"attention": "sdpa", "keep_memory": False, "fast_vision": False}
WAYS = {"article": replace(COURSE, mini_batch=1, **LIBRARY), "course": COURSE}
#: The course's settings with one thing changed: what each choice is worth, and what was not taken.
EACH = {
    "with a gradient cache, mini-batches of 16": replace(COURSE, mini_batch=16),
    "with the library's attention": replace(COURSE, attention="sdpa"),
    "with the library's vision tower": replace(COURSE, fast_vision=False),
    "with the C library's allocator as it is": replace(COURSE, keep_memory=False),
    "with one process that reads pages ahead": replace(COURSE, workers=1),
    "with gradient checkpointing": replace(COURSE, checkpointing=True),
}


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--rows", type=int, default=960, help="training rows (default: 960)")
    parser.add_argument("--save", action="store_true", help=f"write {FILE.relative_to(ROOT)}")
    parser.add_argument("--each", action="store_true", help="also each choice by itself, taken back")
    parser.add_argument(
        "--way", choices=WAYS | EACH, help=argparse.SUPPRESS
    )  # set in the processes started below
    options = parser.parse_args()
    if options.rows < COURSE.batch:
        parser.error(f"--rows must be at least one batch, {COURSE.batch}")
    if options.way:
        print(json.dumps(fine_tune(replace((WAYS | EACH)[options.way], rows=options.rows))))
        return 0
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is here: no time lost on asking
    measured = {}
    for way in (*WAYS, *EACH) if options.each else WAYS:
        figures = measured[way] = last_json(__file__, "--way", way, "--rows", options.rows)
        print(
            f"{way:42} {figures['pages_per_second']:6.1f} pages/s  {figures['seconds']:5.0f} s  "
            f"{figures['peak_memory_mb']:6,.0f} MB  dev NDCG@10 {figures['dev_ndcg@10_before']:.3f} -> "
            f"{figures['dev_ndcg@10']:.3f}",
            flush=True,
        )
    ratio = measured["course"]["pages_per_second"] / measured["article"]["pages_per_second"]
    result = {"ratio": round(ratio, 3), "rows": options.rows, **measured}
    if options.save:
        made_on = {
            "device": hardware.device_name(),
            "versions": ledger.versions(),
            "checkpoint": weights_id(get_profile("small")),
        }
        write_json(FILE, result | made_on)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
