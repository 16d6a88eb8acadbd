"""Checkpoints of a training run: which of them is whole, and whether this run may go on from it.

A run writes its settings into its checkpoint folder before the first step. One that finds an interrupted run
of equal settings there goes on from the last whole checkpoint; of others, it stops, so nothing is mixed.

    start_from = checkpoints.begin(folder, settings, weights_mb=15)
    trainer.train(resume_from_checkpoint=start_from)
    checkpoints.finish(folder)
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from helpers.files import write_json

_RUN = "run.json"
_COPIES = 6  # weights and AdamW's two means, in each of the two checkpoints that exist while one is written


def begin(folder: Path, settings: Mapping, weights_mb: float = 0.0, resume: bool | None = None) -> str | None:
    """Make the checkpoint folder ready; return the checkpoint to go on from, or None to begin at step 0.

    Args:
        settings: what must be equal for two runs to be the same one; values that JSON has a form for.
        weights_mb: size of the trained weights in MB (10^6 bytes), to see that checkpoints will fit.
        resume: None goes on where an interrupted run of the same settings stopped, if there is one; True
            insists on one; False removes what is there and begins anew.

    Raises:
        OSError: the folder cannot be written to, or its disk has too little room.
        ValueError: an interrupted run of other settings is there, or none where `resume` is True.
    """
    settings = json.loads(json.dumps(dict(settings)))
    _check_room(folder, weights_mb)
    found = sorted(_checkpoints(folder), reverse=True)
    started = _read(folder / _RUN)
    if resume is False or started.get("finished"):
        for _, checkpoint in found:
            shutil.rmtree(checkpoint)
        found = []
    elif found:
        _check_settings(folder, started, settings)
    whole = None
    for _, checkpoint in found:
        wrong = _problem(checkpoint)
        if wrong is None:
            whole = str(checkpoint)
            break
        print(f"{checkpoint.name} is not whole ({wrong}): using the one before it", flush=True)
        shutil.rmtree(checkpoint)
    if resume and whole is None:
        raise ValueError(
            f"There is no checkpoint of an interrupted run in {folder}. Set RESUME = None to begin at step 0."
        )
    write_json(folder / _RUN, {"settings": settings, "finished": False})
    return whole


def finish(folder: Path) -> None:
    """Note that the run came to its end: the next one begins at step 0."""
    write_json(folder / _RUN, _read(folder / _RUN) | {"finished": True})


def adapters_resume(trainer) -> None:
    """Let a training of LoRA matrices go on from a checkpoint, where the library looks for a whole model
    (sentence-transformers issue 3701).
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    trainer._load_from_checkpoint = lambda folder: set_peft_model_state_dict(
        trainer.model[0].model, load_file(Path(folder) / "adapter_model.safetensors")
    )


def _problem(checkpoint: Path) -> str | None:
    """Say why training cannot go on from this checkpoint folder, or None.

    The trainer writes, in this order: weights, optimizer, scheduler, random state, trainer_state.json. A
    process killed on the way leaves some of them missing or cut short.
    """
    weights = sorted(checkpoint.glob("*.safetensors"))
    if not weights:
        return "it has no weights"
    for file in weights:
        wrong = safetensors_problem(file)
        if wrong:
            return f"{file.name}: {wrong}"
    random_states = [file.name for file in checkpoint.glob("rng_state*.pth")] or ["rng_state.pth"]
    for name in ("optimizer.pt", "scheduler.pt", *random_states):
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
        if not zipfile.is_zipfile(checkpoint / name):  # torch.save's format; the index is at the end
            return f"{name} is cut short"
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "trainer_state.json is missing or cut short"
    return None if state.get("global_step") == _step(checkpoint) else "trainer_state.json is of another step"


def safetensors_problem(file: Path) -> str | None:
    """Say what is wrong with a safetensors file, or None. Reads its header only, which says how long the file
    must be.
    """
    from safetensors import SafetensorError, safe_open

    with file.open("rb") as stream:
        if stream.read(8) == b"version ":
            return "it is a Git LFS pointer, so the weights were never downloaded (run `git lfs pull`)"
    try:
        with safe_open(file, framework="np"):
            return None
    except (SafetensorError, OSError, ValueError) as error:
        return f"{error}, of {file.stat().st_size:,} bytes"


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Step and folder of each `checkpoint-N`."""
    return [(_step(path), path) for path in folder.glob("checkpoint-*") if path.is_dir() and _step(path)]


def _step(checkpoint: Path) -> int | None:
    match = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
    return int(match[1]) if match else None


def _check_room(folder: Path, weights_mb: float) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"Cannot write into the output folder {folder} ({error.strerror}). Make it writable, or "
            "choose another folder."
        ) from error
    needed, free = _COPIES * weights_mb, shutil.disk_usage(folder).free / 1e6
    if free < needed:
        raise OSError(
            f"Checkpoints in {folder} need about {needed:,.0f} MB and its disk has {free:,.0f} MB free. Free "
            "some, or choose a folder on another disk."
        )


def _check_settings(folder: Path, started: Mapping, settings: Mapping) -> None:
    fix = "Set RESUME = False to remove its checkpoints and begin anew, or move the folder away to keep them."
    if "settings" not in started:
        raise ValueError(f"{folder} holds checkpoints of a run that this notebook did not start. {fix}")
    was = started["settings"]
    changed = [name for name in {**settings, **was} if settings.get(name) != was.get(name)]
    if changed:
        name = changed[0]
        raise ValueError(
            f"{folder} holds checkpoints of an interrupted run with {name} = {was.get(name)!r}, and this run "
            f"has {settings.get(name)!r}. {fix}"
        )


def _read(file: Path) -> dict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
