"""The start of every notebook: what has to be there, and what makes two runs the same."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import NamedTuple

from helpers import hardware, plots
from helpers.course import ledger
from helpers.course.profiles import PROFILES, ROOT, get_profile, run_dir
from helpers.settings import Settings

#: Parameters of notebooks that are no settings: True or False (or None, as it comes), or a number above 0.
_FLAGS = ("allow_cpu", "resume", "push_to_hub", "live", "swap_losses", "from_retriever", "image_tokens_only")
_NUMBERS = ("steps", "minutes", "distill_queries")
_TEXTS = ("data", "pdfs", "queries", "writer", "writer_model", "license", "train_candidates", "published",
          "qdrant_url")  # fmt: skip
#: Loggers that say in a red box, as if it were a fault, what a notebook says itself or nobody can change.
_TOLD = ("sentence_transformers.base.model", "sentence_transformers.base.losses.merged_forward",
         "transformers.image_utils")  # fmt: skip
_NEWS = ("Default prompt name", "This model was loaded", "Note: embed", "Image decoding", "Converting Sen")


class Begun(NamedTuple):
    """What a notebook goes on with."""

    profile: Settings
    section: ledger.Section  # of the ledger, its clock running
    output_dir: Path  # runs/<profile>/<notebook>


def begin(
    notebook: str,
    profile: str,
    *,
    tier: str | None = None,
    allow_cpu: bool = False,
    data: str | None = None,
    pdfs: str | None = None,
    **overrides,
) -> Begun:
    """Start a notebook: check the machine, set the seed, start its section of the ledger, make its folder.

    Args:
        notebook: its file name without the ending.
        profile: one of PROFILES.
        tier: GPU memory, one of TIERS; None: what this GPU has, where the profile asks.
        allow_cpu: run a profile that needs a GPU without one.
        data: a collection of the reader's own; None: the profile's data.
        pdfs: the folder of PDF files that the notebook makes one of. Both have a folder of runs of their own.
        overrides: settings in place of the profile's; None leaves one as it is. Other parameters of the
            notebook may stand among them, to be checked.

    Raises:
        RuntimeError: a package is missing, or was replaced while in use. ValueError: a parameter or a ledger
            that cannot be meant. Also as `get_profile` and `readiness.check_profile`.
    """
    from tools import readiness
    from tools.own_data import own_data

    readiness.check_packages()
    _check_parameters({"allow_cpu": allow_cpu, "data": data, "pdfs": pdfs} | overrides)
    overrides = {
        name: value for name, value in overrides.items() if name not in (*_FLAGS, *_NUMBERS, *_TEXTS)
    }
    if tier is None and profile in PROFILES and PROFILES[profile].tier:
        tier = hardware.tier()
    settings = own_data(get_profile(profile, tier, **overrides), data, pdfs)
    readiness.check_profile(settings, allow_cpu)
    if settings.tier:
        from tools import needs

        needs.check_room(notebook, settings)
    if settings.cut_sizes:
        from tools import random_model

        random_model.build(ROOT / settings.embedding_model, settings.cut_sizes)
    section = ledger.Section(notebook, settings)
    output_dir = run_dir(settings) / notebook
    output_dir.mkdir(exist_ok=True)

    from transformers import set_seed

    hardware.keep_freed_memory()  # faster on a CPU
    set_seed(settings.seed)
    # The library asks for pixel limits where a model is loaded, which is where notebooks set them.
    warnings.filterwarnings("ignore", message="Passing `min_pixels`")
    for name in _TOLD:
        logging.getLogger(name).addFilter(lambda record: not record.getMessage().startswith(_NEWS))
    plots.style()
    facts = {"profile": settings.name, "model": settings.embedding_model}
    if settings.collection:
        facts["data"] = settings.collection
    if settings.tier:
        facts["tier"] = settings.tier
    for name, value in (facts | hardware.describe()).items():
        print(f"{name}: {value}")
    return Begun(settings, section, output_dir)


def _check_parameters(given: dict) -> None:
    """Raise ValueError for a value that cannot be meant: the text "False", say, counts as true."""
    for name, value in given.items():
        if name in _FLAGS and value not in (True, False, None):
            raise ValueError(f"{name.upper()} must be True or False, not {value!r}.")
        if name in _NUMBERS and value is not None and not (isinstance(value, (int, float)) and value > 0):
            raise ValueError(f"{name.upper()} must be a number above 0, not {value!r}.")
        if name in _TEXTS and value is not None and not (isinstance(value, str) and value.strip()):
            raise ValueError(f"{name.upper()} must be a text or None, not {value!r}.")
