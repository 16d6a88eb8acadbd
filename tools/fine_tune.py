"""One short fine-tuning of the small checkpoint, scored on dev: what benchmarks and sweeps repeat."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.profiles import get_profile, run_dir

if TYPE_CHECKING:
    import datasets

#: What can be broken on purpose, and what each fault is.
FAULTS = {
    "no prompt in training": "the trainer is not given the prompts",
    "another prompt for queries": "queries are scored with a prompt that the model was not trained with",
    "positives shuffled": "each query is paired with the page of the row before",
    "pages of dev trained on": "the rows that the model is scored with are among the training rows",
    "nothing learned": "the learning rate is 0, as good as a frozen model",
    "base model scored": "the model before training is loaded in place of the trained one",
    "pages cut off": "only the upper quarter of each page reaches the model",
}
WRONG_PROMPT = "Write a poem about the sea."


@dataclass(frozen=True)
class Settings:
    """What may differ between two short runs. The rest is the profile's, as in notebook 04."""

    rows: int | None = 1024  # None: the profile's, every row
    batch: int = 32
    epochs: float = 1.0  # passes over the rows
    negatives: int = 0  # hard negatives a row, 0 to 4
    mini_batch: int | None = None  # rows that a gradient cache sends through at once; None: no cache
    scale: float | None = None  # 1 / temperature; None: the profile's
    hardness_mode: str | None = None
    hardness_strength: float = 0.0
    guided: bool = False  # the base model filters false negatives
    matryoshka: bool = True
    learning_rate: float | None = None  # None: the profile's
    adapter_rank: int | None = None  # LoRA on the text layers
    attention: str | None = None  # None: the fastest for training here
    keep_memory: bool = True  # let the allocator keep freed memory
    fast_vision: bool = True  # patches by matrix product, pictures attending together
    checkpointing: bool = False  # compute intermediate results again in the backward pass
    workers: int = 0  # processes that read pages ahead
    max_pixels: int | None = None  # None: the profile's
    pooling: str | None = None  # None: the checkpoint's, the last token
    fault: str | None = None  # one of FAULTS
    seed: int = 12


