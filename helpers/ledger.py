"""The results ledger: `runs/<profile>/results.json`, one object with a section per notebook.

    section = ledger.start("04_train_embedding", profile)
    section.record("ndcg@10", base=0.61, finetuned=0.83)
    section.record("train_seconds", 212.0)
    section.finish()  # the only call that writes, and it writes whole or not at all

`with ledger.section("04_train_embedding", profile) as out:` does the same and finishes if nothing was raised.
Every section has `seconds`, `peak_memory_mb`, `device`, `versions` and `seed`; the rest are the notebook's
own figures.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

from helpers.hardware import device_name, section_peak_memory_mb
from helpers.profiles import Profile, run_dir

SCHEMA = 1  # raise it when the meaning of a figure changes: older files are then refused
VERSIONED = ("sentence-transformers", "transformers", "torch", "datasets")


class Section:
    """One notebook's figures, in memory until `finish`."""

    def __init__(self, notebook: str, profile: Profile) -> None:
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
            "peak_memory_mb": round(section_peak_memory_mb(), 1),
            "device": device_name(),
            "versions": versions(),
            "seed": self.profile.seed,
        } | self.values
        file = path(self.profile)
        ledger = _load_object(file) or {"schema": SCHEMA, "profile": self.profile.name}
        ledger[self.notebook] = written
        write_json(file, {key: ledger[key] for key in ("schema", "profile", *sorted(sections(ledger)))})
        return written

    def __enter__(self) -> Section:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.finish()


def start(notebook: str, profile: Profile) -> Section:
    """Start the clock of a notebook's section. `notebook`: its file name without the ending.

    Raises:
        ValueError: the profile's ledger is of an older form or cannot be read.
    """
    return Section(notebook, profile)


section = start


def path(profile: Profile | str) -> Path:
    """Return the ledger file of a profile."""
    return run_dir(profile) / "results.json"


def read(profile: Profile | str) -> dict:
    """Return the profile's sections, notebook stem -> figures; {} when nothing has been run yet.

    Raises:
        ValueError: the file is of an older form or cannot be read; the message says what to do.
    """
    return load(path(profile))


def load(file: Path) -> dict:
    """Return the sections of one ledger file; {} when it does not exist. Raises ValueError as `read` does."""
    return sections(_load_object(file))


def sections(ledger: Mapping) -> dict:
    """Return only the notebooks' sections of a whole ledger object."""
    return {key: value for key, value in ledger.items() if isinstance(value, dict)}


def versions() -> dict[str, str]:
    """Return the installed versions of the libraries that results depend on."""
    from importlib.metadata import version

    return {name: version(name) for name in VERSIONED}


