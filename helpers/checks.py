"""Checks around a training run. Each stops it with what is wrong and how to put it right.

Training on the wrong input rarely fails: it runs to its end, and the model has learned nothing, or has
learned the pages that it is scored with. Each check costs little next to a minute of training.
`dataset.check_columns` comes before them, when the rows are made.

A trainer here is a `SentenceTransformerTrainer` whose data set has the query in its first column and pages in
all others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from helpers import copies
from helpers.pages import CELL

if TYPE_CHECKING:
    import datasets
    import torch
    from sentence_transformers import SentenceTransformerTrainer

_UNMOVED = 1e-5  # no number of an embedding of length 1 differs by more: rounding only
_LARGEST = 50_000_000  # pixels: a page at 600 dots an inch has 35 million


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


def readable_rows(train: datasets.Dataset) -> int:
    """Check that every row has a query with words and pages that a processor can read; return their number.

    Looks at the head of each picture only: nothing is decoded. A data set that lies on disk as files is read
    once through.

    Raises:
        ValueError: a query without words; a page that is missing, does not open, is smaller than a visual
            token or far larger than a page, or is not plain grey or RGB. The row and the remedy are named.
    """
    query, *columns = train.column_names
    for row, words in enumerate(train[query]):
        if not isinstance(words, str) or not any(map(str.isalnum, words)):
            raise ValueError(
                f"Row {row} has a query of no words in column {query!r}: {words!r}. Take the row out with "
                f"dataset.filter(lambda row: row[{query!r}].strip())."
            )
    seen = set()
    for column in columns:
        for row, picture in enumerate(copies.undecoded(train, column)[column]):
            place = f"Row {row} has a page in column {column!r} that"
            if picture is None:
                raise ValueError(f"{place} is missing. Take the row out, or leave the column out.")
            key = copies.picture_key(picture)
            if key not in seen:
                seen.add(key)
                wrong = _picture_problem(picture, column)
                if wrong:
                    raise ValueError(f"{place} {wrong}")
    return len(train)


def _picture_problem(picture: Mapping, column: str) -> str | None:
    """What is wrong with a picture that is not decoded yet, {"path", "bytes"}, and the remedy; or None."""
    import io
    import warnings

    from PIL import Image

    name = f" ({picture['path']})" if picture["path"] else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # said below, with the row
        try:
            source = picture["path"] if picture["bytes"] is None else io.BytesIO(picture["bytes"])
            with Image.open(source) as image:
                width, height = image.size
                mode, transparent = image.mode, "A" in image.getbands() or "transparency" in image.info
        except Image.DecompressionBombError:
            return f"has far more pixels than a page{name}. Scale it down before making rows."
        except OSError as error:
            return f"does not open{name}: {error}. Take the row out, or save the page anew."
    if min(width, height) < CELL:
        return f"has {width} x {height} pixels{name}; a visual token covers 32 x 32. Take the row out."
    if width * height > _LARGEST:
        return f"has {width:,} x {height:,} pixels{name}. Scale it down before making rows."
    if transparent or mode not in ("1", "L", "RGB", "P"):
        kind = "is transparent" if transparent else f"has the colours {mode}"
        return (
            f"{kind}{name}. Make all pages plain first: "
            f"dataset.map(lambda row: {{{column!r}: pages.flatten(row[{column!r}])}})."
        )
    return None


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
        ids = ids.union(*train["negative_ids"])
    names = list(corpus["page_id"])
    both = ids.intersection(names)
    if both:
        raise ValueError(
            f"Trained on pages that the model is scored with: {len(both)}, such as {min(both)}. {fix}"
        )
    trained, scored = copies.page_pictures(train, columns), copies.page_pictures(corpus, ["image"])
    a, b = (np.stack(list(pictures.values())) for pictures in (scored, trained))
    found = {
        key: distances[0]
        for key, picture, (_, distances) in zip(scored, a, copies.near_rows(a, b, near))
        if len(distances) and picture.std() >= copies.BLANK
    }
    if found:
        worst = min(found, key=found.get)
        name = names[copies.page_keys(corpus, "image").index(worst)]
        raise ValueError(
            f"Pages that the model is scored with look like pages trained on: {len(found)}, such as {name}, "
            f"{found[worst]:.2f} grey levels from one. {fix} If they are different pages all the same, lower "
            f"`near`, now {near}."
        )
    return len(trained), len(scored)


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
        ValueError: a text or page that a batch holds twice, and the sampler that prevents it.
    """
    query, page, *_ = trainer.train_dataset.column_names
    keys = {query: list(trainer.train_dataset[query]), page: copies.page_keys(trainer.train_dataset, page)}
    looked_at = 0
    for batch in islice(trainer.get_train_dataloader().batch_sampler, batches):
        for name, values in keys.items():
            value, times = Counter(values[i] for i in batch).most_common(1)[0]
            if times > 1:
                raise ValueError(
                    f"A batch holds {value!r} {times} times in column {name!r}: each counts as wrong for the "
                    "other. Set batch_sampler=BatchSamplers.NO_DUPLICATES in the training arguments."
                )
        looked_at += 1
    return looked_at


def guessing_loss(pages: int, weight: float = 1) -> float:
    """The loss of a model that scores all `pages` of a batch alike: `weight` times ln(pages).

    Args:
        weight: the sum of the weights that `MatryoshkaLoss` gives to the sizes of the embedding.
    """
    return weight * math.log(pages)


def loss_fell(
    history: Sequence[Mapping], must_fall: bool = True, guess: float | None = None
) -> tuple[float, float]:
    """First and last training loss in a trainer's `state.log_history`.

    Args:
        must_fall: False for a run of so few steps that its warm-up is barely over.
        guess: the loss of a model that knows nothing, such as `guessing_loss` gives.

    Raises:
        RuntimeError: no loss was logged, one is not finite, the last is not below the first, or (of a run
        that must fall) not well below `guess`.
    """
    losses = [float(entry["loss"]) for entry in history if "loss" in entry]
    if not losses:
        raise RuntimeError("No loss was logged. Set logging_steps in the training arguments.")
    if not all(map(math.isfinite, losses)):
        raise RuntimeError(
            "The loss is not finite. Lower the learning rate, or train in bfloat16 rather than float16."
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
        RuntimeError: none does.
    """
    import torch

    after = sample_weights(model)
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
