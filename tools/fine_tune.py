"""One short fine-tuning of the small checkpoint, scored on dev: what benchmarks and sweeps repeat."""

from __future__ import annotations

import time
from dataclasses import dataclass

from helpers.profiles import get_profile, run_dir


@dataclass(frozen=True)
class Settings:
    """What may differ between two short runs. The rest is the profile's, as in notebook 04."""

    rows: int = 1024
    batch: int = 32
    negatives: int = 1  # hard negatives a row, 0 to 4
    mini_batch: int | None = None  # rows that a gradient cache sends through at once; None: no cache
    scale: float = 20.0  # 1 / temperature
    hardness_mode: str | None = None
    hardness_strength: float = 0.0
    guided: bool = False  # the base model filters false negatives
    matryoshka: bool = True
    learning_rate: float | None = None  # None: the profile's
    adapter_rank: int | None = None  # LoRA on the text layers
    attention: str | None = None  # None: the fastest for training here
    keep_memory: bool = True  # let the allocator keep freed memory
    multiply_patches: bool = True  # in place of the library's convolution
    checkpointing: bool = False  # compute intermediate results again in the backward pass
    workers: int = 0  # processes that read pages ahead
    seed: int = 12


def fine_tune(settings: Settings) -> dict[str, float]:
    """Train as `settings` say and return NDCG@10 on dev before and after, seconds, pages per second, memory.

    A page counts once for each row that holds it. Nothing is evaluated or saved on the way.
    """
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers
    from transformers import set_seed

    from helpers import dataset, hardware

    profile = get_profile("small", train_rows=settings.rows, seed=settings.seed)
    set_seed(profile.seed)
    if settings.keep_memory:
        hardware.keep_freed_memory()

    def load(attention):
        return SentenceTransformer(
            profile.path(profile.embedding_model),
            model_kwargs={"dtype": "float32", "attn_implementation": attention},
            processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
            device=hardware.device(),
        )

    model = load(settings.attention or hardware.training_attention())
    if settings.multiply_patches:
        hardware.multiply_patches(model)
    data = dataset.load_dataset(profile)
    task = dataset.retrieval_task(data["dev"], dataset.load_corpus(profile, "dev"), profile.max_pixels)
    before = score(model, *task)
    if settings.adapter_rank:
        from peft import LoraConfig, get_peft_model

        rank, names = settings.adapter_rank, list(profile.adapter_layers)
        adapter = LoraConfig(r=rank, lora_alpha=rank, target_modules=names)
        model[0].model = get_peft_model(model[0].model, adapter)
    columns = ["query", "image", *dataset.NEGATIVES[: settings.negatives]]
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(run_dir(profile) / "fine_tune"),
        num_train_epochs=1,
        per_device_train_batch_size=settings.batch,
        learning_rate=settings.learning_rate or profile.learning_rate,
        warmup_steps=profile.warmup,
        bf16=hardware.use_bf16(),
        use_cpu=hardware.device() == "cpu",
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        prompts={name: model.prompts["document" if name != "query" else "query"] for name in columns},
        seed=profile.seed,
        data_seed=profile.seed,
        save_strategy="no",
        gradient_checkpointing=settings.checkpointing,
        dataloader_num_workers=settings.workers,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=hardware.device() == "cuda",
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=data["train"].select_columns(columns),
        loss=_loss(model, settings, profile, load),
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # ends bf16's autocast
    return {
        "dev_ndcg@10_before": before,
        "dev_ndcg@10": score(model, *task),
        "seconds": seconds,
        "pages_per_second": (len(columns) - 1) * len(data["train"]) / seconds,
        "peak_memory_mb": hardware.peak_memory_mb(),
        "trainable": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
    }


def _loss(model, settings: Settings, profile, load):
    """Return the loss that `settings` describe; `load(attention)` loads the base model anew, as a guide."""
    from sentence_transformers.sentence_transformer import losses

    if settings.guided:
        guide = load("sdpa").requires_grad_(False)
        loss = losses.GISTEmbedLoss(model, guide, temperature=1 / settings.scale)
    else:
        shared = {
            "scale": settings.scale,
            "hardness_mode": settings.hardness_mode,
            "hardness_strength": settings.hardness_strength,
        }
        if settings.mini_batch:
            shared["mini_batch_size"] = settings.mini_batch
            loss = losses.CachedMultipleNegativesRankingLoss(model, **shared)
        else:
            loss = losses.MultipleNegativesRankingLoss(model, **shared)
    if settings.matryoshka:
        loss = losses.MatryoshkaLoss(model, loss, matryoshka_dims=profile.matryoshka_dims)
    return loss


def score(model, queries: dict, pages: dict, relevant: dict) -> float:
    """NDCG@10 of the model's ranking of `pages` for each query."""
    from helpers.evaluation import mean, ndcg, rank

    shared = {"batch_size": 32, "convert_to_tensor": True, "show_progress_bar": False}
    embeddings = [
        encode(list(items.values()), **shared)
        for encode, items in ((model.encode_query, queries), (model.encode_document, pages))
    ]
    return mean(ndcg(rank(*embeddings, list(queries), list(pages)), relevant))