def write_json(file: Path, value) -> None:
    """Write JSON so that a reader of `file` sees the old content or the new, never a part."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def results_table(results: Mapping, seeds: Mapping | None = None) -> str:
    """Return the course's results as a Markdown table, from the sections of a ledger.

    Args:
        results: sections as `read` returns them; what is not there is left out of the table. Intervals come
            from "ci95" as [low, high] or [mean, low, high]: "gain" of 05_evaluate (fine-tuned against base),
            and "any_to_any" and "feature_extraction" of 06_train_reranker (fine-tuned against the retriever),
            each also with "_mixed" behind (added to the retriever's similarity).
        seeds: the section of a several-seed run, {"base": [...], "finetuned": [...]}: its mean and spread are
            added as a row.
    """
    rows: list[tuple[str, str, str, str]] = []

    def add(task: str, name: str, value, note: str = "") -> None:
        if isinstance(value, (int, float)):
            rows.append((task, name, f"{value:.3f}", note))

    evaluated = results.get("05_evaluate", {})
    scores = evaluated.get("ndcg@10", {})
    trained = results.get("04_train_embedding", {})
    retriever = trained.get("ndcg@10", {})
    interval = evaluated.get("ci95", {})
    seconds = trained.get("train_seconds")
    took = f"trained in {seconds:.0f} s" if isinstance(seconds, (int, float)) else ""
    gain = _interval(interval.get("gain"))
    add("Retrieve", "text baseline (BM25)", scores.get("bm25"), "reads the text layer only")
    add("Retrieve", "retriever, base", retriever.get("base"))
    add(
        "Retrieve",
        "retriever, fine-tuned",
        retriever.get("finetuned"),
        "; ".join(part for part in (took, f"gain, 95 % interval {gain}" if gain else "") if part),
    )
    adapter = results.get("appendix_lora", {})
    share, passes = adapter.get("share_of_gain"), adapter.get("passes", 1)
    longer = f", in {passes:g} passes over the rows" if passes != 1 else ""
    of_all = adapter.get("passes_of_all_weights")
    longer += f" (all weights: {of_all:g})" if of_all else ""
    ends = _interval(adapter.get("ci95", {}).get("against"))
    longer += f"; against all weights, 95 % interval {ends}" if ends else ""
    add(
        "Retrieve",
        "retriever, LoRA adapter only",
        adapter.get("ndcg@10", {}).get("LoRA"),
        f"{share:.0%} of the gain{longer}" if isinstance(share, float) else "",
    )
    dims = scores.get("finetuned")
    if isinstance(dims, dict) and len(dims) > 1:
        sizes = sorted(dims, key=int, reverse=True)
        eighth = min(sizes, key=lambda size: abs(int(size) - int(sizes[0]) / 8))
        for size in dict.fromkeys((sizes[len(sizes) // 2], eighth, sizes[-1])):
            share = f"{dims[size] / dims[sizes[0]]:.1%} of the score of all" if dims[sizes[0]] else ""
            model = f"retriever, fine-tuned, first {size} of {sizes[0]} dimensions"
            add("Retrieve", model, dims[size], share)
    if seeds:
        tuned = list(seeds["finetuned"])
        mean = sum(tuned) / len(tuned)
        spread = math.sqrt(sum((value - mean) ** 2 for value in tuned) / max(1, len(tuned) - 1))
        note = f"standard deviation {spread:.3f}"
        if seeds.get("base"):
            base = sum(seeds["base"]) / len(seeds["base"])
            note += f"; {(mean - base) / max(1e-9, 1 - base):.0%} of the base's error, 1 - NDCG@10, is gone"
        add("Retrieve", f"retriever, fine-tuned, mean of {len(tuned)} seeds", mean, note)
    elsewhere = results.get("appendix_ablations", {})
    ends = _interval(elsewhere.get("ci95", {}).get("other"))
    for key, name in (("base", "base"), ("finetuned", "fine-tuned")):
        note = f"change, 95 % interval {ends}" if ends and key == "finetuned" else ""
        score = elsewhere.get("ndcg@10_other", {}).get(key)
        add("Retrieve", f"retriever, {name}, on pages of other kinds", score, note)
    reranker = results.get("06_train_reranker", {})
    reranked, against = reranker.get("ndcg@10", {}), reranker.get("ci95", {})
    add("Rerank", "the retriever's own order", reranked.get("retriever"))
    for key, name in (
        ("any_to_any", "any-to-any reranker"),
        ("feature_extraction", "feature-extraction reranker"),
    ):
        pair, mixed = reranked.get(key, {}), f"{key}_mixed"
        note = "its score head is still random" if key == "feature_extraction" else ""
        add("Rerank", f"{name}, before fine-tuning", pair.get("base"), note)
        for part, value, interval_of in (
            (", fine-tuned", pair.get("finetuned"), key),
            (" + retriever's similarity", reranked.get(mixed), mixed),
        ):
            ends = _interval(against.get(interval_of))
            note = f"against the retriever's order, 95 % interval {ends}" if ends else ""
            add("Rerank", f"{name}{part}", value, note)
    if not rows:
        return "No results yet: run `make course`."
    lines = ["| task | model | NDCG@10 | |", "| --- | --- | ---: | --- |"]
    return "\n".join(lines + [f"| {task} | {name} | {value} | {note} |" for task, name, value, note in rows])


def by_setting(runs: Mapping[str, dict]) -> dict[str, list[dict]]:
    """Runs of a sweep by what was set: those that differ in their seed alone ("two passes, seed 1") together.

    In the order of the runs.
    """
    found: dict[str, list[dict]] = {}
    for name, run in runs.items():
        found.setdefault(name.split(", seed ")[0], []).append(run)
    return found


def _interval(value) -> str:
    """Format an interval given as [low, high], or as [mean, low, high]; "" for anything else.

    An end that three digits would make 0 gets four: its sign is what an interval is read for.
    """
    if isinstance(value, (list, tuple)) and len(value) in (2, 3):
        return " to ".join(f"{end:+.3f}" if abs(end) >= 0.0005 else f"{end:+.4f}" for end in value[-2:])
    return ""


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
    if not isinstance(schema, int) or schema < SCHEMA:
        raise ValueError(
            f"The results ledger {file} is of an older form (schema {schema}; this course writes {SCHEMA}). "
            f"{fix}"
        )
    if schema > SCHEMA:
        raise ValueError(
            f"The results ledger {file} was written by a newer version of the course (schema {schema}; this "
            f"one reads {SCHEMA}). Update the course with `git pull`."
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