def fine_tune(
    settings: Settings, keep: Path | None = None, split: str = "dev", callbacks: Sequence = ()
) -> dict:
    """Train as `settings` say and return NDCG@10 before and after, seconds, pages per second, memory.

    A page counts once for each row that holds it. Nothing is evaluated or saved on the way. With a fault,
    training goes on in spite of it, and "caught" holds what the checks of notebook 04 say to it: their names
    and messages.

    Args:
        keep: folder to save the trained model in.
        split: what to score on. Anything that is chosen is chosen on dev; eval is for reports.
        callbacks: of the trainer, such as one that times it.

    Raises:
        ValueError: a fault that is none of `FAULTS`.
    """
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers
    from transformers import set_seed

    from helpers import checks, dataset, hardware

    if settings.fault is not None and settings.fault not in FAULTS:
        raise ValueError(f"There is no fault {settings.fault!r}. Faults: {', '.join(FAULTS)}.")
    profile = get_profile(
        "small",
        train_rows=settings.rows,
        seed=settings.seed,
        max_pixels=settings.max_pixels,
        adapter_rank=settings.adapter_rank,
        learning_rate=settings.learning_rate,
        num_train_epochs=settings.epochs,  # with an adapter too, so that runs compare
    )
    set_seed(profile.seed)
    if settings.keep_memory:
        hardware.keep_freed_memory()

    def load(attention):
        model = SentenceTransformer(
            profile.path(profile.embedding_model),
            model_kwargs={"dtype": "float32", "attn_implementation": attention},
            processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
            device=hardware.device(),
        )
        if settings.pooling:
            model[1] = type(model[1])(model.get_embedding_dimension(), pooling_mode=settings.pooling)
        return model

    attention = settings.attention or hardware.training_attention()
    model = load(attention)
    if settings.fast_vision:
        hardware.fast_vision(model)
    data = dataset.load_dataset(profile)
    columns = ["query", "image", *dataset.NEGATIVES[: settings.negatives]]
    train = _with_fault(settings, data["train"], data["dev"], columns)
    corpus = dataset.load_corpus(profile, split)
    task = dataset.retrieval_task(data[split], corpus, profile.max_pixels)
    if settings.fault == "pages cut off":
        task = (task[0], {name: upper_quarter(page) for name, page in task[1].items()}, task[2])
    before = score(model, *task)
    if settings.adapter_rank:
        from peft import LoraConfig, get_peft_model

        rank, names = settings.adapter_rank, list(profile.adapter_layers)
        adapter = LoraConfig(r=rank, lora_alpha=rank, target_modules=names)
        model[0].model = get_peft_model(model[0].model, adapter)
    prompts = {name: model.prompts["document" if name != "query" else "query"] for name in columns}
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(run_dir(profile) / "fine_tune"),
        num_train_epochs=profile.num_train_epochs,
        per_device_train_batch_size=settings.batch,
        learning_rate=0.0 if settings.fault == "nothing learned" else profile.learning_rate,
        warmup_steps=profile.warmup,
        bf16=hardware.use_bf16(),
        use_cpu=hardware.device() == "cpu",
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        prompts=None if settings.fault == "no prompt in training" else prompts,
        seed=profile.seed,
        data_seed=profile.seed,
        save_strategy="no",
        logging_steps=0.1,
        dataloader_num_workers=settings.workers,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=hardware.device() == "cuda",
        **({"gradient_checkpointing": True} if settings.checkpointing else {}),
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=train.select_columns(columns),
        loss=_loss(model, settings, profile, load),
        callbacks=list(callbacks),
    )
    caught = {}

    def attempt(name: str, *arguments, **options) -> None:
        """Ask a check of notebook 04, and note what it says."""
        try:
            getattr(checks, name)(*arguments, **options)
        except (ValueError, RuntimeError) as error:
            caught[name] = str(error)

    if settings.fault:
        attempt("no_shared_pages", train, corpus, columns[1:])
        attempt("page_tokens", trainer, most=profile.max_pixels // 32**2)
        attempt("same_prompts", trainer)
        weights_before = checks.sample_weights(model)
        pages_before = embed_pages(model, task[1])
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # ends bf16's autocast
    scored = load(attention) if settings.fault == "base model scored" else model
    if settings.fault:
        dims = len(profile.matryoshka_dims) if settings.matryoshka else 1
        guess = checks.guessing_loss(settings.batch * (len(columns) - 1), dims)
        attempt("loss_fell", trainer.state.log_history, guess=guess)
        attempt("weights_moved", weights_before, model)
        attempt("embeddings_moved", pages_before, embed_pages(scored, task[1]))
    query_prompt = WRONG_PROMPT if settings.fault == "another prompt for queries" else None
    if query_prompt:
        attempt("same_prompts", trainer, query_prompt=query_prompt)
    figures = {
        f"{split}_ndcg@10_before": before,
        f"{split}_ndcg@10": score(scored, *task, query_prompt=query_prompt),
        "seconds": seconds,
        "pages_per_second": settings.epochs * (len(columns) - 1) * len(train) / seconds,
        "peak_memory_mb": hardware.peak_memory_mb(),
        "trainable": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
    }
    if keep:
        model.save_pretrained(str(keep), create_model_card=False)
    return figures | ({"caught": caught} if settings.fault else {})


def upper_quarter(page):
    """The upper quarter of a page image, as wide as the page."""
    return page.crop((0, 0, page.width, max(32, page.height // 4)))


def _with_fault(
    settings: Settings, train: datasets.Dataset, dev: datasets.Dataset, columns: list[str]
) -> datasets.Dataset:
    """The training rows, with the fault where it is one of the data."""
    import datasets

    if settings.fault == "positives shuffled":
        rows = list(range(len(train)))
        moved = train.select(rows[-1:] + rows[:-1])
        names = ("image", "page_id", "page_ids")
        others = [name for name in train.column_names if name not in names]
        mixed = [train.select_columns(others), moved.select_columns(list(names))]
        return datasets.concatenate_datasets(mixed, axis=1)
    if settings.fault == "pages of dev trained on":
        return datasets.concatenate_datasets([dev, train.select(range(len(train) - len(dev)))])
    if settings.fault == "pages cut off":

        def cut(rows):
            return {name: [upper_quarter(page) for page in rows[name]] for name in columns[1:]}

        return train.select_columns([*columns, "page_id", "negative_ids"]).map(cut, batched=True)
    return train


def _loss(model, settings: Settings, profile, load):
    """Return the loss that `settings` describe; `load(attention)` loads the base model anew, as a guide."""
    from sentence_transformers.sentence_transformer import losses

    scale = settings.scale or profile.scale
    if settings.guided:
        guide = load("sdpa").requires_grad_(False)
        loss = losses.GISTEmbedLoss(model, guide, temperature=1 / scale)
    else:
        shared = {
            "scale": scale,
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


def embed_pages(model, pages: dict):
    """Embeddings (pages, dimensions) of `pages`, id -> image, as a NumPy array."""
    return model.encode_document(list(pages.values()), batch_size=32, show_progress_bar=False)


def score(
    model, queries: dict, pages: dict, relevant: dict, query_prompt: str | None = None, similarity="cosine"
) -> float:
    """NDCG@10 of the model's ranking of `pages` for each query.

    Args:
        query_prompt: in place of the model's own; "" for none.
    """
    from helpers.evaluation import mean, ndcg, rank

    asked = model.encode_query(
        list(queries.values()), prompt=query_prompt, batch_size=32, show_progress_bar=False
    )
    run = rank(asked, embed_pages(model, pages), list(queries), list(pages), similarity=similarity)
    return mean(ndcg(run, relevant))
