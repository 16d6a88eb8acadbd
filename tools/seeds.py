"""How much the fine-tuned score depends on the seed: notebook 04's training, several times, into one file.

    python tools/seeds.py                     seeds 1 to 5 into data/measurements/seeds.json
    python tools/seeds.py --seeds 1 2 3       only these
    python tools/seeds.py --jobs 2            two at a time, each with its share of the cores
    python tools/seeds.py --rerankers 1 2     notebook 06 with these seeds, on the retriever of runs/small,
                                              into data/measurements/reranker_seeds.json
    python tools/seeds.py --distilled 1 2 3   notebook 07 with these seeds, on both models of runs/small, and
                                              the mean of its models' weights, into distill_seeds.json there

Settings, rows and loss are notebook 04's; nothing is scored or saved on the way. The file is written after
every seed, and a seed that it holds is not run again, so an interrupted run goes on where it was. Remove the
file after a change to the model, the data or the settings: a file with other ones is refused.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.course import ledger  # noqa: E402
from helpers.course.profiles import get_profile, run_dir  # noqa: E402
from helpers.files import write_json  # noqa: E402
from helpers.hardware import cores, device_name  # noqa: E402
from tools import measurements, teacher  # noqa: E402
from tools.fast_vision import fast_vision  # noqa: E402
from tools.fine_tune import check_held, fine_tune, held, score_queries, whole_training  # noqa: E402
from tools.merging import interpolate, weights_of  # noqa: E402
from tools.own_process import last_json, told  # noqa: E402
from tools.readiness import check_profile  # noqa: E402
from tools.run_course import prepare_environment, say  # noqa: E402

FILE = measurements.FOLDER / "seeds.json"
RERANKERS = measurements.FOLDER / "reranker_seeds.json"
DISTILLED = measurements.FOLDER / "distill_seeds.json"
FIGURES = ("base", "finetuned", "finetuned_eighth")  # the last with an eighth of the dimensions


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
    check_held(file, made_with, wanted)
    return measured


def add(measured: dict, seed: int, section: dict) -> dict:
    """Return `measured` with one more seed, ordered by seed. `section` has ndcg@10 (by FIGURES),
    train_seconds, device and versions.
    """
    scores = section["ndcg@10"]
    rows = list(zip(*(measured[name] for name in ("seeds", "train_seconds", *FIGURES))))
    rows.append((seed, section["train_seconds"], *(scores[name] for name in FIGURES)))
    columns = map(list, zip(*sorted(rows)))
    more = {"device": section["device"], "versions": section["versions"]}
    return measured | more | dict(zip(("seeds", "train_seconds", *FIGURES), columns))


def run(seed: int, threads: int | None) -> dict:
    """Train with one seed in a process of its own; return what `add` takes."""
    return last_json(__file__, "--run", seed, threads=threads)


def one(seed: int) -> dict:
    """Notebook 04's training with this seed, scored on the evaluation split."""
    profile = get_profile("small")
    figures = fine_tune(whole_training(profile, seed), split="eval")
    return {
        "ndcg@10": {
            "base": figures["eval_ndcg@10_before"],
            "finetuned": figures["eval_ndcg@10"],
            "finetuned_eighth": figures["eval_ndcg@10_eighth"],
        },
        "train_seconds": figures["seconds"],
        "device": device_name(),
        "versions": ledger.versions(),
    }


def notebook_with(number: str, seed: int, needed: dict[str, str], keep: Path | None = None) -> dict:
    """The section of a notebook that is run with this seed, on what others have saved in runs/small.

    Args:
        needed: folder of runs/small that has to be there -> the notebook that makes it.
        keep: where the notebook's own folder of runs goes to; None: it is removed.

    Raises:
        FileNotFoundError: a folder is not there. RuntimeError: the notebook stopped.
    """
    here = run_dir("small")
    for name, made_by in needed.items():
        if not (here / name).is_dir():
            what = "retriever" if made_by == "04" else "reranker"
            raise FileNotFoundError(
                f"No {what} in {here}: run notebook {made_by} first (`make course NOTEBOOKS={made_by}`)."
            )
    with tempfile.TemporaryDirectory() as runs:
        folder = Path(runs, "small")
        folder.mkdir()
        for name in (*dict.fromkeys(Path(name).parts[0] for name in needed), "dataset"):
            (folder / name).symlink_to(here / name)
        if (here / "results.json").is_file():
            shutil.copy(here / "results.json", folder)  # with the weight that notebook 06 has chosen
        command = [sys.executable, str(ROOT / "tools" / "run_course.py"), number, "-p", "SEED", str(seed)]
        shown = subprocess.run(
            command, env=os.environ | {"VDR_COURSE_RUNS": runs}, capture_output=True, text=True
        )
        if shown.returncode:
            raise RuntimeError(f"Notebook {number} stopped:\n{shown.stdout[-2000:]}{shown.stderr[-2000:]}")
        (stem,) = (name for name in ledger.load(folder / "results.json") if name.startswith(number))
        if keep is not None:
            shutil.rmtree(keep, ignore_errors=True)
            keep.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder / stem, keep, ignore=shutil.ignore_patterns("checkpoints"))
        return ledger.load(folder / "results.json")[stem]


def rerank(seed: int) -> dict:
    """The figures of notebook 06 with this seed, run on the retriever that notebook 04 has saved."""
    section = notebook_with("06", seed, {"04_train_embedding/final": "04"})
    return {name: section[name] for name in ("ndcg@10", "ci95", "train_seconds", "device", "versions")}


