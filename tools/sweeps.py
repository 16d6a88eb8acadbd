"""What each choice does to the same short training, or to one scoring of its model, on the dev split; and
what the result is made of, on the evaluation split.

    python tools/sweeps.py                          every run of every table that is not measured yet
    python tools/sweeps.py --table losses           the runs of one table
    python tools/sweeps.py --only "scale 50"        one run
    python tools/sweeps.py --list                   tables and runs

Each table is a file in data/measurements/, written after every run, so an interrupted sweep goes on where it
was. A file that was measured with other settings or another profile, or on another checkpoint, is refused.

losses     notebook 03: each run differs from the first in one thing and sees the same 1,024 rows once. The
           first is repeated with other seeds: a difference below their spread says nothing. So are the runs
           that a choice of the course rests on.
ablations  appendix_ablations: resolution, prompts, pooling, similarity; the base model and notebook 04's
           encoded anew, or the short training repeated.
forgetting appendix_ablations: weights between the base model's and the fine-tuned one's, scored on the
           course's pages and on pages of other kinds.
rows       notebook 02: the same training with its queries written and its negatives mined, as rows of a
           folder without labels would be.
sabotage   appendix_sabotage: the same short training, broken on purpose, and what the checks say to it.
transfer   no notebook yet: notebook 04's training with its weights in bfloat16, without rows of a third of
           the jargon, and without as many others; batches at equal steps and at equal pages. Nothing is
           chosen by it, so it is scored on the evaluation split, query by query.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.course import ledger  # noqa: E402
from helpers.course.data import OTHER  # noqa: E402
from helpers.course.profiles import get_profile  # noqa: E402
from helpers.files import write_json  # noqa: E402
from helpers.hardware import cores, device_name  # noqa: E402
from tools import measurements  # noqa: E402
from tools.encode import Encoding, encode, trained_model  # noqa: E402
from tools.fine_tune import (  # noqa: E402
    FAULTS,
    ShortTraining,
    check_held,
    fine_tune,
    held,
    whole_training,
)
from tools.own_process import last_json, told  # noqa: E402
from tools.readiness import check_profile  # noqa: E402
from tools.run_course import prepare_environment, say  # noqa: E402

FOLDER = measurements.FOLDER
FIRST = ShortTraining()
WHOLE = whole_training(get_profile("small"))
HALF = 224 * 160
REPORTED = ("transfer",)  # tables of what is reported, not chosen: scored on eval, query by query
Run = ShortTraining | Encoding
#: table -> name -> settings. Names are what the notebooks show.
TABLES: dict[str, dict[str, Run]] = {
    "losses": {
        "notebook 04, made short": FIRST,
        "two passes": replace(FIRST, epochs=2.0),
        "1 hard negative": replace(FIRST, negatives=1),
        "2 hard negatives": replace(FIRST, negatives=2),
        "batches of 8": replace(FIRST, batch=8),
        "batches of 64": replace(FIRST, batch=64),
        "scale 5": replace(FIRST, scale=5.0),
        "scale 20": replace(FIRST, scale=20.0),
        "scale 50": replace(FIRST, scale=50.0),
        "1 hard negative, weighted": replace(
            FIRST, negatives=1, hardness_mode="hard_negatives", hardness_strength=5.0
        ),
        "guided by the base model": replace(FIRST, guided=True),
        "no Matryoshka": replace(FIRST, matryoshka=False),
        "Matryoshka, equal weights": replace(FIRST, equal_weights=True),
    },
    "ablations": {
        "fine-tuned, as it is": Encoding(),
        "base, as it is": Encoding(share=0.0),
        "fine-tuned, half the pixels": Encoding(max_pixels=HALF),
        "fine-tuned, a quarter": Encoding(max_pixels=HALF // 2),
        "fine-tuned, twice the pixels": Encoding(max_pixels=HALF * 4),
        "base, half the pixels": Encoding(share=0.0, max_pixels=HALF),
        "base, no prompt for queries": Encoding(share=0.0, query_prompt="none"),
        "base, a wrong prompt": Encoding(share=0.0, query_prompt="wrong"),
        "fine-tuned, no prompt for queries": Encoding(query_prompt="none"),
        "fine-tuned, a wrong prompt": Encoding(query_prompt="wrong"),
        "fine-tuned, mean pooling": Encoding(pooling="mean"),
        "fine-tuned, dot product": Encoding(similarity="dot"),
        "fine-tuned, dot product, not normalized": Encoding(similarity="dot", normalized=False),
        "trained with half the pixels": replace(FIRST, max_pixels=HALF),
        "trained with mean pooling": replace(FIRST, pooling="mean"),
    },
    "forgetting": {
        f"{share:.0%}, {corpus}": Encoding(share=share, corpus=corpus)
        for corpus in ("dev", OTHER)
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    },
    "sabotage": {fault: replace(FIRST, fault=fault) for fault in FAULTS},
    "rows": {
        "labelled queries": FIRST,
        "labelled, 1 bundled negative": replace(FIRST, negatives=1),
        "labelled, 1 mined negative": replace(FIRST, negatives=1, miner="mined"),
        "labelled, 1 mined with a margin": replace(FIRST, negatives=1, miner="mined, margin"),
        "written from the text layer": replace(FIRST, writer="text"),
        "written by the small VLM": replace(FIRST, writer="vlm"),
    },
    "transfer": {
        "notebook 04": WHOLE,
        "weights in bfloat16": replace(WHOLE, dtype="bfloat16"),
        "without a third of the terms": replace(WHOLE, left_out="terms"),
        "without as many rows": replace(WHOLE, left_out="rows"),
        "batches of 32, two passes": replace(FIRST, epochs=2.0),
        "batches of 64, two passes": replace(FIRST, epochs=2.0, batch=64),
        "batches of 64, four passes": replace(FIRST, epochs=4.0, batch=64),
    },
}
#: Of `losses`, what the course's choices rest on -> how many seeds more than the first.
MORE_SEEDS = {
    "notebook 04, made short": 4,
    "two passes": 2,
    "1 hard negative": 2,
    "1 hard negative, weighted": 2,
    "scale 20": 2,
}
TABLES["losses"] |= {
    f"{name}, seed {seed}": replace(TABLES["losses"][name], seed=seed)
    for name, seeds in MORE_SEEDS.items()
    for seed in range(1, seeds + 1)
}


def file_of(table: str) -> Path:
    return FOLDER / f"{table}.json"


def load(table: str) -> dict:
    """Return the runs measured so far, name -> settings and figures.

    Raises:
        ValueError: the file is not whole, holds a run whose settings have changed since, or was measured on
        another checkpoint than the bundled one.
    """
    file = file_of(table)
    if not file.is_file():
        return {}
    fix = f"Move or delete {file} to measure again."
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        runs, made_with = found["runs"], found["held"]
        for name, run in runs.items():
            settings = TABLES[table].get(name)
            # What a run of before this setting was there had is its default.
            if settings is not None and asdict(type(settings)()) | run["settings"] != asdict(settings):
                raise ValueError(f"{file} holds {name!r} with other settings than now. {fix}")
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} does not hold a sweep ({error!r}). {fix}") from error
    check_held(file, made_with, held(get_profile("small")))
    return runs


def run(table: str, name: str, before: bool = True) -> dict:
    """Measure one run in this process; `before`: a training's score before it too."""
    settings = TABLES[table][name]
    if isinstance(settings, Encoding):
        return encode(settings)
    report = {"split": "eval", "by_query": True} if table in REPORTED else {}
    return fine_tune(settings, before=before, **report)


