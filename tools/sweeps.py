"""What each choice around the loss does to the same short training: one run a choice, scored on dev.

    python tools/sweeps.py                    every run that data/measurements/sweeps.json does not hold yet
    python tools/sweeps.py --only "scale 50"  this one, into that file
    python tools/sweeps.py --list             the runs

Every run differs from the first in one thing and sees the same 1,024 rows once. The first is repeated with
other seeds: a difference below their spread says nothing. The file is written after every run, so an
interrupted sweep goes on where it was; a file made with other settings is refused.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers import ledger  # noqa: E402
from helpers.hardware import device_name  # noqa: E402
from helpers.profiles import check_profile, get_profile  # noqa: E402
from tools.fine_tune import Settings, fine_tune  # noqa: E402
from tools.run_course import prepare_environment, say  # noqa: E402

FILE = ROOT / "data" / "measurements" / "sweeps.json"
FIRST = Settings()
#: name -> settings. Names are what the table in notebook 03 shows.
RUNS = {
    "as in notebook 04": FIRST,
    "the same, seed 1": replace(FIRST, seed=1),
    "the same, seed 2": replace(FIRST, seed=2),
    "the same, seed 3": replace(FIRST, seed=3),
    "no hard negative": replace(FIRST, negatives=0),
    "2 hard negatives": replace(FIRST, negatives=2),
    "4 hard negatives": replace(FIRST, negatives=4),
    "batches of 8": replace(FIRST, batch=8),
    "batches of 16": replace(FIRST, batch=16),
    "batches of 64": replace(FIRST, batch=64, mini_batch=16),
    "batches of 128": replace(FIRST, batch=128, mini_batch=16),
    "scale 5": replace(FIRST, scale=5.0),
    "scale 10": replace(FIRST, scale=10.0),
    "scale 50": replace(FIRST, scale=50.0),
    "scale 100": replace(FIRST, scale=100.0),
    "hardness on hard negatives": replace(FIRST, hardness_mode="hard_negatives", hardness_strength=5.0),
    "hardness in the batch": replace(FIRST, hardness_mode="in_batch_negatives", hardness_strength=9.0),
    "guided by the base model": replace(FIRST, guided=True),
    "no Matryoshka": replace(FIRST, matryoshka=False),
}


def load(file: Path) -> dict:
    """Return the runs measured so far, name -> settings and figures.

    Raises:
        ValueError: the file is not whole, or holds a run whose settings have changed since.
    """
    if not file.is_file():
        return {}
    fix = f"Move or delete {file} to measure again."
    try:
        runs = json.loads(file.read_text(encoding="utf-8"))["runs"]
        for name, run in runs.items():
            if name in RUNS and run["settings"] != asdict(RUNS[name]):
                raise ValueError(f"{file} holds {name!r} with other settings than now. {fix}")
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} does not hold a sweep ({error!r}). {fix}") from error
    return runs


def measure(name: str) -> dict:
    """Run one of RUNS in a process of its own, so that memory and random state start anew."""
    command = [sys.executable, __file__, "--run", name]
    shown = subprocess.run(command, capture_output=True, text=True)
    if shown.returncode:
        raise RuntimeError(f"{name!r} failed:\n{shown.stderr[-3000:]}")
    return json.loads(shown.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--only", nargs="+", default=list(RUNS), choices=list(RUNS), metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names of the runs")
    parser.add_argument("--run", choices=list(RUNS), help=argparse.SUPPRESS)  # set in the processes started
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(RUNS))
        return 0
    if options.run:
        print(json.dumps(fine_tune(RUNS[options.run])))
        return 0
    try:
        profile = get_profile("small")
        prepare_environment(profile)
        check_profile(profile)
        runs = load(FILE)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    for name in options.only:
        if name in runs:
            say(f"{name}: measured already")
            continue
        figures = measure(name)
        runs[name] = {"settings": asdict(RUNS[name]), **figures}
        ordered = {key: runs[key] for key in RUNS if key in runs}
        ledger.write_json(FILE, {"device": device_name(), "versions": ledger.versions(), "runs": ordered})
        say(
            f"{name}: dev NDCG@10 {figures['dev_ndcg@10_before']:.3f} -> {figures['dev_ndcg@10']:.3f}, "
            f"{figures['seconds']:.0f} s, {figures['peak_memory_mb']:,.0f} MB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
