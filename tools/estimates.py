"""What the notebooks that train take on `full`, each a formula of the profile: memory, disk, download, pages.

`tools/needs.py` measures what the formulas start from, and makes the table of them. `ASSUMED` says what was
taken for granted instead of measured.
"""

from __future__ import annotations

from typing import NamedTuple

from helpers.course.profiles import get_profile
from helpers.settings import TIERS, Settings
from tools import random_model

ASSUMED = {
    "GPU of a tier, and its datasheet's FLOP/s in 16 bits": {
        "16gb": ["T4", 65e12],
        "24gb": ["L4", 121e12],
        "80gb": ["A100", 312e12],
    },
    "share of them that is reached": 0.3,
    "share of GPU memory lost to fragments": 0.1,
    "GB that CUDA itself takes": 0.6,
    "rows of the training set": 10_000,
    "GB of the data set to download": 10.0,
    "GB of the data set once it is prepared": 10.0,
}
WEIGHTS = 2_127_532_032  # of the embedding model; a reranker's and the VLM's heads are their embeddings
TEXT, VISION = 28, 24  # layers
PAGE = (44, 32)  # patches of 16 x 16 pixels, of a page of 600 x 600 pixels
WORDS = 8  # beside a quarter of a page
PAGE_TOKENS = PAGE[0] * PAGE[1] // 4 + 4 * WORDS  # four patches a token
EVAL, DEV, OTHER = 1500, 750, 303  # pages: of eval, of dev, of other kinds
#: Of notebook 07: lists to train on, students, and models whose weights it keeps: these, the base and the
#: fine-tuned one.
LISTS, STUDENTS = 640, 3
SETS = STUDENTS + 2


class Kept(NamedTuple):
    """Bytes kept for the backward pass: for each forward pass, and for each page in it."""

    fixed: float
    page: float

    def of(self, pages: float, forwards: int = 1) -> float:
        """For so many pages in so many forward passes that go backward together."""
        return forwards * self.fixed + pages * self.page


class Takes(NamedTuple):
    """Bytes of GPU memory, disk and download; pages that go forward; bytes of weights that are held in the
    computer's own memory.
    """

    gpu: float
    disk: float
    download: float
    pages: float
    held: float = 0.0


def training_bytes(trained: int, kept: float, inputs: float = 0.0) -> float:
    """What training adds to the loaded model: a gradient (4 bytes) and AdamW's two means (8) for each weight
    that is trained, what autograd keeps, and inputs that it does not keep.
    """
    return 12 * trained + kept + inputs


def needs(kept: dict[str, Kept], operations: float) -> dict[str, dict[str, dict[str, float]]]:
    """Notebook -> tier -> GB of GPU memory, GB of weights that the computer's memory holds, GB of disk, GB to
    download, hours.

    Args:
        kept: for each of `WAYS`.
        operations: of a forward pass of one page.
    """
    found: dict = {}
    for tier in TIERS:
        profile = get_profile("full", tier)
        _, rate = ASSUMED["GPU of a tier, and its datasheet's FLOP/s in 16 bits"][tier]
        rate *= ASSUMED["share of them that is reached"]
        for notebook, takes in (
            ("03_choose_loss", _choosing(profile, kept)),
            ("04_train_embedding", _embedding(profile, kept)),
            ("06_train_reranker", _reranking(profile, kept)),
            ("07_distill", _distilling(profile, kept)),
            ("08_late_interaction", _many_vectors(profile, kept)),
            ("appendix_lora", _embedding(profile.changed(adapter_rank=32), kept)),
        ):
            memory = takes.gpu * (1 + ASSUMED["share of GPU memory lost to fragments"])
            memory += 1e9 * ASSUMED["GB that CUDA itself takes"]
            found.setdefault(notebook, {})[tier] = {
                "gpu_gb": round(memory / 1e9, 1),
                "memory_gb": round(takes.held / 1e9, 1),
                "disk_gb": round(takes.disk / 1e9, 1),
                "download_gb": round(takes.download / 1e9, 1),
                "hours": round(takes.pages * operations / rate / 3600, 2),
            }
    return found


def _data() -> tuple[float, float]:
    """Bytes to download, and bytes that a prepared data set takes beside them."""
    return tuple(
        1e9 * ASSUMED[f"GB of the data set {what}"] for what in ("to download", "once it is prepared")
    )


def _choosing(profile: Settings, kept: dict[str, Kept]) -> Takes:
    """03: gradients of all weights in float32."""
    download, prepared = _data()
    if profile.adapter_rank:  # the small checkpoint stands in
        return Takes(1e9, prepared, download, 200)
    memory = 4 * WEIGHTS + 4 * WEIGHTS + kept["all weights, float32"].of(8 * profile.mini_batch_size)
    return Takes(memory, prepared, download + 2 * WEIGHTS, 200)


