"""How many layers, how wide? Pretrains each of ``small_checkpoint.SHAPES`` on equal pages; fine-tunes it.

    python data/make/sizes.py --processes 2 --bf16 --compile                # all: three hours and more
    python data/make/sizes.py --processes 2 --bf16 --compile --only narrow  # these, beside what is measured
    python data/make/sizes.py --device cuda --batch 512 --workers 16
    python data/make/sizes.py --processes 2 --bf16 --compile --only         # the speeds alone, anew

Every shape starts from random weights and sees as many pages in the stages ``see``, ``match`` and ``read``,
so that machines of different speed give the same comparison. Then notebook 04's training, scored on dev.
Last, the speeds of all shapes in turn on the machine at hand. Figures go to ``data/measurements/sizes.json``,
after each shape; an interrupted run goes on where it was. Needs ``small_checkpoint.py gather`` first.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
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
ASKED = ("pages", "batch", "processes", "bf16")
SPEED_ROWS = 460  # of training: a tenth of notebook 04's
ROUNDS = 2  # of measuring speeds: the better one counts, what else runs on a machine only slows


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
    command += ["--pages", options.pages, "--device", options.device, "--batch", options.batch]
    command += ["--processes", options.processes, "--workers", options.workers]
    command += [f"--{flag}" for flag in ("bf16", "compile") if getattr(options, flag)]
    log = small_checkpoint.log_file(shape=name)
    if not log.is_file() or json.loads(log.read_text())["log"][-1]["stage"] != "end":
        subprocess.run([*map(str, command)], check=True)
    return json.loads(log.read_text())


def fine_tuned(name: str) -> dict:
    """Write a shape's checkpoint and fine-tune it as notebook 04 does."""
    processor = small_checkpoint.load_or_build_processor()
    file = small_checkpoint.state_file(shape=name)
    model, saved = small_checkpoint.trained(file, processor, SHAPES[name])
    folder = file.with_name("small-embedding")
    shutil.rmtree(folder, ignore_errors=True)
    small_checkpoint.write_embedding(folder, model, processor, saved)
    figures = fine_tune(whole_training(get_profile("small")), base=folder)
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "base": figures["dev_ndcg@10_before"],
        "finetuned": figures["dev_ndcg@10"],
        "memory_mb": figures["peak_memory_mb"],
    }


def speeds(name: str) -> dict:
    """How fast a shape encodes and trains here, in pages a second; random weights cost the same."""
    import torch
    from sentence_transformers import SentenceTransformer

    processor = small_checkpoint.load_or_build_processor()
    model = small_checkpoint.build_model(processor.tokenizer, SHAPES[name])
    heads = {"heads": {}, "scale": torch.ones(1)}
    profile = get_profile("small")
    with tempfile.TemporaryDirectory() as folder:
        small_checkpoint.write_embedding(Path(folder), model.to(torch.bfloat16), processor, heads)
        trained = fine_tune(replace(whole_training(profile), rows=SPEED_ROWS), base=Path(folder))
        retriever = SentenceTransformer(
            folder,
            device=hardware.device(),
            model_kwargs={"dtype": profile.dtype, "attn_implementation": hardware.attn_implementation()},
            processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
        )
    hardware.fast_vision(retriever)
    _, pages, _ = dataset.retrieval_task(
        dataset.load_split(profile, "dev"), dataset.load_corpus(profile, "dev"), profile.max_pixels
    )
    embed_pages(retriever, dict(list(pages.items())[:32]))  # the first batch is slow
    started = time.perf_counter()
    embed_pages(retriever, pages)
    return {
        "encoded_pages_per_second": len(pages) / (time.perf_counter() - started),
        "trained_pages_per_second": trained["pages_per_second"],
    }


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--pages", type=int, default=80_000, help="that a shape is pretrained on")
    parser.add_argument("--only", nargs="*", choices=list(SHAPES), default=list(SHAPES), metavar="SHAPE")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=72)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    # Set in the processes started: what is to be measured, and of which shape.
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        kind, name = options.run
        print(json.dumps({"fine_tuned": fine_tuned, "speeds": speeds}[kind](name)))
        return 0
    if options.pages <= 0:
        raise SystemExit("--pages must be above 0: nothing would be trained")
    measured = load({name: getattr(options, name) for name in ASKED})
    shapes = measured["shapes"]

    def save() -> None:
        measured["shapes"] = {key: shapes[key] for key in SHAPES if key in shapes}
        ledger.write_json(FILE, measured | {"versions": ledger.versions()})

    for name in options.only:
        if name in shapes:
            print(f"{name}: measured already", flush=True)
            continue
        state = pretrain(name, options)
        figures = last_json(__file__, "--run", "fine_tuned", name)
        *reading, fresh = state["log"]
        last = [row for row in reading if row["stage"] == "read"][-5:]
        shapes[name] = {
            "shape": asdict(SHAPES[name]),
            "pretraining_minutes": sum(state["spent"].values()),
            "fresh pages": {key: fresh[key] for key in ("ndcg@10", "recall@1", "pages")},
            **{
                key: sum(row[key] for row in last) / len(last)
                for key in ("slots_hit", "pieces_hit", "spoken")
            },
            **figures,
        }
        save()
        print(f"{name}: dev NDCG@10 {figures['base']:.3f} -> {figures['finetuned']:.3f}", flush=True)
    profile = get_profile("small")
    rows = len(dataset.load_dataset(profile)["train"])
    pages = rows * (1 + profile.hard_negatives) * profile.num_train_epochs
    best = {name: {} for name in shapes}
    for _ in range(ROUNDS):  # in turn, so that a slow minute is no one's alone
        for name in shapes:
            for key, value in last_json(__file__, "--run", "speeds", name).items():
                best[name][key] = max(value, best[name].get(key, 0.0))
    for name, found in best.items():
        shapes[name] |= found | {"fine_tuning_seconds": pages / found["trained_pages_per_second"]}
        print(f"{name}: {found}", flush=True)
    measured["speeds_on"] = hardware.device_name()
    save()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
