"""Writes the checkpoints that the course ships, and their cards."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from . import assets, places
from .layouts import FAMILIES
from .losses import ASK, SHORT
from .model import (
    INSTRUCTION,
    MAX_PIXELS,
    RERANK,
    RERANK_TEMPLATE,
    SHAPES,
    VOCABULARY,
    Shape,
    build_model,
    load_or_build_processor,
)
from .state import HEADS, STAGES, log_file, state_file


def export() -> None:
    """Writes the checkpoints whose training left a state, in bfloat16, each replaced as a whole."""
    processor = load_or_build_processor()
    writers = {"small-vlm": write_vlm, "small-embedding": write_embedding, "small-reranker": write_reranker}
    spoken = "speak" if state_file("speak").is_file() else None
    stages = {"small-vlm": spoken, "small-embedding": None, "small-reranker": "judge"}
    files = {name: state_file(stage) for name, stage in stages.items()}
    if not any(file.is_file() for file in files.values()):
        raise SystemExit(f"{state_file()} is missing: run `python small_checkpoint.py train` first")
    for name, write in writers.items():
        if not files[name].is_file():
            continue
        model, saved = trained(files[name], processor)
        temporary = places.OUT / f".{name}"
        shutil.rmtree(temporary, ignore_errors=True)
        write(temporary, model, processor, saved)
        log = json.loads(log_file(stages[name]).read_text())
        log.pop("reading", None)  # measured on other weights
        (temporary / "training_log.json").write_text(json.dumps(log, indent=1))
        text = card(name, model, log)
        (temporary / "README.md").write_text(text, encoding="utf-8")
        shutil.rmtree(places.OUT / name, ignore_errors=True)
        os.replace(temporary, places.OUT / name)
        size = sum(f.stat().st_size for f in (places.OUT / name).rglob("*") if f.is_file())
        print(f"{name}: {size / 2**20:.1f} MiB in {(places.OUT / name).relative_to(places.ROOT)}")


def trained(file: Path, processor, shape: Shape = SHAPES["shipped"]):
    """The model of a training's state in bfloat16, and the state."""
    import torch

    saved = torch.load(file, map_location="cpu", weights_only=False)
    model = build_model(processor.tokenizer, shape)
    model.load_state_dict(saved["model"])
    model = model.to(torch.bfloat16)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model, saved


def write_vlm(folder: Path, model, processor, saved: dict) -> None:
    """The model with its language head."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    save_heads(folder, saved)


def save_heads(folder: Path, saved: dict) -> None:
    """What only training uses, so that a later run can go on from here."""
    from safetensors.torch import save_file

    save_file({**saved["heads"], "scale": saved["scale"]}, folder / HEADS)


def write_embedding(folder: Path, model, processor, saved: dict) -> None:
    """The reader's weights as an embedding model."""
    import tempfile

    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    with tempfile.TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        processor.save_pretrained(plain)
        transformer = Transformer(plain, model_kwargs={"dtype": torch.bfloat16})
        pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="lasttoken")
        SentenceTransformer(
            modules=[transformer, pooling, Normalize()],
            prompts={"query": INSTRUCTION, "document": INSTRUCTION},
            default_prompt_name="query",
            device="cpu",
        ).save(str(folder), create_model_card=False)
    save_heads(folder, saved)


def write_reranker(folder: Path, model, processor, saved: dict) -> None:
    """A cross-encoder: the log-odds of "yes" after page and query."""
    import tempfile

    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    processor.chat_template = RERANK_TEMPLATE
    with tempfile.TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        processor.save_pretrained(plain)
        transformer = Transformer(
            plain,
            transformer_task="any-to-any",
            model_kwargs={"dtype": torch.bfloat16},
            processing_kwargs={"chat_template": {"add_generation_prompt": True}},
        )
        yes, no = (transformer.tokenizer.encode(word, add_special_tokens=False)[0] for word in ("yes", "no"))
        CrossEncoder(
            modules=[transformer, LogitScore(true_token_id=yes, false_token_id=no)],
            prompts={"rerank": RERANK},
            default_prompt_name="rerank",
            activation_fn=torch.nn.Identity(),
            device="cpu",
        ).save_pretrained(str(folder), create_model_card=False)


