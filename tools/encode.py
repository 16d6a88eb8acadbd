"""One scoring of a model with one thing changed, nothing trained: what sweeps over encodings repeat."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from helpers.course.profiles import ROOT, get_profile, run_dir
from tools.fine_tune import (
    WRONG_PROMPT,
    embed_pages,
    fine_tune,
    held,
    score_queries,
    whole_training,
)

PROMPTS = {"own": None, "none": "", "wrong": WRONG_PROMPT}  # None: the model's own


@dataclass(frozen=True)
class Encoding:
    """What may differ between two scorings."""

    share: float = 1.0  # of the way from the base model's weights (0) to the fine-tuned model's (1)
    corpus: str = "dev"  # a split: its queries over its pages
    max_pixels: int | None = None  # None: the profile's
    query_prompt: str = "own"  # one of PROMPTS
    pooling: str | None = None  # None: the checkpoint's, the last token
    similarity: str = "cosine"
    normalized: bool = True  # embeddings of length 1, as the checkpoint makes them


def trained_model() -> Path:
    """The model of notebook 04's training: from its folder, or trained now."""
    profile = get_profile("small")
    folder = run_dir(profile) / "sweeps" / "trained"
    stamp, now = folder / "made_with.json", held(profile)
    if not stamp.is_file() or json.loads(stamp.read_text(encoding="utf-8")) != now:
        shutil.rmtree(folder, ignore_errors=True)
        fine_tune(whole_training(profile), keep=folder)
        stamp.write_text(json.dumps(now), encoding="utf-8")
    return folder


def interpolate(model, base: dict, share: float) -> None:
    """Set the weights of `model` to base + share * (its own - base), in place.

    Args:
        base: name -> tensor, the other model's `state_dict()`.
    """
    import torch

    with torch.no_grad():
        for name, weight in model.state_dict().items():
            if weight.is_floating_point():
                weight.copy_(torch.lerp(base[name].to(weight), weight, share))


def encode(settings: Encoding) -> dict:
    """Score the base model, the fine-tuned one or one between them, as `settings` say.

    Returns NDCG@10, also by query, seconds, pages per second, and visual tokens a page.
    """
    from sentence_transformers import SentenceTransformer

    from helpers import hardware
    from helpers.course.data import load_corpus, load_split
    from helpers.dataset import retrieval_task
    from helpers.evaluation import mean

    profile = get_profile("small", max_pixels=settings.max_pixels)
    hardware.keep_freed_memory()

    def load(path):
        return SentenceTransformer(
            str(path),
            model_kwargs={"dtype": "float32"},
            processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
            device=hardware.device(),
        )

    base = ROOT / profile.embedding_model
    model = load(base if settings.share == 0 else trained_model())
    if 0 < settings.share < 1:
        interpolate(model, load(base).state_dict(), settings.share)
    if settings.pooling:
        model[1] = type(model[1])(model.get_embedding_dimension(), pooling_mode=settings.pooling)
    if not settings.normalized:
        del model[2]
    rows = load_split(profile, settings.corpus)
    task = retrieval_task(rows, load_corpus(profile, settings.corpus), profile.max_pixels)
    pages = task[1]
    embed_pages(model, dict(list(pages.items())[:32]))  # the first call is slower
    started = time.perf_counter()
    prompt = PROMPTS[settings.query_prompt]
    by_query = score_queries(model, *task, query_prompt=prompt, similarity=settings.similarity)[None]
    seconds = time.perf_counter() - started
    tokens = sum(page.width * page.height for page in pages.values()) / 32**2 / len(pages)
    return {
        "ndcg@10": mean(by_query),
        "by_query": [round(value, 4) for value in by_query.values()],
        "seconds": seconds,
        "pages_per_second": len(pages) / seconds,
        "tokens_per_page": tokens,
    }
