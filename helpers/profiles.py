"""Profiles: the same notebooks at several scales. A profile is data; nothing else in the course branches on
its name.

A notebook starts with

    profile = get_profile(PROFILE, batch_size=BATCH_SIZE)
    check_profile(profile, allow_cpu=ALLOW_CPU)

and reads every model id, size and training setting from `profile`.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass, fields, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
VISION_LAYERS = ("qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2")
MERGER_LAYERS = ("merger.linear_fc1", "merger.linear_fc2")  # between the two


@dataclass(frozen=True)
class Profile:
    """Everything that differs between a laptop CPU and a GPU with the 2B model."""

    name: str
    # Models: a folder below the course, or a hub id. `path()` tells which.
    embedding_model: str
    vlm_model: str
    reranker_model: str | None  # where rerankers start; None: from `vlm_model`
    dataset: str | None  # None: the PDF files in data/pdfs
    # Page images: the processor scales each page so that its pixel count lies between these two.
    min_pixels: int
    max_pixels: int
    dtype: str  # precision that weights are loaded in for inference: a name in torch
    # Retriever
    matryoshka_dims: tuple[int, ...]
    matryoshka_weights: tuple[float, ...]  # of their losses, in the same order
    train_rows: int | None  # None: every row of the train split
    hard_negatives: int  # of a row's four, how many the loss is given; each is one page more to encode
    batch_size: int  # queries that share their negatives in one step
    # A gradient cache: for batches that do not fit in memory, at the price of a second pass.
    cached_loss: bool
    # Rows that the cache sends through at once: changes memory and speed, not the gradient.
    mini_batch_size: int
    scale: float  # 1 / temperature of the loss
    learning_rate: float
    num_train_epochs: float
    warmup: float  # share of all steps
    # LoRA: matrices of this rank are trained beside the frozen weights; None trains all weights.
    adapter_rank: int | None
    adapter_learning_rate: float  # in place of `learning_rate` where there is an adapter
    adapter_epochs: float  # and in place of `num_train_epochs`
    adapter_layers: tuple[str, ...]  # ends of the names of the layers that get one
    seed: int
    # Reranker
    reranker_batch_size: int  # (query, page) pairs per step
    reranker_learning_rate: float
    reranker_head_learning_rate: float  # of a new score head
    reranker_head_epochs: int  # passes over the pairs with a new score head; without one, one
    reranker_train_queries: int
    reranker_freeze_vision: bool  # train the text model only
    reranker_negatives: int  # negatives per query in training
    reranker_margin: float | None  # of those, none above (1 - margin) of the positive's score; None: no limit
    candidates: int  # pages per query that the reranker orders
    # What check_profile insists on
    needs_gpu: bool
    needs_hub: bool
    # Only where the model is too large for some GPUs: one of TIERS, what the GPU's memory allows.
    tier: str | None = None
    # Random weights, with the published sizes divided by this; None: trained ones.
    cut_sizes: int | None = None

    def path(self, model: str) -> str:
        """Return what `SentenceTransformer(...)` takes: the folder below the course if there is one, else
        the hub id.
        """
        if self.cut_sizes and model == self.embedding_model:
            return str(run_dir(self) / model)
        local = ROOT / model
        return str(local) if local.is_dir() else model

    def training_settings(self) -> dict:
        """What two training runs of the retriever must share to be the same one, by field name."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if not field.name.startswith(("reranker", "needs", "candidates"))
        }

    @property
    def models(self) -> tuple[str, ...]:
        """The models that the profile names, each once."""
        named = (self.embedding_model, self.vlm_model, self.reranker_model)
        return tuple(dict.fromkeys(model for model in named if model))


