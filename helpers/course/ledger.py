"""The results ledger: `runs/<profile>/results.json`, one object with a section per notebook.

    section = ledger.Section("04_train_embedding", profile)
    section.record("ndcg@10", base=0.61, finetuned=0.83)
    section.finish()  # the only call that writes: whole or not at all

Every section has `seconds`, `peak_memory_mb`, `device`, `versions` and `seed`, then figures of its own.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from helpers.course.profiles import run_dir
from helpers.files import write_json
from helpers.hardware import device_name, peak_memory_mb
from helpers.settings import Settings

_SCHEMA = 1  # raise it when the meaning of a figure changes: older files are then refused
_VERSIONED = ("sentence-transformers", "transformers", "torch", "datasets")


class Section:
    """One notebook's figures, in memory until `finish`; its clock begins here.

    Args:
        notebook: its file name without the ending.

    Raises:
        ValueError: the profile's ledger is of another form or cannot be read.
    """

    def __init__(self, notebook: str, profile: Settings) -> None:
        self.notebook = notebook
        self.profile = profile
        self.values: dict = {}
        self._started = time.perf_counter()
        _load_object(path(profile))  # an unreadable ledger stops the notebook here, not after the training

    def record(self, name: str, value=None, /, **parts) -> None:
        """Record one figure, or the named parts of one: `record("ndcg@10", base=0.61)`; parts add up over
        calls.

        Raises:
            ValueError: a figure that is not finite, or of a type that JSON has no form for.
        """
        if (value is None) == (not parts):
            raise ValueError(f"record({name!r}, ...) takes either one value or named parts.")
        if not parts:
            self.values[name] = _plain(value, name)
            return
        known = self.values.get(name)
        self.values[name] = (known if isinstance(known, dict) else {}) | _plain(parts, name)

    def update(self, figures: Mapping) -> None:
        """Record several figures at once; each replaces one of the same name."""
        self.values.update(_plain(dict(figures), self.notebook))

    def finish(self) -> dict:
        """Write the section into the profile's ledger and return it. Other notebooks' sections are kept."""
        written = {
            "seconds": round(time.perf_counter() - self._started, 1),
            "peak_memory_mb": round(peak_memory_mb(started=True), 1),
            "device": device_name(),
            "versions": versions(),
            "seed": self.profile.seed,
        } | self.values
        file = path(self.profile)
        with FileLock(file.with_name(f".{file.name}.lock")):  # another notebook may finish at this moment
            ledger = _load_object(file) or {"schema": _SCHEMA, "profile": self.profile.name}
            ledger[self.notebook] = written
            write_json(file, {key: ledger[key] for key in ("schema", "profile", *sorted(_sections(ledger)))})
        return written


def path(profile: Settings | str) -> Path:
    """Return the ledger file of a profile."""
    return run_dir(profile) / "results.json"


def read(profile: Settings | str) -> dict:
    """Return the profile's sections, notebook stem -> figures; {} when nothing has been run yet.

    Raises:
        ValueError: the file is of an older form or cannot be read; the message says what to do.
    """
    return load(path(profile))


def load(file: Path) -> dict:
    """Return the sections of one ledger file; {} when it does not exist. Raises ValueError as `read` does."""
    return _sections(_load_object(file))


def _sections(ledger: Mapping) -> dict:
    """Return only the notebooks' sections of a whole ledger object."""
    return {key: value for key, value in ledger.items() if isinstance(value, dict)}


def versions() -> dict[str, str]:
    """Return the installed versions of the libraries that results depend on."""
    from importlib.metadata import version

    return {name: version(name) for name in _VERSIONED}


def _load_object(file: Path) -> dict:
    """Return a whole ledger object, {} when there is no file."""
    if not file.is_file():
        return {}
    fix = f"Move or delete it (`rm {file}`) and run the notebooks again: `make course`."
    try:
        ledger = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"The results ledger {file} is not readable JSON ({error}). {fix}") from error
    schema = ledger.get("schema") if isinstance(ledger, dict) else None
    if schema != _SCHEMA:
        raise ValueError(
            f"The results ledger {file} is of another form (schema {schema}; this course writes {_SCHEMA}). "
            f"If it is newer, update the course with `git pull`; else: {fix}"
        )
    return ledger


def _plain(value, name: str):
    """Return `value` in JSON's own types (numpy and torch scalars become numbers), or raise ValueError
    naming it.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, name) for item in value]
    if hasattr(value, "tolist"):  # numpy arrays and scalars, torch tensors
        return _plain(value.tolist(), name)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"The ledger takes finite figures only; {name} is {value}.")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ValueError(f"The ledger cannot hold {name}: a {type(value).__name__} has no form in JSON.")