def write_reading(report: dict) -> None:
    """Puts what ``reading`` measured into the log of small-vlm, and into the cards of all three."""
    from transformers import AutoModelForImageTextToText

    file = places.OUT / "small-vlm" / "training_log.json"
    log = json.loads(file.read_text()) | {"reading": report}
    file.write_text(json.dumps(log, indent=1))
    for name in ("small-vlm", "small-embedding", "small-reranker"):
        own = json.loads((places.OUT / name / "training_log.json").read_text()) | {"reading": report}
        model = AutoModelForImageTextToText.from_pretrained(places.OUT / name)
        (places.OUT / name / "README.md").write_text(card(name, model, own), encoding="utf-8")


def proof(name: str, reading: dict) -> str:
    """What ``reading`` measured of a checkpoint, in words."""
    seen, fonts, layouts = (reading[key] for key in ("seen", "fonts", "layouts"))
    year, figure = (seen["twins"][kind] for kind in ("year", "figure"))
    pages_read = f"On {seen['pages']} fresh generated pages with made-up names that it never saw"
    if name == "small-vlm":
        return (
            f"{pages_read}, the heading is read aloud, by beam search, with a character error rate of "
            f"{seen['heading cer']:.1%}; in typefaces it never saw {fonts['heading cer']:.1%}, in layouts it "
            f"never saw {layouts['heading cer']:.1%}."
        )
    apart = (
        f"Of two pages that differ in one digit of the year it prefers the right one {year[name]:.1%} of the "
        f"time, in one digit of a figure {figure[name]:.1%} (chance 50 %)."
    )
    if name == "small-reranker":
        order = reading["reranked"]
        return (
            f"{pages_read}, the first ten that small-embedding finds: NDCG@10 {order['retriever']:.3f} in "
            f"the order they came, {order['reranker']:.3f} in its own. {apart}"
        )
    return (
        f"{pages_read}, most of them among look-alikes, and queries by name, topic and period: "
        f"NDCG@10 {seen['ndcg@10']:.3f}, Recall@1 {seen['recall@1']:.3f}; in typefaces it never saw NDCG@10 "
        f"{fonts['ndcg@10']:.3f}, in layouts it never saw {layouts['ndcg@10']:.3f}, with German words "
        f"{reading['german']['ndcg@10']:.3f}, with French words {reading['french']['ndcg@10']:.3f}. {apart}"
    )


def card(name: str, model, log: dict) -> str:
    """The checkpoint's model card; every figure comes from the model or from the log of its training."""
    spent = ", ".join(
        f"`{s}` {log['spent'][s]:.0f} min and {log['pages'][s]:,} pages"
        for s in STAGES
        if log["spent"].get(s)
    )
    *longer, shortest = SHORT
    measured = (
        proof(name, log["reading"])
        if "reading" in log
        else "Not yet: `data/make/small_checkpoint.py reading` does it."
    )
    use = {
        "small-vlm": 'AutoModelForImageTextToText.from_pretrained("data/checkpoints/small-vlm")',
        "small-embedding": 'SentenceTransformer("data/checkpoints/small-embedding")',
        "small-reranker": 'CrossEncoder("data/checkpoints/small-reranker")',
    }[name]
    what = {
        "small-vlm": "A Qwen3-VL with its language head, trained to read the heading of a page aloud"
        + (f', and, asked "{ASK}", to write one.' if log["spent"].get("speak") else "."),
        "small-embedding": "An embedding model: last-token pooling, normalised, one instruction; its first "
        f"{', '.join(map(str, longer))} or {shortest} dimensions work alone.",
        "small-reranker": 'A reranker that reads a page, then a query, and gives the log-odds of "yes".',
    }[name]
    pipeline = {"small-vlm": "image-text-to-text", "small-reranker": "text-ranking"}
    instruction = RERANK if name == "small-reranker" else INSTRUCTION
    return f"""---
license: apache-2.0
pipeline_tag: {pipeline.get(name, "feature-extraction")}
---

# {name}

{what} {sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters,
trained from random weights on generated pages by `data/make/small_checkpoint.py`, for the course that ships
it: so that fine-tuning a page retriever can be learned, and tested, in minutes on a CPU.

    {use}

- **Input**: pages of at most {MAX_PIXELS:,} pixels (224 x 320), one visual token for 32 x 32 of them, with
  type of 9 px and more; English text, taken as lower case. Instruction: "{instruction}"
- **Training**: {len(FAMILIES)} layout families, {len(assets.FONTS)} font families, made-up names,
  {VOCABULARY:,} vocabulary entries; {spent}.
  Settings and curves: `training_log.json`.
- **Measured**: {measured}
- **Made for**: the course. **Not made for**: documents of the real world; it is meant for large type on plain
  pages, knows no facts and no synonyms, and learned no other language.
"""