PROFILES: dict[str, Profile] = {
    "small": Profile(
        name="small",
        embedding_model="data/checkpoints/small-embedding",
        vlm_model="data/checkpoints/small-vlm",
        reranker_model="data/checkpoints/small-reranker",
        dataset=None,
        min_pixels=32 * 32,
        max_pixels=224 * 320,  # at most 70 visual tokens a page: one token covers 32 x 32 pixels
        dtype="float32",
        matryoshka_dims=(256, 192, 128, 96, 64, 32, 16),
        matryoshka_weights=(1, 1, 1, 1, 1, 4, 1),
        train_rows=None,
        hard_negatives=0,
        batch_size=64,
        cached_loss=False,
        mini_batch_size=16,
        scale=10.0,
        learning_rate=7e-4,
        num_train_epochs=2.0,
        warmup=0.1,
        adapter_rank=None,
        adapter_learning_rate=7e-3,
        adapter_epochs=4.0,
        adapter_layers=(*TEXT_LAYERS, *VISION_LAYERS, *MERGER_LAYERS, "embed_tokens"),
        seed=12,
        reranker_batch_size=32,
        reranker_learning_rate=6e-4,
        reranker_head_learning_rate=1e-2,
        reranker_head_epochs=2,
        reranker_train_queries=4600,  # all of train: with 1,600 a reranker stays far behind the retriever
        reranker_freeze_vision=True,
        reranker_negatives=3,
        reranker_margin=None,  # relevance is known: every other page is wrong
        candidates=10,
        needs_gpu=False,
        needs_hub=False,
    ),
    "full": Profile(
        name="full",
        embedding_model="Qwen/Qwen3-VL-Embedding-2B",
        vlm_model="Qwen/Qwen3-VL-2B-Instruct",
        reranker_model="Qwen/Qwen3-VL-Reranker-2B",
        dataset="tomaarsen/llamaindex-vdr-en-train-preprocessed",
        min_pixels=28 * 28,
        max_pixels=600 * 600,
        dtype="bfloat16",
        matryoshka_dims=(2048, 1536, 1024, 512, 256, 128, 64),
        matryoshka_weights=(1, 1, 1, 1, 1, 1, 1),
        train_rows=None,
        hard_negatives=1,
        batch_size=64,
        cached_loss=True,
        mini_batch_size=1,
        scale=20.0,
        learning_rate=2e-5,
        num_train_epochs=1.0,
        warmup=0.1,
        adapter_rank=None,
        adapter_learning_rate=2e-4,
        adapter_epochs=1.0,
        adapter_layers=TEXT_LAYERS,
        seed=12,
        reranker_batch_size=16,
        reranker_learning_rate=2e-5,
        reranker_head_learning_rate=3e-4,
        reranker_head_epochs=1,
        reranker_train_queries=2000,
        reranker_freeze_vision=False,
        reranker_negatives=4,
        reranker_margin=0.05,
        candidates=10,
        needs_gpu=True,
        needs_hub=True,
        tier="80gb",
    ),
}
# The architecture of `full` with random weights, on the bundled pages: what it takes, before any download.
PROFILES["full-dry"] = replace(
    PROFILES["full"],
    name="full-dry",
    embedding_model="random-qwen3-vl-2b",
    vlm_model="data/checkpoints/small-vlm",
    reranker_model=None,
    dataset=None,
    train_rows=512,
    needs_hub=False,
    cut_sizes=1,
)

# GPU memory -> what a profile with a tier changes there. "80gb" is the article's settings; those of
# LoRA are the ones published with ColPali's models (rank 32, 2e-4: https://github.com/illuin-tech/colpali).
TIERS: dict[str, dict] = {
    "16gb": {"dtype": "float16", "adapter_rank": 32},
    "24gb": {"dtype": "bfloat16", "adapter_rank": 32},
    "80gb": {},
}


