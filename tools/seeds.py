"""How much the fine-tuned score depends on the seed: notebook 04 with several seeds, into one small file.

    python tools/seeds.py                     seeds 1 to 5, small profile, into data/measurements/seeds.json
    python tools/seeds.py --seeds 1 2 3       only these

The file is written after every seed, and a seed that it holds is not run again, so an interrupted run goes on
where it was. Remove the file after a change to the model, the data or the settings: a file with other
settings is refused.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers import ledger  # noqa: E402
from helpers.profiles import check_profile, get_profile, run_dir, weights_id  # noqa: E402
from tools.run_course import NOTEBOOKS, NotebookFailed, prepare_environment, run_notebook, say  # noqa: E402

NOTEBOOK = "04_train_embedding"
FILE = ROOT / "data" / "measurements" / "seeds.json"
SETTINGS = (
    "name", "embedding_model", "dataset", "max_pixels", "matryoshka_dims", "train_rows", "batch_size",
    "cached_loss", "mini_batch_size", "scale", "learning_rate", "num_train_epochs", "warmup",
)  # fmt: skip
FIGURES = ("base", "finetuned")


def settings(profile) -> dict:
    """Return what was held equal over the seeds, in JSON's own types."""
    held = {name: getattr(profile, name) for name in SETTINGS}
    if Path(profile.path(profile.embedding_model)).is_dir():  # else the hub's name says which model
        held["checkpoint"] = weights_id(profile)
    return json.loads(json.dumps(held))


def load(file: Path, wanted: dict) -> dict:
    """Return the seeds measured so far, {"seeds": [...], "base": [...], "finetuned": [...], ...}.

    Raises:
        ValueError: the file was made with other settings, or is not whole.
    """
    if not file.is_file():
        return {"settings": wanted, "seeds": [], "train_seconds": [], **{name: [] for name in FIGURES}}
    fix = f"Move or delete {file} to measure again."
    try:
        measured = json.loads(file.read_text(encoding="utf-8"))
        lengths = {len(measured[name]) for name in ("seeds", "train_seconds", *FIGURES)}
        made_with = measured["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} does not hold the scores of seeds ({error!r}). {fix}") from error
    if len(lengths) > 1:
        raise ValueError(f"{file} has lists of different lengths. {fix}")
    changed = [name for name in wanted if made_with.get(name) != wanted[name]]
    if changed:
        was, now = made_with.get(changed[0]), wanted[changed[0]]
        raise ValueError(f"{file} was measured with {changed[0]} = {was}, and now it is {now}. {fix}")
    return measured


def add(measured: dict, seed: int, section: dict) -> dict:
    """Return `measured` with one more seed, from its run's section of the ledger; ordered by seed."""
    scores = section["ndcg@10"]
    rows = list(zip(*(measured[name] for name in ("seeds", "train_seconds", *FIGURES))))
    rows.append((seed, section["train_seconds"], *(scores[name] for name in FIGURES)))
    columns = map(list, zip(*sorted(rows)))
    more = {"device": section["device"], "versions": section["versions"]}
    return measured | more | dict(zip(("seeds", "train_seconds", *FIGURES), columns))


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--profile", default="small")
    parser.add_argument("--file", type=Path, default=FILE)
    options = parser.parse_args(arguments)
    # A folder of its own, so that the results of `make course` stay as they are.
    os.environ["VDR_COURSE_RUNS"] = str(Path(os.environ.get("VDR_COURSE_RUNS") or ROOT / "runs") / "seeds")
    try:
        profile = get_profile(options.profile)
        measured = load(options.file, settings(profile))
        prepare_environment(profile)
        check_profile(profile)
        for seed in options.seeds:
            if seed in measured["seeds"]:
                say(f"seed {seed}: measured already")
                continue
            output = run_dir(profile) / f"{NOTEBOOK}-seed{seed}.ipynb"
            parameters = {"PROFILE": profile.name, "SEED": seed, "RESUME": False}
            seconds = run_notebook(NOTEBOOKS / f"{NOTEBOOK}.ipynb", output, parameters)
            section = ledger.read(profile)[NOTEBOOK]
            if section["seed"] != seed:
                raise ValueError(f"The run of seed {seed} recorded seed {section['seed']}.")
            measured = add(measured, seed, section)
            ledger.write_json(options.file, measured)
            scores = section["ndcg@10"]
            say(f"seed {seed}: NDCG@10 {scores['base']:.4f} -> {scores['finetuned']:.4f}, {seconds:.0f} s")
    except (ValueError, RuntimeError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    except NotebookFailed as failure:
        say(str(failure))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
