"""Everything that differs between one training and another: models, sizes, rates, in one checked object.

    profile = Settings(embedding_model="Qwen/Qwen3-VL-Embedding-2B", tier="80gb").changed(seed=7)

The defaults are those of the article that fine-tunes Qwen3-VL-Embedding-2B
(https://huggingface.co/blog/train-multimodal-sentence-transformers).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from types import UnionType
from typing import get_args, get_origin, get_type_hints

_PROJECT = Path(__file__).resolve().parents[1]

TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
VISION_LAYERS = ("qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2")
MERGER_LAYERS = ("merger.linear_fc1", "merger.linear_fc2")  # between the two

# GPU memory -> what settings with a tier change there. "80gb" is the article's; LoRA as of ColPali's
# models (rank 32, 2e-4: https://github.com/illuin-tech/colpali).
_ADAPTER = {"adapter_rank": 32, "reranker_learning_rate": 2e-4, "reranker_freeze_vision": True}
TIERS: dict[str, dict] = {
    "16gb": {"dtype": "float16", "mini_batch_num_tokens": 1536} | _ADAPTER,
    "24gb": {"dtype": "bfloat16"} | _ADAPTER,
    "80gb": {},
}
CUTS = (1, 2, 4, 8, 16)  # what the sizes of a model with random weights can be divided by
_CHOICES = {"dtype": ("float32", "bfloat16", "float16"), "tier": tuple(TIERS), "cut_sizes": CUTS}
_KINDS = {int: "whole number", float: "number", str: "string that is not empty"}
_FROM_0 = ("of 0 or more", lambda value: value >= 0)
#: Numbers that need not be above 0 -> what they must be, in words and as a test.
_BOUNDS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "matryoshka_weights": _FROM_0,
    "hard_negatives": ("from 0 to 4", lambda value: 0 <= value <= 4),
    "warmup": ("from 0 to below 1", lambda value: 0 <= value < 1),
    "seed": _FROM_0,
    "reranker_margin": _FROM_0,
}


@dataclass(frozen=True)
class Settings:
    """The settings of a training, checked when they are made; lists become tuples. Raises ValueError for a
    value of a wrong type, or one that cannot be meant, such as a batch size of 0.
    """

    # Models: a folder, or a hub id. `path()` tells which.
    embedding_model: str
    name: str = "own"
    vlm_model: str = "Qwen/Qwen3-VL-2B-Instruct"
    reranker_model: str | None = "Qwen/Qwen3-VL-Reranker-2B"  # where rerankers start; None: `vlm_model`
    dataset: str | None = None  # a data set on the hub; None: documents that are on this machine
    collection: str | None = None  # their folder, in the form of `helpers.collection`; None: the course's own
    # Page images: the processor scales each page so that its pixel count lies between these two.
    min_pixels: int = 28 * 28
    max_pixels: int = 600 * 600
    dtype: str = "bfloat16"  # precision that weights are loaded in for inference: a name in torch
    # Retriever
    matryoshka_dims: tuple[int, ...] = (2048, 1536, 1024, 512, 256, 128, 64)
    matryoshka_weights: tuple[float, ...] | None = None  # of their losses, in the same order; None: 1 each
    train_rows: int | None = None  # None: every row of the train split
    hard_negatives: int = 1  # of a row's four, how many the loss is given; each is one page more to encode
    batch_size: int = 64  # queries that share their negatives in one step
    # A gradient cache: for batches that do not fit in memory, at the price of a second pass.
    cached_loss: bool = True
    # Tokens that the cache sends through at once (a page of 600 x 600 pixels has some 380): speed and memory.
    mini_batch_num_tokens: int = 3072
    mini_batch_size: int = 1  # in rows: where the two are compared
    scale: float = 20.0  # 1 / temperature of the loss
    learning_rate: float | None = None  # None: 2e-5, or the adapter's where there is one
    num_train_epochs: float | None = None  # None: 1, or the adapter's where there is one
    warmup: float = 0.1  # share of all steps
    max_steps: int | None = None  # stop each training after so many; None: at the end of its passes
    # LoRA: matrices of this rank are trained beside the frozen weights; None trains all weights.
    adapter_rank: int | None = None
    adapter_learning_rate: float = 2e-4
    adapter_epochs: float = 1.0
    adapter_layers: tuple[str, ...] = TEXT_LAYERS  # ends of the names of the layers that get one
    seed: int = 12
    # Reranker
    reranker_batch_size: int = 16  # (query, page) pairs per step
    reranker_learning_rate: float = 2e-5
    reranker_train_queries: int = 2000
    reranker_freeze_vision: bool = False  # train the text model only
    reranker_negatives: int = 4  # negatives per query in training
    reranker_margin: float | None = 0.05  # of those, none above (1 - margin) of the positive's score
    candidates: int = 10  # pages per query that the reranker orders
    # What must be there before a training starts
    needs_gpu: bool = False
    needs_hub: bool = False
    # Only where the model is too large for some GPUs: one of TIERS, what the GPU's memory allows.
    tier: str | None = None
    # Random weights, with the published sizes divided by this; None: trained ones.
    cut_sizes: int | None = None

    def __post_init__(self) -> None:
        for name, kind in _annotations().items():
            self._set(name, _checked(name, kind, getattr(self, name)))
        adapted = self.adapter_rank is not None
        if self.learning_rate is None:
            self._set("learning_rate", self.adapter_learning_rate if adapted else 2e-5)
        if self.num_train_epochs is None:
            self._set("num_train_epochs", self.adapter_epochs if adapted else 1.0)
        sizes = len(self.matryoshka_dims)
        if not self.matryoshka_weights:
            self._set("matryoshka_weights", (1,) * sizes)
        if len(self.matryoshka_weights) != sizes:
            raise ValueError(
                f"matryoshka_weights must be {sizes} numbers, one for each of matryoshka_dims, not "
                f"{len(self.matryoshka_weights)}."
            )
        if self.batch_size == 1:
            raise ValueError(
                "batch_size must be at least 2, not 1: the pages of other rows are a query's wrong answers."
            )
        least = max(32 * 32, self.min_pixels)
        if self.max_pixels < least:
            raise ValueError(
                f"max_pixels must be at least {least}, not {self.max_pixels}: one visual token covers "
                "32 x 32 pixels, and min_pixels is the lower bound."
            )

    def _set(self, name: str, value) -> None:
        object.__setattr__(self, name, value)  # the one way, while a frozen object is made

    def changed(self, tier: str | None = None, **overrides) -> Settings:
        """Return these settings with some of them replaced.

        An override of None means "as it is", so that a notebook can pass its parameters on as they are. An
        adapter brings its own learning rate and passes, unless these are overridden too.

        Args:
            tier: GPU memory, one of TIERS, such as `hardware.tier()` finds, for settings that have one.

        Raises:
            ValueError: no tier of that name, or a value that cannot be meant.
            TypeError: an override that is no setting.
        """
        known = [field.name for field in fields(self) if field.name not in ("name", "tier")]
        unknown = [name for name in overrides if name not in known]
        if unknown:
            raise TypeError(f"There is no setting {unknown[0]!r}. Settings: {', '.join(known)}.")
        if tier is not None and tier not in TIERS:
            raise ValueError(f"There is no tier {tier!r}. Set TIER to one of: {', '.join(TIERS)}.")
        changes = {name: value for name, value in overrides.items() if value is not None}
        if tier and self.tier:
            changes = {"tier": tier, **TIERS[tier]} | changes
        if "matryoshka_dims" in changes:
            changes.setdefault("matryoshka_weights", None)
        for name, of_adapter in (
            ("learning_rate", "adapter_learning_rate"),
            ("num_train_epochs", "adapter_epochs"),
        ):
            new = "adapter_rank" in changes and self.adapter_rank is None
            if new or (self.adapter_rank and of_adapter in changes):
                changes.setdefault(name, None)  # what the adapter brings
        return replace(self, **changes)

    def path(self, model: str) -> str:
        """Return what `SentenceTransformer(...)` takes: the folder of that path, as it is or below the
        project, if there is one, else the hub id.
        """
        folders = (Path(model).absolute(), _PROJECT / model)
        return next((str(folder) for folder in folders if folder.is_dir()), model)

    def training_settings(self) -> dict:
        """What two training runs of the retriever must share to be the same one, by name."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if not field.name.startswith(("reranker", "needs", "candidates"))
        }

    @property
    def models(self) -> tuple[str, ...]:
        """The models that the settings name, each once."""
        named = (self.embedding_model, self.vlm_model, self.reranker_model)
        return tuple(dict.fromkeys(model for model in named if model))