def distill(seed: int) -> dict:
    """The figures of notebook 07 with this seed, on what notebooks 04 and 06 have saved; its models stay."""
    needed = {"04_train_embedding/final": "04", "06_train_reranker/feature_extraction": "06"}
    section = notebook_with("07", seed, needed, keep=students() / str(seed))
    names = ("ndcg@10", "ci95", "chosen", "merged", "train_seconds", "device", "versions")
    return {name: section[name] for name in names}


def students() -> Path:
    """Where the distilled models of the seeds are kept."""
    return run_dir("small") / "distill_seeds"


def soup(seeds: list[int]) -> dict:
    """NDCG@10 on eval of the mean of the seeds' distilled models, and its paired interval against the
    fine-tuned retriever.
    """
    from sentence_transformers import SentenceTransformer

    from helpers import evaluation, hardware
    from helpers.course.data import load_collection

    profile, kept = get_profile("small"), [students() / str(seed) for seed in seeds]
    models = [
        SentenceTransformer(
            str(folder / "distilled"),
            model_kwargs={"dtype": "float32", "attn_implementation": hardware.training_attention("float32")},
            processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
            device=hardware.device(),
        )
        for folder in kept
    ]
    mean = interpolate([weights_of(model) for model in models], [1 / len(models)] * len(models))
    models[0].load_state_dict(mean)
    fast_vision(models[0])
    scores = score_queries(models[0], *load_collection(profile).task("eval"))[None]
    finetuned = json.loads((kept[0] / "by_query.json").read_text(encoding="utf-8"))["finetuned"]
    change = evaluation.paired_bootstrap(finetuned, scores)
    return {"seeds": seeds, "ndcg@10": evaluation.mean(scores), "ci95": [change.low, change.high]}


def add_seeds(
    seeds: list[int], file: Path, settings: dict, run: Callable[[int], dict], told_of: str = ""
) -> dict:
    """Run the seeds that a file lacks, and write it after each; return what it holds then.

    Args:
        run: seed -> figures, "ndcg@10" among them. told_of: how the names end whose NDCG@10 is said.

    Raises:
        ValueError: the file was made with other settings.
    """
    measured = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    check_held(file, measured.get("settings", settings), settings)
    measured = measured | {"settings": settings, "runs": measured.get("runs", {})}
    for seed in seeds:
        if str(seed) not in measured["runs"]:
            measured["runs"][str(seed)] = figures = run(seed)
            write_json(file, measured)
            scores = {name: value for name, value in figures["ndcg@10"].items() if name.endswith(told_of)}
            say(f"seed {seed}: {', '.join(f'{name} {value:.3f}' for name, value in scores.items())}")
    return measured


def distillations(seeds: list[int], file: Path = DISTILLED) -> None:
    """Add seeds of notebook 07 to a file, {"settings", "runs": {seed: figures}, "soup"}; those that it has
    are not run. The soup is of all its seeds whose models are kept, where they are two or more.
    """
    profile = get_profile("small")
    settings = held(profile) | {"teacher": teacher.read(teacher.FILE).made_with}
    measured = add_seeds(seeds, file, settings, distill)
    kept = [
        seed for seed in sorted(map(int, measured["runs"])) if (students() / str(seed) / "distilled").is_dir()
    ]
    if len(kept) > 1 and measured.get("soup", {}).get("seeds") != kept:
        mixed = soup(kept)
        write_json(file, measured | {"soup": mixed})
        say(f"soup of seeds {kept}: {mixed['ndcg@10']:.3f}")


def rerankers(seeds: list[int], file: Path = RERANKERS) -> None:
    """Add seeds of notebook 06 to a file, {"settings", "runs": {seed: figures}}; those it has are not run."""
    profile = get_profile("small")
    settings = held(profile) | {
        name: value for name, value in asdict(profile).items() if name.startswith("reranker")
    }
    settings = json.loads(json.dumps(settings))
    add_seeds(seeds, file, settings, rerank, told_of="_mixed")


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=1, help="seeds side by side")
    parser.add_argument("--file", type=Path, default=FILE)
    parser.add_argument("--rerankers", type=int, nargs="+", metavar="SEED", help="of notebook 06 instead")
    parser.add_argument("--distilled", type=int, nargs="+", metavar="SEED", help="of notebook 07 instead")
    parser.add_argument("--run", type=int, help=argparse.SUPPRESS)  # set in the processes started
    options = parser.parse_args(arguments)
    if options.run is not None:
        print(json.dumps(one(options.run)))
        return 0
    try:
        profile = get_profile("small")
        measured = load(options.file, held(profile))
        prepare_environment(profile)
        check_profile(profile)
        if options.rerankers:
            rerankers(options.rerankers)
            return 0
        if options.distilled:
            distillations(options.distilled)
            return 0
        threads = max(1, cores() // options.jobs) if options.jobs > 1 else None
        left = [seed for seed in options.seeds if seed not in measured["seeds"]]
        with ThreadPoolExecutor(options.jobs) as pool:
            started = {pool.submit(run, seed, threads): seed for seed in left}
            for done in as_completed(started):
                seed, section = started[done], done.result()
                measured = add(measured, seed, section)
                write_json(options.file, measured)
                scores, seconds = section["ndcg@10"], section["train_seconds"]
                say(
                    f"seed {seed}: NDCG@10 {scores['base']:.4f} -> {scores['finetuned']:.4f}, {seconds:.0f} s"
                )
    except (ValueError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
