"""Whether this machine has what a notebook needs: packages, a GPU, checkpoints, models on the hub.

Asked before anything begins, and answered in a sentence.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from helpers.checkpoints import safetensors_problem
from helpers.course.profiles import ROOT
from helpers.settings import Settings

_RELOADED = ("torch", "transformers", "datasets", "numpy")  # what an install may replace while it is in use
_RUNNERS = ("jupyterlab", "papermill")  # they run notebooks, and others do too


def check_packages() -> None:
    """Raise RuntimeError where a package of requirements.txt is missing, or was replaced while in use."""
    requirements = ROOT / "requirements.txt"
    text = requirements.read_text(encoding="utf-8") if requirements.is_file() else ""
    wanted = re.findall(r"^[A-Za-z][\w.-]*", text, flags=re.MULTILINE)
    missing = [name for name in wanted if name not in _RUNNERS and not _installed(name)]
    if missing:
        fix = f"run `{sys.executable} -m pip install -r {requirements}`, restart the kernel, run this again."
        raise RuntimeError(f"{', '.join(missing)} not installed: {fix}")
    for name in _RELOADED:
        loaded, installed = getattr(sys.modules.get(name), "__version__", None), _installed(name)
        if loaded and installed and loaded.split("+")[0] != installed.split("+")[0]:
            raise RuntimeError(f"{name} {loaded} is still loaded: restart the kernel, run this again.")


def _installed(name: str) -> str | None:
    """The version of a package that is installed, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


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