def measure(table: str, name: str, threads: int | None = None) -> dict:
    """Run one of TABLES in a process of its own, so that memory and random state start anew.

    Args:
        threads: that torch may use; None: as many as there are cores.
    """
    figures = last_json(__file__, "--table", table, "--run", name, threads=threads)
    return figures | ({"threads": threads} if threads else {})


def summary(figures: dict) -> str:
    """One line about a run."""
    score = next(figures[name] for name in ("dev_ndcg@10", "eval_ndcg@10", "ndcg@10") if name in figures)
    caught = f", caught by {', '.join(figures['caught']) or 'nothing'}" if "caught" in figures else ""
    return f"NDCG@10 {score:.3f}, {figures['seconds']:.0f} s{caught}"


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--table", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these runs of the tables")
    parser.add_argument("--list", action="store_true", help="print the names of the runs")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs side by side, each with its share of the cores"
    )
    parser.add_argument("--run", help=argparse.SUPPRESS)  # set in the processes started
    parser.add_argument("--after-only", action="store_true", help=argparse.SUPPRESS)  # not the score before
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{table:12}{name}" for table in options.table for name in TABLES[table]))
        return 0
    if options.run:
        print(json.dumps(run(options.table[0], options.run, before=not options.after_only)))
        return 0
    unknown = set(options.only or ()) - {name for table in options.table for name in TABLES[table]}
    if unknown:
        parser.error(f"there is no run {min(unknown)!r}; --list shows them")
    try:
        profile = get_profile("small")
        prepare_environment(profile)
        check_profile(profile)
        measured = {table: load(table) for table in options.table}
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    made_on = {"device": device_name(), "versions": ledger.versions(), "held": held(profile)}
    left = []
    for table, runs in measured.items():
        for name in TABLES[table]:
            if name in runs:
                say(f"{table}, {name}: measured already")
            elif not options.only or name in options.only:
                left.append((table, name))
    if any(isinstance(TABLES[table][name], Encoding) for table, name in left):
        trained_model()  # now, not in several runs at once
    threads = max(1, cores() // options.jobs) if options.jobs > 1 else None
    with ThreadPoolExecutor(options.jobs) as pool:
        for (table, name), figures in zip(left, pool.map(lambda one: measure(*one, threads), left)):
            measured[table][name] = {"settings": asdict(TABLES[table][name]), **figures}
            ordered = {key: measured[table][key] for key in TABLES[table] if key in measured[table]}
            write_json(file_of(table), made_on | {"runs": ordered})
            say(f"{table}, {name}: {summary(figures)}")
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
