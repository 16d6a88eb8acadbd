"""Training speed: the course's settings against the article's plain ones, on this machine.

    python tests/bench/bench_training.py             about five minutes on two CPU cores
    python tests/bench/bench_training.py --rows 4096 what notebook 04 trains on

Both train the small checkpoint on the same rows in the same order, with the same seed, for one epoch, in
processes of their own, one after the other; nothing is evaluated or saved on the way. Then each is scored on
the dev split. A page counts once for each row that holds it (two a row: the positive and one hard negative).

The article's settings (https://huggingface.co/blog/train-multimodal-sentence-transformers): gradient cache
with mini-batches of 1, bfloat16, the library's own attention and data loading. The last line is a JSON
object; `ratio` is the course's pages per second over the article's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from helpers.profiles import get_profile  # noqa: E402

WAYS = ("article", "course")


def train(way: str, rows: int) -> dict[str, float]:
    """Train one way; return seconds, pages per second, peak memory, and NDCG@10 on dev before and after."""
    import time

    import torch
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
        MatryoshkaLoss,
        MultipleNegativesRankingLoss,
    )
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers
    from transformers import set_seed

    from helpers import dataset, hardware
    from helpers.evaluation import mean, ndcg, rank

    ours = way == "course"
    profile = get_profile("small", train_rows=rows)
    set_seed(profile.seed)
    if ours:
        hardware.keep_freed_memory()
    model = SentenceTransformer(
        profile.path(profile.embedding_model),
        model_kwargs={
            "dtype": torch.float32,
            "attn_implementation": hardware.training_attention() if ours else "sdpa",
        },
        processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
        device=hardware.device(),
    )
    data = dataset.load_dataset(profile)
    dev = dataset.retrieval_task(data["dev"], dataset.load_corpus(profile, "dev"), profile.max_pixels)

    def score() -> float:
        queries, pages, relevant = dev
        shared = {"batch_size": 32, "convert_to_tensor": True, "show_progress_bar": False}
        embeddings = [
            encode(list(items.values()), **shared)
            for encode, items in ((model.encode_query, queries), (model.encode_document, pages))
        ]
        return mean(ndcg(rank(*embeddings, list(queries), list(pages)), relevant))

    before = score()
    loss = (
        MultipleNegativesRankingLoss(model)
        if ours
        else CachedMultipleNegativesRankingLoss(model, mini_batch_size=1)
    )
    columns = ["query", "image", "negative_0"]
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(ROOT / "runs" / "bench"),
        num_train_epochs=1,
        per_device_train_batch_size=profile.batch_size,
        learning_rate=profile.learning_rate,
        warmup_steps=profile.warmup,
        bf16=hardware.use_bf16(),
        use_cpu=hardware.device() == "cpu",
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        prompts={name: model.prompts["document" if name != "query" else "query"] for name in columns},
        seed=profile.seed,
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=data["train"].select_columns(columns),
        loss=MatryoshkaLoss(model, loss, matryoshka_dims=profile.matryoshka_dims),
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # ends bf16's autocast
    return {
        "seconds": seconds,
        "pages_per_second": 2 * len(data["train"]) / seconds,
        "peak_memory_mb": hardware.peak_memory_mb(),
        "dev_ndcg@10_before": before,
        "dev_ndcg@10": score(),
    }


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--rows", type=int, default=960, help="training rows (default: 960)")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # set in the processes started below
    options = parser.parse_args()
    if options.rows < get_profile("small").batch_size:
        parser.error(f"--rows must be at least one batch, {get_profile('small').batch_size}")
    if options.way:
        print(json.dumps(train(options.way, options.rows)))
        return 0
    measured = {}
    for way in WAYS:
        command = [sys.executable, __file__, "--way", way, "--rows", str(options.rows)]
        shown = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
        if shown.returncode:
            print(shown.stderr[-3000:], file=sys.stderr)
            return shown.returncode
        measured[way] = json.loads(shown.stdout.splitlines()[-1])
        figures = measured[way]
        print(
            f"{way:8} {figures['pages_per_second']:6.1f} pages/s  {figures['seconds']:5.0f} s  "
            f"{figures['peak_memory_mb']:6,.0f} MB  dev NDCG@10 {figures['dev_ndcg@10_before']:.3f} -> "
            f"{figures['dev_ndcg@10']:.3f}",
            flush=True,
        )
    ratio = measured["course"]["pages_per_second"] / measured["article"]["pages_per_second"]
    print(json.dumps({"ratio": round(ratio, 3), "rows": options.rows, **measured}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
