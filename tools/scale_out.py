"""A short training that runs in one process or in several, to compare what they do.

    python tools/scale_out.py --batch 32                                      one process
    torchrun --nproc_per_node 2 tools/scale_out.py --batch 16 --gather        two, negatives shared
    torchrun --nproc_per_node 2 tools/scale_out.py --batch 16                 two, each with its own

`--batch` is per process. The trainer finds out by itself how many processes there are. The last line is a
JSON object: processes, device, loss and gradient norm of each step, seconds, and pages per second of all
processes together. `accelerate launch --cpu --num_processes 2` would run one process, without a word.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.course.profiles import get_profile, run_dir  # noqa: E402
from tools.own_process import told  # noqa: E402


def train(batch: int, steps: int, gather: bool) -> dict:
    """Train the small checkpoint for a few steps; return what the first process saw."""
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import set_seed

    from helpers import hardware
    from helpers.course.data import load_dataset

    profile = get_profile("small")
    args = SentenceTransformerTrainingArguments(
        output_dir=str(run_dir(profile) / "scale_out"),
        per_device_train_batch_size=batch,
        max_steps=steps,
        learning_rate=profile.learning_rate,
        seed=profile.seed,
        data_seed=profile.seed,
        use_cpu=hardware.device() == "cpu",
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )
    processes, first = args.world_size, args.process_index == 0
    rows = get_profile("small", train_rows=batch * processes * steps)
    set_seed(profile.seed)
    hardware.keep_freed_memory()
    model = SentenceTransformer(
        profile.path(profile.embedding_model),
        model_kwargs={"dtype": "float32"},
        processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
        device=hardware.device(),
    )
    with args.main_process_first(desc="rendering the pages"):  # one writes the cache, the rest read it
        columns = ["query", "image", "negative_0"]
        train_dataset = load_dataset(rows)["train"].select_columns(columns)
    args.prompts = {name: model.prompts["document" if name != "query" else "query"] for name in columns}
    trainer = SentenceTransformerTrainer(
        model=model,
        args=args,
        train_dataset=train_dataset,
        loss=MultipleNegativesRankingLoss(model, gather_across_devices=gather),
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    # All end together: a process whose peer has gone may abort on its way out.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "first": first,
        "processes": processes,
        "batch": batch,
        "gather": gather,
        "device": hardware.device_name(),
        "losses": [float(entry["loss"]) for entry in log],
        "gradient_norms": [float(entry["grad_norm"]) for entry in log],
        "seconds": seconds,
        "pages_per_second": 2 * batch * processes * steps / seconds,
    }


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--batch", type=int, default=16, help="rows a process and step (default: 16)")
    parser.add_argument("--steps", type=int, default=4, help="steps of the optimizer (default: 4)")
    parser.add_argument("--gather", action="store_true", help="share the negatives of all processes")
    options = parser.parse_args(arguments)
    if options.batch < 2 or options.steps < 1:
        parser.error("--batch must be at least 2 and --steps at least 1")
    result = train(options.batch, options.steps, options.gather)
    if result.pop("first"):
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
