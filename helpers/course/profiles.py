"""Profiles: the same notebooks at several scales. A profile is data, an instance of `Settings`; nothing else
in the course branches on its name.
"""

from __future__ import annotations

import errno
import json
import os
import re
import zlib
from dataclasses import replace
from pathlib import Path

from helpers.checkpoints import safetensors_problem
from helpers.collection import Collection
from helpers.settings import MERGER_LAYERS, TEXT_LAYERS, VISION_LAYERS, Settings

ROOT = Path(__file__).resolve().parents[2]

PROFILES: dict[str, Settings] = {
    "small": Settings(
        name="small",
        embedding_model="data/checkpoints/small-embedding",
        vlm_model="data/checkpoints/small-vlm",
        reranker_model="data/checkpoints/small-reranker",
        min_pixels=32 * 32,
        max_pixels=224 * 320,  # at most 70 visual tokens a page: one token covers 32 x 32 pixels
        dtype="float32",
        matryoshka_dims=(256, 192, 128, 96, 64, 32, 16),
        matryoshka_weights=(1, 1, 1, 1, 1, 4, 1),
        hard_negatives=0,
        cached_loss=False,
        mini_batch_size=16,
        scale=10.0,
        learning_rate=7e-4,
        num_train_epochs=2.0,
        adapter_learning_rate=7e-3,
        adapter_epochs=4.0,
        adapter_layers=(*TEXT_LAYERS, *VISION_LAYERS, *MERGER_LAYERS, "embed_tokens"),
        reranker_batch_size=32,
        reranker_learning_rate=3e-4,
        reranker_train_queries=1500,  # of 4,600: enough for each reranker, added to the retriever, to beat it
        reranker_freeze_vision=True,
        reranker_negatives=2,
        reranker_margin=None,  # relevance is known: every other page is wrong
    ),
    "full": Settings(  # the article's settings, which are the defaults
        name="full",
        embedding_model="Qwen/Qwen3-VL-Embedding-2B",
        dataset="tomaarsen/llamaindex-vdr-en-train-preprocessed",
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


def get_profile(name: str, tier: str | None = None, **overrides) -> Settings:
    """Return the profile `name`, with any of its settings replaced as `Settings.changed` does it.

    The model of a profile with random weights lies in its folder of runs: `tools/random_model.py` makes it.

    Raises:
        ValueError: no profile or tier of that name, or a value that cannot be meant (a batch size of 0).
        TypeError: an override that is no setting.
    """
    if name not in PROFILES:
        raise ValueError(f"There is no profile {name!r}. Set PROFILE to one of: {', '.join(PROFILES)}.")
    published = PROFILES[name]
    if published.cut_sizes is None and overrides.get("cut_sizes") is not None:
        raise ValueError(f"cut_sizes is for a profile with random weights, not for {name!r}.")
    profile = published.changed(tier, **overrides)
    if profile.cut_sizes is None:
        return profile
    model, cut = profile.embedding_model, profile.cut_sizes
    if cut != published.cut_sizes:  # smaller sizes need no GPU
        dims = tuple(max(1, dim // cut) for dim in profile.matryoshka_dims)
        profile = replace(profile, matryoshka_dims=dims, needs_gpu=False)
        model = f"{model}-cut-{cut}"
    folder = _runs() / name / model
    model = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    return replace(profile, embedding_model=str(model))


def own_data(profile: Settings, data: str | None = None, pdfs: str | None = None) -> Settings:
    """The profile for a reader's documents: `data`, a collection, or `pdfs`, a folder that one is made of.
    Its runs go to `runs/<profile>-<folder>`. With neither it is the profile as it is.

    Raises:
        ValueError: both, or no such folder. FileNotFoundError: `data` is no collection.
    """
    if data is None and pdfs is None:
        return profile
    if data is not None and pdfs is not None:
        raise ValueError("Set DATA or PDFS, not both.")
    name, given = ("DATA", data) if pdfs is None else ("PDFS", pdfs)
    places = [Path(given).expanduser().absolute(), ROOT / given]
    place = next((place for place in places if place.is_dir()), None)
    if place is None:
        what = "that is a file: give its folder" if places[0].is_file() else "there is no such folder"
        raise ValueError(f"{name} is {given!r}, and {what}. Looked for {places[0]}.")
    if data is not None:
        Collection.load(place)
    place = place.resolve()
    own = re.sub(r"[^\w.-]+", "-", place.name).strip("-.") or "own"
    known = _runs() / "collections" / own / "collection.json"
    if pdfs is not None and known.is_file() and json.loads(known.read_text())["source"] != str(place):
        own += f"-{zlib.crc32(bytes(place)):08x}"  # another folder of that name was here before
    # which other pages answer a query is not known there, so a reranker trains with a margin
    changes = {"reranker_margin": 0.05 if profile.reranker_margin is None else profile.reranker_margin}
    changes |= {"collection": str(place)} if data is not None else {}
    return replace(profile, name=f"{profile.name}-{own}", dataset=None, **changes)


def run_dir(profile: Settings | str) -> Path:
    """Return the folder that runs of this profile write to, `runs/<name>`, and create it if needed.

    The environment variable VDR_COURSE_RUNS moves `runs` elsewhere; a relative path begins at the course's
    folder, wherever a notebook runs. The tests use it so as not to touch your results.

    Raises:
        OSError: the folder cannot be written to, with what to do.
    """
    folder = _runs() / (profile if isinstance(profile, str) else profile.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OSError(
            f"Cannot write into {folder} ({error.strerror}). Make it writable, or set VDR_COURSE_RUNS to a "
            "folder that is."
        ) from error
    return folder


def _runs() -> Path:
    return ROOT / Path(os.environ.get("VDR_COURSE_RUNS") or "runs").expanduser()


def check_profile(profile: Settings, allow_cpu: bool = False) -> None:
    """Stop now, with one clear message, rather than later, half-way through training.

    Checks, in order: a GPU where the profile needs one, the bundled checkpoint files, the hub for what is not
    on disk. Random weights are left to `tools/random_model.py`.

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
            why = "none is seen"
            try:
                torch.cuda.init()
            except (RuntimeError, AssertionError) as error:  # a driver that is too old, say
                why = str(error).split(". ")[0].rstrip(".")
            raise RuntimeError(
                f"The profile {profile.name!r} needs a CUDA GPU, and torch has none here ({why}). "
                'Set PROFILE = "small" to run on the CPU, or choose a GPU; to try the code path anyway, set '
                + ("CUT_SIZES = 16." if profile.cut_sizes else "ALLOW_CPU = True with MAX_STEPS = 2.")
            )
    for model in profile.models:
        if profile.cut_sizes and model == profile.embedding_model:
            continue
        if (ROOT / model).is_dir() or model.startswith("data/"):
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
    shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    fix = f"Restore it with `git checkout -- {shown}`, or clone the course again."
    if not folder.is_dir():
        raise FileNotFoundError(f"The checkpoint folder {shown} is missing. {fix}")
    for name in ("config.json", "tokenizer.json", "processor_config.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{shown}/{name} is missing. {fix}")
    for file in sorted(folder.glob("*.safetensors")) or [folder / "model.safetensors"]:
        if problem := safetensors_problem(file) if file.is_file() else "it is missing":
            raise FileNotFoundError(f"{shown}/{file.name} is not a whole weight file: {problem}. {fix}")


def _check_hub(repo_id: str, kind: str) -> None:
    """Raise RuntimeError unless a "model" or "dataset" is in the local cache or can be downloaded."""
    if in_cache(repo_id, kind):
        return
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    offline = f"Connect and unset HF_HUB_OFFLINE, or download {repo_id} into the cache beforehand; PROFILE = "
    offline += '"small" needs no network.'
    if constants.HF_HUB_OFFLINE:
        raise RuntimeError(
            f"The {kind} {repo_id} is not in the hub cache, and HF_HUB_OFFLINE is set. {offline}"
        )
    try:
        HfApi().repo_info(repo_id, repo_type=kind, timeout=20)
    except Exception as error:  # what the HTTP library raises for "no network" differs between its versions
        if isinstance(error, GatedRepoError):
            told = "asks for a login. Accept its terms on its page, then run `hf auth login` or set HF_TOKEN."
        elif isinstance(error, RepositoryNotFoundError):
            told = "is none that this machine may read. Check the name, or log in with `hf auth login`."
        else:
            told = f"cannot be reached ({type(error).__name__}: {error}). {offline}"
        raise RuntimeError(f"The {kind} {repo_id} on the hub {told}") from error


def in_cache(repo_id: str, kind: str) -> bool:
    """Whether the library would find `repo_id` without the network."""
    from huggingface_hub import try_to_load_from_cache

    if kind == "model":
        config = try_to_load_from_cache(repo_id, "config.json")
        return isinstance(config, str) and bool(list(Path(config).parent.glob("*.safetensors")))
    from datasets import config as datasets_config

    prepared = Path(datasets_config.HF_DATASETS_CACHE) / repo_id.replace("/", "___")
    return any(prepared.glob("*/*/*/dataset_info.json"))
