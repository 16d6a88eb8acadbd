"""How many layers, how wide? Pretrains each of ``small_checkpoint.SHAPES`` for equal minutes; fine-tunes it.

    python data/make/sizes.py --minutes 40 --processes 2 --bf16
    python data/make/sizes.py --minutes 5 --device cuda --batch 512 --workers 16
    python data/make/sizes.py --minutes 40 --processes 2 --bf16 --only shipped narrow

Every shape starts from random weights and gets the same minutes of the stages ``see``, ``match`` and
``read``; a larger one sees fewer pages in them. Then notebook 04's training, scored on dev, and the speed of
encoding and of training. Figures go to ``data/measurements/sizes.json``, after each shape; an interrupted run
goes on where it was. Needs ``small_checkpoint.py gather`` first.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import small_checkpoint  # noqa: E402
from small_checkpoint import SHAPES  # noqa: E402

ROOT = small_checkpoint.ROOT
sys.path.insert(0, str(ROOT))
from helpers import dataset, hardware, ledger  # noqa: E402
from helpers.profiles import get_profile  # noqa: E402
from tools.fine_tune import check_held, embed_pages, fine_tune, whole_training  # noqa: E402
from tools.own_process import last_json  # noqa: E402

FILE = ROOT / "data" / "measurements" / "sizes.json"
#: What all shapes must have in common.
ASKED = ("minutes", "device", "batch", "processes", "workers", "bf16")


def load(asked: dict) -> dict:
    """What was measured so far as now asked, {"asked": ASKED, "shapes": {name: figures}}.

    Raises:
        SystemExit: the file is not whole, or was measured otherwise.
    """
    if not FILE.is_file():
        return {"asked": asked, "shapes": {}}
    try:
        measured = json.loads(FILE.read_text(encoding="utf-8"))
        had, shapes = measured["asked"], measured["shapes"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise SystemExit(
            f"{FILE} does not hold the figures of shapes ({error!r}). Move or delete it to measure again."
        ) from error
    try:
        check_held(FILE, had, asked)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    return {"asked": asked, "shapes": shapes}


def pretrain(name: str, options: argparse.Namespace) -> dict:
    """Pretrain a shape, or go on with it; return the state of its training."""
    command = [sys.executable, small_checkpoint.__file__, "train", "--shape", name]
    command += ["--minutes", options.minutes, "--device", options.device, "--batch", options.batch]
    command += ["--processes", options.processes, "--workers", options.workers, "--replay", 1]
    log = small_checkpoint.log_file(shape=name)
    if not log.is_file() or json.loads(log.read_text())["log"][-1]["stage"] != "end":
        subprocess.run([*map(str, command), *(["--bf16"] if options.bf16 else [])], check=True)
    return json.loads(log.read_text())


def fine_tuned(name: str) -> dict:
    """Write a shape's checkpoint, fine-tune it as notebook 04 does, and time it."""
    from sentence_transformers import SentenceTransformer

    processor = small_checkpoint.load_or_build_processor()
    file = small_checkpoint.state_file(shape=name)
    model, saved = small_checkpoint.trained(file, processor, SHAPES[name])
    folder = file.with_name("small-embedding")
    shutil.rmtree(folder, ignore_errors=True)
    small_checkpoint.write_embedding(folder, model, processor, saved)
    profile = get_profile("small")
    figures = fine_tune(whole_training(profile), base=folder)
    retriever = SentenceTransformer(
        str(folder),
        device=hardware.device(),
        model_kwargs={"dtype": profile.dtype, "attn_implementation": hardware.attn_implementation()},
        processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
    )
    hardware.fast_vision(retriever)
    task = dataset.retrieval_task(
        dataset.load_split(profile, "dev"), dataset.load_corpus(profile, "dev"), profile.max_pixels
    )
    pages = task[1]
    embed_pages(retriever, dict(list(pages.items())[:32]))  # the first batch is slow
    started = time.perf_counter()
    embed_pages(retriever, pages)
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "base": figures["dev_ndcg@10_before"],
        "finetuned": figures["dev_ndcg@10"],
        "fine_tuning_seconds": figures["seconds"],
        "trained_pages_per_second": figures["pages_per_second"],
        "encoded_pages_per_second": len(pages) / (time.perf_counter() - started),
        "fine_tuned_on": hardware.device_name(),
    }


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--minutes", type=float, default=40, help="of pretraining a shape")
    parser.add_argument("--only", nargs="+", choices=list(SHAPES), default=list(SHAPES), metavar="SHAPE")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=72)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--run", help=argparse.SUPPRESS)  # set in the processes started
    options = parser.parse_args()
    if options.run:
        print(json.dumps(fine_tuned(options.run)))
        return 0
    if options.minutes <= 0:
        raise SystemExit("--minutes must be above 0: nothing would be trained")
    measured = load({name: getattr(options, name) for name in ASKED})
    for name in options.only:
        if name in measured["shapes"]:
            print(f"{name}: measured already", flush=True)
            continue
        state = pretrain(name, options)
        figures = last_json(__file__, "--run", name)
        *reading, fresh = state["log"]
        last = [row for row in reading if row["stage"] == "read"][-5:]
        measured["shapes"][name] = {
            "shape": asdict(SHAPES[name]),
            "pages": sum(state["pages"].values()),
            "fresh pages": {key: fresh[key] for key in ("ndcg@10", "recall@1", "pages")},
            **{
                key: sum(row[key] for row in last) / len(last)
                for key in ("slots_hit", "pieces_hit", "spoken")
            },
            **figures,
        }
        measured["shapes"] = {key: measured["shapes"][key] for key in SHAPES if key in measured["shapes"]}
        ledger.write_json(FILE, measured | {"versions": ledger.versions()})
        print(f"{name}: dev NDCG@10 {figures['base']:.3f} -> {figures['finetuned']:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
