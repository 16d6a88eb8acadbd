"""Checks around a training run. Each stops it with what is wrong and how to put it right.

Training on the wrong input rarely fails: it runs to its end, and the model has learned nothing, or the pages
that it is scored with. `dataset.check_columns` comes before these, when rows are made. A trainer here is a
`SentenceTransformerTrainer` whose rows have the query in the first column and pages in all others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np

from helpers import copies
from helpers.inputs import plain_query

if TYPE_CHECKING:
    import datasets
    import torch
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

_SELECT = ".select_columns(['query', 'image', ...])"
_UNMOVED = 1e-5  # no number of an embedding of length 1 differs by more: rounding only


def trainable_parameters(model: torch.nn.Module) -> int:
    """Number of weights that training may change.

    Raises:
        ValueError: there is none.
    """
    count = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    if count == 0:
        raise ValueError(
            "No weight is trainable, so training would change nothing. Call model.requires_grad_(True), or "
            "add an adapter whose weights are trainable."
        )
    return count


def unreadable_rows(
    train: datasets.Dataset, model: SentenceTransformer | None = None
) -> tuple[dict[int, str], dict[int, str]]:
    """Rows that cannot be trained on, and rows that can once they are plain: row -> what is wrong.

    Decodes each picture once, and keeps a small grey one for the checks that compare pages.

    Args:
        model: the processor's own limits are asked too.

    Raises:
        ValueError: no rows; a first column that is not of texts, or another that is not of pictures.
    """
    import datasets

    if not isinstance(train, datasets.Dataset) or not len(train):
        raise ValueError("There are no rows to train on. Give a split that has some, such as data['train'].")
    query, *columns = train.column_names
    if train.features[query] != datasets.Value("string"):
        raise ValueError(f"The first column, {query!r}, holds no texts. Put the queries first: {_SELECT}.")
    for name in columns:
        if not isinstance(train.features[name], datasets.Image):
            fix = f"Use .cast_column({name!r}, datasets.Image()) on the rows, or leave it out: {_SELECT}."
            raise ValueError(f"Column {name!r} is not of pictures, so it would be read as text. {fix}")
    processor = getattr(getattr(model, "processor", None), "image_processor", None)
    patches = getattr(processor, "get_number_of_image_patches", lambda height, width: None)
    wrong: dict[int, str] = {}
    otherwise: dict[int, str] = {}
    for row, words in enumerate(train[query]):
        name = f"The query of row {row}"
        try:
            if plain_query(words, name) != words:
                otherwise[row] = f"{name} would be read as a file or as a model's own token: {words!r}."
        except ValueError as error:
            wrong[row] = str(error)
    for column in columns:
        for row, picture in enumerate(copies.undecoded(train, column)[column]):
            name = f"The page of row {row} in column {column!r}"
            try:
                drawn = copies.draw(picture, name)
                patches(*reversed(drawn.size))
            except ValueError as error:
                text = str(error)
                wrong.setdefault(row, text if text.startswith(name) else f"{name} is refused: {text}.")
            else:
                if drawn.otherwise:
                    name += f" ({picture['path'] or 'no file'})"
                    otherwise.setdefault(row, f"{name} has colours that the library misreads.")
    return wrong, otherwise


def readable_rows(train: datasets.Dataset, model: SentenceTransformer | None = None) -> int:
    """Check that every row has a query of words, and pages that a model reads as they look; return their
    number. Each page is read once.

    Raises:
        ValueError: rows that `unreadable_rows` finds: how many, the first, and the remedy.
    """
    wrong, otherwise = unreadable_rows(train, model)
    for rows, fix in (
        (
            wrong,
            "Take them out: wrong, _ = checks.unreadable_rows(dataset); dataset = dataset.select([row for "
            "row in range(len(dataset)) if row not in wrong]).",
        ),
        (otherwise, "Make all rows plain first: dataset = dataset.map(inputs.plain_row)."),
    ):
        if rows:
            row = min(rows)
            raise ValueError(f"{rows[row]} Of {len(train)} rows, {len(rows)} are like that. {fix}")
    return len(train)


def no_shared_pages(
    train: datasets.Dataset, corpus: datasets.Dataset, columns: Sequence[str], near: float = copies.NEAR
) -> tuple[int, int]:
    """Check that no page of `corpus`, which a model is scored with, is among the pages trained on.

    Three ways to be the same page: the same id, the same pixels, nearly the same pixels. Blank pages are left
    out. Returns how many pages are trained on and how many scored with, each counted once.

    Args:
        train: rows with the page columns `columns`, and page_id and negative_ids where it has them.
        corpus: rows with page_id and image.
        near: grey levels of 255 that the same page may differ by; 0 looks for the same ids only.

    Raises:
        ValueError: a page is in both, with its id and how it was found.
    """
    fix = "Split by document before making rows, and take these pages out of the training rows."
    ids = set(train["page_id"]) if "page_id" in train.column_names else set()
    if "negative_ids" in train.column_names:
        ids = ids.union(*(several or () for several in train["negative_ids"]))
    names = list(corpus["page_id"])
    both = ids.intersection(names)
    if both:
        raise ValueError(
            f"Trained on pages that the model is scored with: {len(both)}, such as {min(both)}. {fix}"
        )
    found = list(copies.same_pages(corpus, train, columns, near))
    if found:
        worst = min(found, key=lambda same: same.average)
        pages = len({same.row for same in found})
        raise ValueError(
            f"Pages that the model is scored with look like pages trained on: {pages}, such as "
            f"{names[worst.row]}, {worst}. {fix} If they are different pages all the same, lower `near`, now "
            f"{near}."
        )
    return len(copies.page_pictures(train, columns)), len(copies.page_pictures(corpus, ["image"]))


def page_tokens(
    trainer: SentenceTransformerTrainer, rows: int = 4, most: int | None = None
) -> dict[str, list[int]]:
    """Visual tokens of each column in the first rows, exactly as the trainer will feed them to the loss.

    Args:
        most: visual tokens that `max_pixels` allows a page, max_pixels // 32**2. A whole page comes near it.

    Raises:
        ValueError: a page without visual tokens (fed as text, such as its file name); a query that has some;
        no page with half of `most` (cut off, or made small on the way).
    """
    features = _features(trainer, range(min(rows, len(trainer.train_dataset))))
    image_token = trainer.model.transformers_model.config.image_token_id
    counts = {
        name: (feature["input_ids"] == image_token).sum(dim=1).tolist() for name, feature in features.items()
    }
    query, *pages = counts
    if max(counts[query]) > 0:
        raise ValueError(
            f"Column {query!r} should hold queries, and has visual tokens. Put the columns in the loss's "
            "order: the query, its page, then negatives."
        )
    for name in pages:
        if min(counts[name]) == 0:
            raise ValueError(
                f"Column {name!r} reaches the model without a single visual token: its pages are read as "
                "text. Give it the type datasets.Image(), for example with "
                f"dataset.cast_column({name!r}, datasets.Image())."
            )
    seen = max(max(counts[name]) for name in pages)
    if most and seen < most / 2:
        raise ValueError(
            f"Pages reach the model with at most {seen} visual tokens, and max_pixels allows {most}: they "
            "are cut off or made smaller on the way. Look at a row's picture, and at max_pixels where the "
            "model is loaded."
        )
    return counts


def same_prompts(trainer: SentenceTransformerTrainer, row: int = 0, query_prompt: str | None = None) -> str:
    """Check that training and encoding feed the model the same tokens for a query and its page.

    Returns the query as the model reads it, its prompt included.

    Args:
        query_prompt: what queries are going to be encoded with, if not with the model's own prompt.

    Raises:
        ValueError: they differ, with the beginning of both.
    """
    model, caught = trainer.model, []
    hook = model[0].register_forward_pre_hook(
        lambda module, inputs: caught.append(inputs[0]["input_ids"][0].tolist())
    )
    features = _features(trainer, [row])
    query, page, *_ = features
    try:
        example = trainer.train_dataset[row]
        model.encode_query([example[query]], prompt=query_prompt, show_progress_bar=False)
        model.encode_document([example[page]], show_progress_bar=False)
    finally:
        hook.remove()
    for name, encoded in zip((query, page), caught, strict=True):
        mask = features[name]["attention_mask"][0].bool()
        trained = features[name]["input_ids"][0][mask].tolist()
        if trained != encoded:
            before, after = (model.tokenizer.decode(ids)[:80] for ids in (trained, encoded))
            fix = (
                "Encode queries with the prompt that they are trained with."
                if query_prompt is not None
                else "Pass the model's prompts to the training arguments: "
                f"prompts={{{name!r}: model.prompts[...], ...}}."
            )
            raise ValueError(f"Column {name!r} is trained as {before!r} and encoded as {after!r}. {fix}")
    return model.tokenizer.decode(caught[0])


def no_repeats_in_a_batch(trainer: SentenceTransformerTrainer, batches: int = 20) -> int:
    """Check that no query and no positive comes twice in a batch: each would count as wrong for the other.

    Returns the number of batches looked at, at most `batches`.

    Raises:
        ValueError: a text or page that a batch holds twice, and the sampler that prevents it; or one on so
        many rows that batches which hold it once cannot be filled.
    """
    query, page, *_ = trainer.train_dataset.column_names
    keys = {query: list(trainer.train_dataset[query]), page: copies.page_keys(trainer.train_dataset, page)}
    looked_at = 0
    for batch in islice(trainer.get_train_dataloader().batch_sampler, batches):
        for name, values in keys.items():
            value, times = Counter(values[i] for i in batch).most_common(1)[0]
            if times > 1:
                rows = [i for i in batch if values[i] == value]
                raise ValueError(
                    f"A batch holds rows {rows}, which are the same in column {name!r}: each counts as wrong "
                    "for the other. Set batch_sampler=copies.no_duplicates in the training arguments."
                )
        looked_at += 1
    rows, size = len(trainer.train_dataset), trainer.args.train_batch_size
    most = math.ceil(rows / size)
    for name, values in keys.items():
        value, times = Counter(values).most_common(1)[0]
        if times > most:
            raise ValueError(
                f"Row {values.index(value)} and {times - 1} more of {rows} rows are the same in column "
                f"{name!r}. A batch holds one, so most would have fewer than {size} rows. Keep at most "
                f"{most} of these."
            )
    return looked_at


def batch_sizes(trainer: SentenceTransformerTrainer) -> list[int]:
    """A list that fills with the number of rows in each batch while `trainer` trains, for `loss_fell`."""
    import torch

    sizes: list[int] = []

    def note(loss, inputs) -> None:
        if torch.is_grad_enabled():  # not while evaluating
            sizes.append(len(next(iter(inputs[0]))["input_ids"]))

    trainer.loss.register_forward_pre_hook(note)
    return sizes


def loss_fell(
    history: Sequence[Mapping],
    must_fall: bool = True,
    guess: float | None = None,
    sizes: Sequence[int] = (),
) -> tuple[float, float]:
    """First and last training loss in a trainer's `state.log_history`.

    Args:
        must_fall: False for a run of so few steps that its warm-up is barely over.
        guess: the loss of a model that scores all pages of a batch alike: the logarithm of their number,
            times the sum of the weights that `MatryoshkaLoss` gives to the sizes of the embedding.
        sizes: what `batch_sizes` noted, where a step is one batch: what was logged of batches less than half
            full is left out, as their loss is small for having few pages to choose from.

    Raises:
        RuntimeError: no loss was logged, one is not finite, the last is not below the first, or (of a run
        that must fall) not well below `guess`.
    """
    logged = [entry for entry in history if "loss" in entry]
    losses = [float(entry["loss"]) for entry in logged]
    if not losses:
        raise RuntimeError("No loss was logged. Set logging_steps in the training arguments.")
    ends = [int(entry["step"]) for entry in logged] if sizes else []
    if ends and len(sizes) <= ends[-1]:
        offset = ends[-1] - len(sizes)  # steps of an interrupted run before this one, which are not known
        spans = [sizes[max(0, a - offset) : max(0, b - offset)] for a, b in pairwise((0, *ends))]
        full = [not span or sum(span) >= max(sizes) * len(span) / 2 for span in spans]
        losses = [loss for loss, is_full in zip(losses, full) if is_full]
    # The trainer logs 0 for a loss that is not finite, unless logging_nan_inf_filter is False.
    if not all(map(math.isfinite, (*losses, float(logged[-1].get("grad_norm", 0))))) or losses[-1] == 0:
        raise RuntimeError(
            f"The loss is not finite, or of batches of one row: {losses[-1]:g} at the end. Lower the "
            "learning rate, or train in bfloat16 rather than float16."
        )
    if must_fall and losses[-1] >= losses[0]:
        raise RuntimeError(
            f"The loss did not fall ({losses[0]:.3f} to {losses[-1]:.3f}). Check the learning rate, and that "
            "the columns are in the loss's order."
        )
    if must_fall and guess and losses[-1] > 0.9 * guess:
        raise RuntimeError(
            f"The loss ended at {losses[-1]:.3f}, and a guess costs {guess:.3f}: pages cannot be told from "
            "one another by what the rows say. Look at a few rows: is each query beside its own page?"
        )
    return losses[0], losses[-1]


def sample_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """About a thousand values of each trainable weight tensor, to see afterwards whether it moved."""
    weights = {name: w.detach().flatten() for name, w in model.named_parameters() if w.requires_grad}
    return {name: values[:: len(values) // 1000 + 1].cpu().clone() for name, values in weights.items()}


def weights_moved(before: Mapping[str, torch.Tensor], model: torch.nn.Module) -> int:
    """Number of weight tensors that differ from `before`, which `sample_weights` made.

    Raises:
        RuntimeError: none does, or one is not finite.
    """
    import torch

    after = sample_weights(model)
    broken = [name for name, values in after.items() if not values.isfinite().all()]
    if broken:
        raise RuntimeError(
            f"{len(broken)} of {len(after)} weight tensors are not finite any more, such as {broken[0]}. "
            "Begin anew with a lower learning rate, in bfloat16 rather than float16."
        )
    moved = sum(not torch.equal(values, after[name]) for name, values in before.items())
    if moved == 0:
        raise RuntimeError(
            "No weight has changed. Is the learning rate 0, or so small that the weights' precision rounds "
            "it away? Load the model in float32 and set learning_rate."
        )
    return moved


def embeddings_moved(before: np.ndarray, after: np.ndarray) -> float:
    """Mean cosine similarity of embeddings (n, d) with themselves after training; 1 is unmoved.

    Raises:
        RuntimeError: they are the same, so another model is scored than the one that was trained.
    """
    before, after = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (before, after))
    if not np.isfinite(after).all():
        raise RuntimeError("An embedding is not finite: the training broke the weights. See weights_moved.")
    if np.abs(before - after).max() < _UNMOVED:
        raise RuntimeError(
            "The embeddings are those of the model before training. Score the model that was trained, and "
            "check which folder its weights were loaded from."
        )
    return float((before * after).sum(axis=1).mean())


def _features(trainer: SentenceTransformerTrainer, rows: Sequence[int]) -> dict[str, dict]:
    """What the trainer would feed the loss for these rows: column -> input_ids, attention_mask, ..."""
    features, _ = trainer.collect_features(trainer.data_collator([trainer.train_dataset[i] for i in rows]))
    return dict(zip(trainer.train_dataset.column_names, features, strict=True))
