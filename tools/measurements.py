"""What was measured before and is kept in `data/measurements/`: one JSON object a file."""

from __future__ import annotations

import json
from collections.abc import Mapping

from helpers.course.profiles import ROOT

FOLDER = ROOT / "data" / "measurements"


def read(name: str) -> dict:
    """Return the measurements of `data/measurements/<name>.json`. Raises ValueError where it is no JSON."""
    try:
        return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"data/measurements/{name}.json cannot be read ({error}). Restore it with `git checkout -- "
            "data/measurements`."
        ) from error


def by_setting(runs: Mapping[str, dict]) -> dict[str, list[dict]]:
    """Runs of a sweep by what was set: those that differ in their seed alone ("two passes, seed 1") together.

    In the order of the runs.
    """
    found: dict[str, list[dict]] = {}
    for name, run in runs.items():
        found.setdefault(name.split(", seed ")[0], []).append(run)
    return found