def get_profile(name: str, tier: str | None = None, **overrides) -> Profile:
    """Return the profile `name`, with any of its fields replaced.

    An override of None means "what the profile says", so that a notebook can pass its parameters on as they
    are.

    Args:
        tier: GPU memory, one of TIERS, such as `hardware.tier()` finds. A profile that runs anywhere has
            none, and is left as it is.

    Raises:
        ValueError: no profile or tier of that name, or a value that cannot be meant (a batch size of 0).
        TypeError: an override that is no field of `Profile`.
    """
    if name not in PROFILES:
        raise ValueError(f"There is no profile {name!r}. Set PROFILE to one of: {', '.join(PROFILES)}.")
    known = [field.name for field in fields(Profile) if field.name != "name"]
    unknown = [key for key in overrides if key not in known]
    if unknown:
        raise TypeError(f"A profile has no setting {unknown[0]!r}. Settings: {', '.join(known)}.")
    changes = {key: value for key, value in overrides.items() if value is not None}
    for key in ("matryoshka_dims", "matryoshka_weights"):
        if key in changes:
            changes[key] = tuple(changes[key])  # papermill passes lists
    if "matryoshka_dims" in changes:
        changes.setdefault("matryoshka_weights", (1,) * len(changes["matryoshka_dims"]))
    if tier is not None and tier not in TIERS:
        raise ValueError(f"There is no tier {tier!r}. Set TIER to one of: {', '.join(TIERS)}.")
    profile = PROFILES[name]
    if tier and profile.tier:
        profile = replace(profile, tier=tier, **TIERS[tier])
    profile = replace(profile, **changes)
    if profile.adapter_rank:
        adapted = {
            "learning_rate": profile.adapter_learning_rate,
            "num_train_epochs": profile.adapter_epochs,
        }
        profile = replace(profile, **(adapted | changes))
    if profile.cut_sizes != PROFILES[name].cut_sizes:
        profile = _cut(profile, PROFILES[name].cut_sizes)
    for key in (
        "min_pixels",
        "max_pixels",
        "train_rows",
        "batch_size",
        "mini_batch_size",
        "scale",
        "learning_rate",
        "num_train_epochs",
        "adapter_rank",
        "reranker_batch_size",
        "reranker_learning_rate",
        "reranker_head_learning_rate",
        "reranker_head_epochs",
        "reranker_train_queries",
        "reranker_negatives",
        "reranker_margin",
        "candidates",
    ):
        value = getattr(profile, key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise ValueError(f"{key} must be a number, not {value!r}.")
        if value is not None and value <= 0:
            raise ValueError(f"{key} must be above 0, not {value}.")
    if len(profile.matryoshka_weights) != len(profile.matryoshka_dims):
        raise ValueError(
            f"matryoshka_weights must be {len(profile.matryoshka_dims)} numbers, one for each of "
            f"matryoshka_dims, not {len(profile.matryoshka_weights)}."
        )
    if profile.hard_negatives not in range(5):
        raise ValueError(f"hard_negatives must be 0 to 4, not {profile.hard_negatives!r}: a row has four.")
    if profile.batch_size == 1:
        raise ValueError(
            "batch_size must be at least 2: the pages of other rows are a query's wrong answers."
        )
    if profile.max_pixels < max(32 * 32, profile.min_pixels):
        raise ValueError(
            f"max_pixels must be at least {max(32 * 32, profile.min_pixels)}, not {profile.max_pixels}: one "
            "visual token covers 32 x 32 pixels, and min_pixels is the lower bound."
        )
    return profile


def _cut(profile: Profile, published: int | None) -> Profile:
    """Return a profile with random weights, cut to smaller sizes: they need no GPU."""
    from helpers.random_model import CUTS

    if published is None:
        raise ValueError(f"cut_sizes is for a profile with random weights, not for {profile.name!r}.")
    if profile.cut_sizes not in CUTS:
        raise ValueError(f"cut_sizes must be one of {', '.join(map(str, CUTS))}, not {profile.cut_sizes}.")
    dims = tuple(dim // profile.cut_sizes for dim in profile.matryoshka_dims)
    model = f"{profile.embedding_model}-cut-{profile.cut_sizes}"
    return replace(profile, embedding_model=model, matryoshka_dims=dims, needs_gpu=False)


def run_dir(profile: Profile | str) -> Path:
    """Return the folder that runs of this profile write to, `runs/<name>`, and create it if needed.

    The environment variable VDR_COURSE_RUNS moves `runs` elsewhere; the tests use it so as not to touch your
    results.
    """
    name = profile if isinstance(profile, str) else profile.name
    folder = Path(os.environ.get("VDR_COURSE_RUNS") or ROOT / "runs") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_profile(profile: Profile, allow_cpu: bool = False) -> None:
    """Stop now, with one clear message, rather than later, half-way through training.

    Checks, in order: a GPU where the profile needs one, the bundled checkpoint files, the hub for what is not
    on disk. Random weights are made here if they are not there yet.

    Args:
        allow_cpu: run a profile that needs a GPU without one; only sensible with MAX_STEPS set to a few
        steps.

    Raises:
        RuntimeError: no GPU; a hub id that is neither in the cache nor reachable, or that asks for a login.
        FileNotFoundError: a checkpoint folder or file that is missing, or a weight file that is cut short.
    """
    if profile.needs_gpu and (profile.cut_sizes or not allow_cpu):
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError(
                f"The profile {profile.name!r} needs a CUDA GPU and this machine has none that torch "
                f'{torch.__version__} can use. Set PROFILE = "small" to run on the CPU, or choose a GPU; '
                + (
                    "to try the code path anyway, set CUT_SIZES = 16: at full size, weights and optimizer "
                    "alone take 34 GB."
                    if profile.cut_sizes
                    else "to try the code path anyway, set ALLOW_CPU = True with MAX_STEPS = 2."
                )
            )
    for model in profile.models:
        if profile.cut_sizes and model == profile.embedding_model:
            from helpers import random_model

            random_model.build(Path(profile.path(model)), profile.cut_sizes)
        elif (ROOT / model).is_dir() or model.startswith("data/"):
            check_checkpoint(ROOT / model)
        elif profile.needs_hub:
            _check_hub(model, "model")
    if profile.dataset and profile.needs_hub:
        _check_hub(profile.dataset, "dataset")


def check_checkpoint(folder: Path) -> None:
    """Check that a checkpoint folder has its configuration and whole weight files; reads headers only.

    Raises:
        FileNotFoundError: what is missing or cut short, and how to get it back.
    """
    try:
        shown = folder.relative_to(ROOT)
    except ValueError:
        shown = folder
    fix = f"Restore it with `git checkout -- {shown}`, or clone the course again."
    if not folder.is_dir():
        raise FileNotFoundError(f"The checkpoint folder {shown} is missing. {fix}")
    for name in ("config.json", "tokenizer.json", "processor_config.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{shown}/{name} is missing. {fix}")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise FileNotFoundError(f"{shown} holds no *.safetensors file. {fix}")
    for file in weights:
        problem = safetensors_problem(file)
        if problem:
            raise FileNotFoundError(f"{shown}/{file.name} is not a whole weight file: {problem}. {fix}")


def weights_id(profile: Profile) -> str:
    """Ten hexadecimal digits that change when the weights of the profile's local embedding model do.

    A measurement that is kept says with it what it was measured on.
    """
    weights = Path(profile.path(profile.embedding_model)) / "model.safetensors"
    return hashlib.blake2b(weights.read_bytes(), digest_size=5).hexdigest()


def safetensors_problem(file: Path) -> str | None:
    """Say what is wrong with a safetensors file, or None.

    The format: eight bytes, the header's length N as a little-endian integer; N bytes of JSON with each
    tensor's `data_offsets`; then the tensors, back to back. So the header gives the size that the file must
    have.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            return "it is a Git LFS pointer, so the weights were never downloaded (run `git lfs pull`)"
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if len(start) < 8 or 8 + length > size:
            return f"it ends inside its header, after {size:,} bytes"
        try:
            header = json.loads(stream.read(length))
            ends = [tensor["data_offsets"][1] for key, tensor in header.items() if key != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return "its header cannot be read"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"it has {size:,} bytes, and its header says {expected:,}"


def _check_hub(repo_id: str, kind: str) -> None:
    """Raise RuntimeError unless `repo_id` is in the local cache or can be downloaded. `kind`: "model" or
    "dataset".
    """
    if _in_cache(repo_id, kind):
        return
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    offline = (
        f"Connect to the network and unset HF_HUB_OFFLINE, or download {repo_id} into the cache beforehand"
    )
    if constants.HF_HUB_OFFLINE:
        raise RuntimeError(
            f"The {kind} {repo_id} is not in the hub cache and HF_HUB_OFFLINE is set. {offline}; "
            'PROFILE = "small" needs no network.'
        )
    try:
        HfApi().repo_info(repo_id, repo_type=kind, timeout=20)
    except GatedRepoError as error:
        raise RuntimeError(
            f"The {kind} {repo_id} asks for a login. Accept its terms on its page on the hub, then run "
            "`hf auth login` or set HF_TOKEN."
        ) from error
    except RepositoryNotFoundError as error:
        raise RuntimeError(
            f"The hub has no {kind} {repo_id} that this machine may read. Check the name, or log in with "
            "`hf auth login`."
        ) from error
    except Exception as error:  # what the HTTP library raises for "no network" differs between its versions
        raise RuntimeError(
            f"The hub cannot be reached for the {kind} {repo_id} ({type(error).__name__}: {error}). "
            f'{offline}; PROFILE = "small" needs no network.'
        ) from error


def _in_cache(repo_id: str, kind: str) -> bool:
    """Whether the library would find `repo_id` without the network."""
    from huggingface_hub import try_to_load_from_cache

    if kind == "model":
        config = try_to_load_from_cache(repo_id, "config.json")
        return isinstance(config, str) and bool(list(Path(config).parent.glob("*.safetensors")))
    from datasets import config as datasets_config

    prepared = Path(datasets_config.HF_DATASETS_CACHE) / repo_id.replace("/", "___")
    return any(prepared.glob("*/*/*/dataset_info.json"))
