"""One short fine-tuning of the small checkpoint, scored on dev: what benchmarks and sweeps repeat."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.course.profiles import get_profile, run_dir
from tools.fast_vision import fast_vision

if TYPE_CHECKING:
    import datasets

#: What can be broken on purpose, and what each fault is. The first is the control.
FAULTS = {
    "nothing broken": "the same training, with every check asked",
    "no prompt in training": "the trainer is not given the prompts",
    "another prompt for queries": "queries are scored with a prompt that the model was not trained with",
    "positives shuffled": "each query is paired with the page of the row before",
    "pages of dev trained on": "the rows that the model is scored with are among the training rows",
    "nothing learned": "the learning rate is 0, as good as a frozen model",
    "base model scored": "the model before training is loaded in place of the trained one",
    "pages cut off": "only the upper quarter of each page reaches the model",
}
WRONG_PROMPT = "Write a poem about the sea."
#: What training rows can do without, to see what the gain is made of.
LEFT_OUT = {
    "terms": "rows with one of the jargon terms that unseen_terms() draws, a third of them",
    "rows": "as many rows drawn at random",
}
#: What of a profile a measurement of its retriever hangs on.
HELD = (
    "name", "embedding_model", "dataset", "max_pixels", "matryoshka_dims", "matryoshka_weights", "train_rows",
    "hard_negatives", "batch_size", "cached_loss", "mini_batch_size", "scale", "learning_rate",
    "num_train_epochs", "warmup",
)  # fmt: skip


def held(profile) -> dict:
    """What was held equal over the runs of a measurement, in JSON's own types: to be kept beside it."""
    settings = {name: getattr(profile, name) for name in HELD}
    return json.loads(json.dumps(settings | {"checkpoint": weights_id(profile)}))


def weights_id(profile) -> str:
    """Ten hexadecimal digits that change when the weights of the profile's local embedding model do.

    A measurement that is kept says with it what it was measured on.
    """
    return digits_of([Path(profile.path(profile.embedding_model)) / "model.safetensors"])


def digits_of(files: Sequence[Path]) -> str:
    """Ten hexadecimal digits that change with the bytes of files, in their order."""
    digest = hashlib.blake2b(digest_size=5)
    for file in files:
        with file.open("rb") as opened:
            while part := opened.read(2**20):
                digest.update(part)
    return digest.hexdigest()


@dataclass(frozen=True)
class ShortTraining:
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
    equal_weights: bool = False  # each size of the embedding counts alike, not as in the profile
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
    dtype: str = "float32"  # of the weights that are trained
    left_out: str | None = None  # of the training rows: one of LEFT_OUT
    writer: str | None = None  # of the queries, and miner of the negatives, as `training_rows.own_rows` has
    miner: str | None = None  # them; None: the labelled ones


