"""Profiles: the same notebooks at several scales. A profile is data, an instance of `Settings`; nothing else
in the course branches on its name.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

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