@cache
def _annotations() -> dict[str, object]:
    """Field -> its type."""
    return get_type_hints(Settings)


def _checked(name: str, kind, value):
    """Return a field's value, a list as a tuple, or raise ValueError with what it must be."""
    optional = get_origin(kind) is UnionType
    if optional:
        kind = next(part for part in get_args(kind) if part is not type(None))
    several = get_origin(kind) is tuple
    if several:
        kind = get_args(kind)[0]
    if optional and value is None:
        return None
    if several and isinstance(value, (list, tuple)) and (value or optional):
        if all(_fits(name, kind, one) for one in value):
            return tuple(value)
    elif not several and _fits(name, kind, value):
        return value
    raise ValueError(
        f"{name} must be {_wanted(name, kind, several)}{' or None' if optional else ''}, not {value!r}."
    )


def _fits(name: str, kind: type, value) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if not isinstance(value, (int, float) if kind is float else kind):
        return False
    if name in _CHOICES:
        return value in _CHOICES[name]
    if kind is str:
        return bool(value.strip())
    return math.isfinite(value) and _bound(name)[1](value)


def _wanted(name: str, kind: type, several: bool) -> str:
    if kind is bool:
        return "True or False"
    if name in _CHOICES:
        return f"one of {', '.join(map(str, _CHOICES[name]))}"
    bound = "" if kind is str else f" {_bound(name)[0]}"
    if several:
        return f"a list of {'strings' if kind is str else _KINDS[kind] + 's'}{bound}"
    return f"a {_KINDS[kind]}{bound}"


def _bound(name: str) -> tuple[str, Callable[[float], bool]]:
    return _BOUNDS.get(name, ("above 0", lambda value: value > 0))