def fine_tune(
    settings: ShortTraining,
    keep: Path | None = None,
    split: str = "dev",
    callbacks: Sequence = (),
    base: Path | None = None,
    before: bool = True,
    by_query: bool = False,
) -> dict:
    """Train as `settings` say and return NDCG@10 before and after, seconds, pages per second, memory.

    After: with whole embeddings, and with the first eighth of their dimensions.
    A page counts once for each row that holds it. Nothing is evaluated or saved on the way. With a fault,
    training goes on in spite of it, and "caught" holds what the checks of notebook 04 say to it: their names
    and messages.

    Args:
        keep: folder to save the trained model in.
        split: what to score on. Anything that is chosen is chosen on dev; eval is for reports.
        callbacks: of the trainer, such as one that times it.
        base: folder of the embedding model to start from; None: the profile's.
        before: score the model before training too.
        by_query: NDCG@10 of each query too, before and after.

    Raises:
        ValueError: a fault that is none of `FAULTS`.
    """
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from transformers import set_seed

    from helpers import checks, copies, hardware
    from helpers.course.data import load_collection, load_corpus, load_dataset
    from helpers.dataset import NEGATIVES, retrieval_task
    from helpers.evaluation import mean

    if settings.fault is not None and settings.fault not in FAULTS:
        raise ValueError(f"There is no fault {settings.fault!r}. Faults: {', '.join(FAULTS)}.")
    profile = get_profile(
        "small",
        embedding_model=str(base) if base else None,
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
            model_kwargs={"dtype": settings.dtype, "attn_implementation": attention},
            processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
            device=hardware.device(),
        )
        if settings.pooling:
            model[1] = type(model[1])(model.get_embedding_dimension(), pooling_mode=settings.pooling)
        return model

    attention = settings.attention or hardware.training_attention()
    model = load(attention)
    if settings.fast_vision:
        fast_vision(model)
    data = load_dataset(profile)
    if settings.left_out:
        data["train"] = _without(settings.left_out, data["train"], profile.seed)
    made = {}
    if settings.writer or settings.miner:
        from tools.training_rows import own_rows

        data["train"], made = own_rows(
            load_collection(profile), profile, model, settings.writer, settings.miner,
            settings.rows, run_dir(profile) / "fine_tune",
        )  # fmt: skip
    columns = ["query", "image", *NEGATIVES[: settings.negatives]]
    train = _with_fault(settings, data["train"], data["dev"], columns)
    corpus = load_corpus(profile, split)
    task = retrieval_task(data[split], corpus, profile.max_pixels)
    if settings.fault == "pages cut off":
        task = (task[0], {name: upper_quarter(page) for name, page in task[1].items()}, task[2])
    scored_before = score_queries(model, *task)[None] if before else {}
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
        batch_sampler=copies.no_duplicates,
        prompts=None if settings.fault == "no prompt in training" else prompts,
        seed=profile.seed,
        data_seed=profile.seed,
        save_strategy="no",
        logging_steps=0.05,  # as notebook 04
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
    query_prompt = WRONG_PROMPT if settings.fault == "another prompt for queries" else None

    def attempt(name: str, *arguments, **options) -> None:
        """Ask a check of notebook 04, and note what it says."""
        try:
            getattr(checks, name)(*arguments, **options)
        except (ValueError, RuntimeError) as error:
            caught[name] = str(error)

    if settings.fault:
        attempt("no_shared_pages", train, corpus, columns[1:])
        attempt("page_tokens", trainer, most=profile.max_pixels // 32**2)
        attempt("same_prompts", trainer, query_prompt=query_prompt)
        weights_before = checks.sample_weights(model)
        pages_before = embed_pages(model, task[1])
        sizes = checks.batch_sizes(trainer)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # ends bf16's autocast
    scored = load(attention) if settings.fault == "base model scored" else model
    if settings.fault:
        weight = sum(profile.matryoshka_weights) if settings.matryoshka else 1
        guess = weight * math.log(settings.batch * (len(columns) - 1))
        attempt("loss_fell", trainer.state.log_history, guess=guess, sizes=sizes)
        attempt("weights_moved", weights_before, model)
        attempt("embeddings_moved", pages_before, embed_pages(scored, task[1]))
    eighth = model.get_embedding_dimension() // 8
    after = score_queries(scored, *task, dims=(None, eighth), query_prompt=query_prompt)
    figures = {
        f"{split}_ndcg@10_before": mean(scored_before) if before else None,
        f"{split}_ndcg@10": mean(after[None]),
        f"{split}_ndcg@10_eighth": mean(after[eighth]),
        "seconds": seconds,
        "pages_per_second": settings.epochs * (len(columns) - 1) * len(train) / seconds,
        "peak_memory_mb": hardware.peak_memory_mb(),
        "trainable": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
    }
    if by_query:
        for name, values in (("before", scored_before), ("after", after[None])):
            figures[f"{name}_by_query"] = {query: round(value, 4) for query, value in values.items()}
        figures["rows"] = len(train)
    if keep:
        model.save_pretrained(str(keep), create_model_card=False)
    return figures | made | ({"caught": caught} if settings.fault else {})


def unseen_terms(seed: int) -> set[str]:
    """A third of the jargon terms that training queries use, drawn at random."""
    from helpers.course.data import load_queries

    terms = sorted({term for query in load_queries("train") for term in query["jargon"]})
    return set(random.Random(seed).sample(terms, len(terms) // 3))


def _without(what: str, train: datasets.Dataset, seed: int) -> datasets.Dataset:
    """The training rows but for those of LEFT_OUT[what]."""
    from helpers.course.data import load_queries

    unseen = unseen_terms(seed)
    use = {query["query_id"] for query in load_queries("train") if unseen.intersection(query["jargon"])}
    kept = [row for row, query in enumerate(train["query_id"]) if query not in use]
    if what == "rows":
        kept = sorted(random.Random(seed).sample(range(len(train)), len(kept)))
    return train.select(kept)


def upper_quarter(page):
    """The upper quarter of a page image, as wide as the page."""
    return page.crop((0, 0, page.width, max(32, page.height // 4)))


def _with_fault(
    settings: ShortTraining, train: datasets.Dataset, dev: datasets.Dataset, columns: list[str]
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


def _loss(model, settings: ShortTraining, profile, load):
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
        whole = model.get_embedding_dimension()
        weights = {whole: 1} | dict(zip(profile.matryoshka_dims, profile.matryoshka_weights))
        weights = {dim: 1 if settings.equal_weights else w for dim, w in weights.items() if dim <= whole}
        dims = list(weights)
        loss = losses.MatryoshkaLoss(
            model, loss, matryoshka_dims=dims, matryoshka_weights=[weights[dim] for dim in dims]
        )
    return loss


def embed_pages(model, pages: dict):
    """Embeddings (pages, dimensions) of `pages`, id -> image, as a NumPy array."""
    return model.encode_document(list(pages.values()), batch_size=32, show_progress_bar=False)


def check_held(file: Path, made_with: dict, now: dict) -> None:
    """Compare what a file of measurements was made with and what holds now, as :func:`held` gives them.

    Raises:
        ValueError: the first setting that differs.
    """
    changed = [name for name in now if made_with.get(name) != now[name]]
    if changed:
        raise ValueError(
            f"{file} was measured with {changed[0]} = {made_with.get(changed[0])}, and now it is "
            f"{now[changed[0]]}. Move or delete it to measure again."
        )


def whole_training(profile, seed: int = ShortTraining.seed) -> ShortTraining:
    """The settings of notebook 04's training."""
    return ShortTraining(
        rows=profile.train_rows,
        epochs=profile.num_train_epochs,
        batch=profile.batch_size,
        negatives=profile.hard_negatives,
        seed=seed,
    )


def score_queries(
    model,
    queries: dict,
    pages: dict,
    relevant: dict,
    dims: Sequence[int | None] = (None,),
    query_prompt: str | None = None,
    similarity="cosine",
) -> dict[int | None, dict[str, float]]:
    """NDCG@10 of the model's ranking of `pages`, by the number of dimensions kept, and by query.

    Args:
        dims: how many first dimensions of the embeddings to rank with; None: all.
        query_prompt: in place of the model's own; "" for none.
    """
    from helpers.evaluation import ndcg, rank

    asked = model.encode_query(
        list(queries.values()), prompt=query_prompt, batch_size=32, show_progress_bar=False
    )
    embeddings = embed_pages(model, pages)
    ids = list(queries), list(pages)
    runs = {dim: rank(asked, embeddings, *ids, dim=dim, similarity=similarity) for dim in dims}
    return {dim: ndcg(run, relevant) for dim, run in runs.items()}
