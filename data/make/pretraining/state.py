"""What a training goes on from and what it leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from . import places

if TYPE_CHECKING:
    from .reader import Reader

HEADS = "pretraining_heads.safetensors"
#: stage -> (share of the budget, batch size as a factor of --batch, peak learning rate)
#: Many small steps beat few large ones while there is a target for every patch.
#: ``speak`` and ``judge`` make models of their own from the one before: only with --stage.
STAGES = {
    "see": (0.30, 0.19, 2e-3),
    "match": (0.06, 0.65, 1e-3),
    "read": (0.64, 0.65, 8e-4),
    "speak": (0.0, 0.33, 1e-3),
    "judge": (0.0, 0.33, 7e-4),
}
#: Stages that make a model of their own -> its name. Each keeps its own state and log.
OWN = {"speak": "small-vlm", "judge": "small-reranker"}
#: What such a stage starts from with --fresh. Who has learned to spell a page judges it far sooner.
ORIGIN = {"speak": "read", "judge": "speak"}


def state_file(stage: str | None = None, shape: str | None = None) -> Path:
    """Where a training keeps its state; a stage that makes a model of its own has one of its own, and so has
    each shape that is compared with the shipped one.
    """
    return folder_of(shape) / (f"{stage}.pt" if stage in OWN else "state.pt")


def log_file(stage: str | None = None, shape: str | None = None) -> Path:
    """Where a training keeps its log, beside its state."""
    return folder_of(shape) / (f"{stage}_log.json" if stage in OWN else "training_log.json")


def folder_of(shape: str | None) -> Path:
    return places.WORK / "shapes" / shape if shape else places.WORK


def resume(reader: Reader, optimizer, args, quiet: bool) -> dict:
    """Loads what the training goes on from: its own state, else the shipped checkpoint, else nothing.

    Returns the minutes and pages that each stage has had, the log, and the settings of the runs so far.
    """
    import torch

    own = args.stage in OWN
    begins = own and args.fresh  # from what the stage before has come to
    file = state_file(ORIGIN[args.stage]) if begins else state_file(args.stage, args.shape)
    if file.is_file() and (begins or not args.fresh):
        try:
            saved = torch.load(file, map_location=args.device, weights_only=False)
            reader.model.load_state_dict(saved["model"])
            reader.load_heads(saved["heads"])
            reader.scale.data = saved["scale"].to(args.device)
            state = saved["state"]
        except Exception as error:
            raise SystemExit(
                f"{file} cannot be read ({error}): remove it to start again, or restore it"
            ) from error
        if begins:
            quiet or print(f"starts from {file}", flush=True)
            return state
        try:
            optimizer.load_state_dict(saved["optimizer"])
        except (KeyError, ValueError):  # none was kept, or a head has come since
            quiet or print("the optimizer starts anew", flush=True)
        had = {s: f"{minutes:.1f} min, {state['pages'][s]} pages" for s, minutes in state["spent"].items()}
        quiet or print("resumed:", had, flush=True)
        return state
    # The embedding model holds the weights that the first three stages left.
    name = OWN.get(ORIGIN[args.stage] if begins else args.stage, "small-embedding")
    if (places.OUT / name / "model.safetensors").is_file() and (own or not args.fresh) and not args.shape:
        quiet or print(f"goes on from data/checkpoints/{name}; the optimizer starts anew", flush=True)
        return load_shipped(reader, name)
    if own:
        before = ORIGIN[args.stage]
        raise SystemExit(f"--stage {args.stage} starts from what `{before}` left: train that first")
    return {
        "spent": dict.fromkeys(STAGES, 0.0),
        "pages": dict.fromkeys(STAGES, 0),
        "log": [],
        "settings": [],
    }


def save(reader: Reader, optimizer, state: dict, file: Path, log: Path) -> None:
    """Writes what a training goes on from, and its log; each replaces the one before as a whole."""
    import torch

    held = {
        "model": reader.model.state_dict(),
        "heads": reader.heads.state_dict(),
        "scale": reader.scale.data,
        "optimizer": optimizer.state_dict(),
        "state": state,
    }
    torch.save(held, file.with_suffix(".tmp"))
    os.replace(file.with_suffix(".tmp"), file)
    log.with_suffix(".tmp").write_text(json.dumps(state, indent=1))
    os.replace(log.with_suffix(".tmp"), log)


def take_eyes(reader: Reader, state: dict, device: str, quiet: bool) -> None:
    """Puts the vision tower and heads that the first stages have come to since into the model that speaks.

    Visual tokens keep their meaning while the first stages go on, so what reads them can go on too.
    """
    import torch

    try:
        saved = torch.load(state_file(), map_location=device, weights_only=False)
        own, prefix = saved["model"], "model.visual."
        reader.vision.load_state_dict({k.removeprefix(prefix): own[k] for k in own if k.startswith(prefix)})
        reader.load_heads(saved["heads"])
    except Exception as error:
        raise SystemExit(f"--eyes: {state_file()} cannot be read ({error}): train `see` or `read`") from error
    for figures in ("spent", "pages"):
        state[figures] |= {s: n for s, n in saved["state"][figures].items() if s not in OWN}
    quiet or print(f"the vision tower is that of {state_file()}", flush=True)


def load_shipped(reader: Reader, name: str = "small-embedding") -> dict:
    """Loads weights and heads of a shipped checkpoint; returns the state of its training."""
    from safetensors.torch import load_file

    def read(file: Path, how):
        try:
            return how(file)
        except Exception as error:
            raise SystemExit(f"{file} cannot be read ({error}): restore it with `git checkout`") from error

    folder = places.OUT / name
    weights = read(folder / "model.safetensors", lambda file: load_file(file, device=reader.device))
    weights = {key if key.startswith("model.") else f"model.{key}": w for key, w in weights.items()}
    missing = reader.model.load_state_dict(weights, strict=False).missing_keys
    assert set(missing) <= {"lm_head.weight"}, f"{name} lacks {missing[:3]}"  # tied to the embeddings
    # `judge` has no use for heads, so small-reranker has none of its own.
    heads_of = folder if (folder / HEADS).is_file() else places.OUT / "small-vlm"
    heads = read(heads_of / HEADS, lambda file: load_file(file, device=reader.device))
    reader.scale.data = heads.pop("scale")
    reader.load_heads(heads)
    log = read(folder / "training_log.json", lambda file: json.loads(file.read_text()))
    log.pop("reading", None)  # measured on these weights, not on those that come of them
    return log