def _embedding(profile: Settings, kept: dict[str, Kept]) -> Takes:
    """04, or a training like it."""
    adapted = profile.adapter_rank is not None
    pages = max(1, profile.mini_batch_num_tokens // PAGE_TOKENS)
    columns = 1 + profile.hard_negatives
    pixels = _pixels(profile.batch_size * columns)
    trained = _adapter(profile) if adapted else WEIGHTS
    memory = (2 * WEIGHTS + 4 * trained if adapted else 4 * WEIGHTS) + training_bytes(
        trained, kept["adapter" if adapted else "all weights"].of(pages), pixels
    )
    download, prepared = _data()
    # Two checkpoints of weights and AdamW's means, and the model at the end.
    disk = prepared + (2 * 12 * trained) + (2 if adapted else 4) * WEIGHTS
    # A cached step goes forward twice and backward once: as much as two of them, or one for frozen weights.
    rows = ASSUMED["rows of the training set"]
    trained_pages = rows * columns * profile.num_train_epochs * (3 if adapted else 4)
    return Takes(memory, disk, download + 2 * WEIGHTS, trained_pages + 2 * EVAL + 7 * 300)


def _beside_another(
    profile: Settings, kept: dict[str, Kept], pages: int, forwards: int, at_once: int, inputs: float = 0.0
) -> float:
    """Bytes of a training with gradient checkpointing, of so many pages in so many forward passes, beside a
    second model that is only loaded; a layer computes `at_once` pages again.
    """
    adapted = profile.adapter_rank is not None
    way, trained = ("adapter", _adapter(profile)) if adapted else ("all weights", WEIGHTS)
    # What a layer keeps while its backward pass runs, once more of each 24 + 28.
    layer = kept[way].of(at_once) / (TEXT + VISION)
    autograd = kept[f"{way}, checkpointing"].of(pages, forwards) + layer + (0 if adapted else 2 * WEIGHTS)
    loaded = 2 * WEIGHTS + 4 * trained if adapted else 4 * WEIGHTS
    return 2 * WEIGHTS + loaded + training_bytes(trained, autograd, inputs)


def _reranking(profile: Settings, kept: dict[str, Kept]) -> Takes:
    """06: the retriever beside a reranker, gradient checkpointing."""
    adapted = profile.adapter_rank is not None
    lists = 2 + profile.reranker_negatives  # pages of a row: its own, one of another row's, look-alikes
    forwards, pairs = lists, max(2, profile.reranker_batch_size // lists) * lists
    memory = _beside_another(profile, kept, pairs, forwards, pairs // forwards)
    download, prepared = _data()
    disk = prepared + 2 * (2 if adapted else 4) * WEIGHTS
    queries = profile.reranker_train_queries
    candidates = profile.candidates * (300 + 150)
    trained_pages = queries * (lists + 1 + profile.reranker_negatives) * (3 if adapted else 4)
    pages = trained_pages + EVAL + DEV + 5 * queries + 4 * candidates
    return Takes(memory, disk, download + 4 * WEIGHTS, pages)


def _distilling(profile: Settings, kept: dict[str, Kept]) -> Takes:
    """07: three students after one another beside the reranker, gradient checkpointing; and in the computer's
    memory the weights of `SETS` models, in the type that they are trained in, with the mean of two or more.
    """
    adapted = profile.adapter_rank is not None
    lists = min(profile.reranker_batch_size, LISTS)
    pages = 4 * lists  # a right page and three wrong ones, each column in a forward pass, as the queries are
    size = 2 if adapted else 4
    memory = _beside_another(profile, kept, pages, 5, lists, _pixels(pages))
    download, prepared = _data()
    taught = 5 * LISTS + LISTS * profile.candidates  # pages of the rows, and candidates that are scored
    taught += STUDENTS * 4 * LISTS * (3 if adapted else 4)
    part = DEV / 2
    measured = (DEV + EVAL) + STUDENTS * (3 * part + DEV) + 3 * EVAL + 5 * (part + OTHER) + part
    disk, held = prepared + size * WEIGHTS, (SETS + 1) * size * WEIGHTS
    return Takes(memory, disk, download + 4 * WEIGHTS, taught + measured, held)


def _many_vectors(profile: Settings, kept: dict[str, Kept]) -> Takes:
    """08: as 04 without hard negatives, twice; the first model waits in the computer's memory meanwhile."""
    adapted = profile.adapter_rank is not None
    pages = max(1, profile.mini_batch_num_tokens // PAGE_TOKENS)
    way, size = ("adapter", 2) if adapted else ("all weights", 4)
    trained = _adapter(profile) if adapted else WEIGHTS
    memory = size * WEIGHTS + (4 * trained if adapted else 0)
    memory += training_bytes(trained, kept[way].of(pages), _pixels(profile.batch_size))
    download, prepared = _data()
    seen = 2 * (ASSUMED["rows of the training set"] * (3 if adapted else 4) + EVAL + 4 * 128)
    return Takes(memory, prepared + size * WEIGHTS, download + 2 * WEIGHTS, seen, size * WEIGHTS)


def _pixels(pages: int) -> int:
    """Bytes of so many pages as a processor gives them, in float32."""
    return pages * PAGE[0] * PAGE[1] * 3 * 2 * 16 * 16 * 4


def _adapter(profile: Settings) -> int:
    """Weights of an adapter on the text layers of the 2B model: r x (in + out) for each."""
    text = random_model.config().text_config
    width, heads, keys = text.hidden_size, text.num_attention_heads, text.num_key_value_heads
    outputs = {
        "q_proj": heads * text.head_dim,
        "k_proj": keys * text.head_dim,
        "v_proj": keys * text.head_dim,
    }
    sizes = [(width, size) for size in outputs.values()] + [(heads * text.head_dim, width)]
    sizes += [(width, text.intermediate_size)] * 2 + [(text.intermediate_size, width)]
    return TEXT * profile.adapter_rank * sum(map(sum, sizes))
