"""Write README.md's generated parts from measurements and the notebooks themselves.

    python tools/readme.py                                   write them again
    python tools/readme.py --from runs/small/results.json    take a run's ledger over first
    python tools/readme.py --check                           only say whether README.md is in step

A part lies between `<!-- NAME:begin -->` and `<!-- NAME:end -->`; nothing in it is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers import ledger  # noqa: E402

README = ROOT / "README.md"
MEASURED = ROOT / "data" / "measurements" / "small.json"
SEEDS = ROOT / "data" / "measurements" / "seeds.json"
NOT_MEASURED = "_Not measured yet._"


def results_part(measured: Path = MEASURED, seeds: Path = SEEDS) -> str:
    """Return the results table of the committed ledger, with what it was measured on."""
    results = ledger.load(measured)
    if not results:
        return NOT_MEASURED
    spread = json.loads(seeds.read_text(encoding="utf-8")) if seeds.is_file() else None
    table = ledger.results_table(results, spread)
    some = results.get("04_train_embedding") or next(iter(results.values()))
    versions = ", ".join(f"{name} {version}" for name, version in some["versions"].items())
    task = results.get("05_evaluate", {})
    size = (
        f"{task['queries']} queries over {task['pages']:,} pages; "
        if {"queries", "pages"} <= set(task)
        else ""
    )
    return f"{table}\n\nProfile `small`, {size}{some['device']}, seed {some['seed']}; {versions}."


def map_part(measured: Path = MEASURED, notebooks: Path = ROOT / "notebooks") -> str:
    """Return the table of notebooks: each one's own title and promise, with its measured time and peak
    memory.
    """
    results = ledger.load(measured)
    lines = ["| notebook | what it does | time | peak memory |", "| --- | --- | ---: | ---: |"]
    for file in sorted(notebooks.glob("*.ipynb")):
        title, promise = opening(file)
        figures = results.get(file.stem, {})
        time = clock(figures["seconds"]) if figures else "–"
        memory = f"{figures['peak_memory_mb'] / 1000:.1f} GB" if figures else "–"
        lines.append(f"| [{file.stem}](notebooks/{file.name}) | **{title}** {promise} | {time} | {memory} |")
    if len(lines) == 2:
        return NOT_MEASURED
    total = sum(figures["seconds"] for name, figures in results.items() if name[:2].isdigit())
    if total:
        device = next(iter(results.values()))["device"]
        lines += [
            "",
            f"The numbered ones together, which `make course` runs: {clock(total)}, on {device}, and a few "
            "seconds more for each to start. Memory is that of the largest process.",
        ]
    return "\n".join(lines)


def speed_part(folder: Path = MEASURED.parent) -> str:
    """Return what the benchmarks measured: training and evaluating against the article's plain way."""
    names = ("training_speed", "step_time", "evaluation_speed")
    (training, step, evaluating), lines = (folder / f"{name}.json" for name in names), []
    if training.is_file():
        found = json.loads(training.read_text(encoding="utf-8"))
        article, course = found["article"], found["course"]
        lines += [
            f"Training, {found['rows']:,} rows, {found['device']}: {course['pages_per_second']:.1f} pages a "
            f"second against {article['pages_per_second']:.1f} with the article's plain settings, "
            f"**{found['ratio']:.1f} times** as many. The course's way has a peak memory of "
            f"{course['peak_memory_mb'] / 1000:.1f} GB against {article['peak_memory_mb'] / 1000:.1f} GB, "
            f"and an NDCG@10 on dev of {course['dev_ndcg@10']:.3f} against {article['dev_ndcg@10']:.3f}.",
        ]
        each = {name: found[name] for name in found if name.startswith("with ")}
        if each:
            lines += ["", "| the course's settings, but | pages/s | share of the course's | peak memory |"]
            lines += ["| --- | ---: | ---: | ---: |"]
            for name, figures in each.items():
                share = figures["pages_per_second"] / course["pages_per_second"]
                memory = figures["peak_memory_mb"] / 1000
                lines.append(
                    f"| {name} | {figures['pages_per_second']:.1f} | {share:.0%} | {memory:.1f} GB |"
                )
    if step.is_file():
        found = json.loads(step.read_text(encoding="utf-8"))
        total = sum(found["seconds"].values())
        parts = ", ".join(f"{part} {value / total:.0%}" for part, value in found["seconds"].items())
        kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in found["operations"].items())
        lines += [
            *([""] if lines else []),
            f"A training step of {found['batch']} pages takes {total:.1f} s: {parts}. Of its operations, "
            f"{kinds}.",
        ]
    if evaluating.is_file():
        found = json.loads(evaluating.read_text(encoding="utf-8"))
        seconds, sizes = found["seconds"], len(found["ndcg@10"]["course"])
        lines += [
            *([""] if lines else []),
            f"Evaluating {sizes} sizes of the embedding, {found['queries']} queries over {found['pages']:,} "
            f"pages: {seconds['course']:.1f} s against {seconds['article']:.1f} s with one evaluator a size, "
            f"**{found['ratio']:.0f} times** as fast; largest difference {found['largest_difference']:.0e}.",
        ]
    return "\n".join(lines) or NOT_MEASURED


def opening(file: Path) -> tuple[str, str]:
    """Return a notebook's title, without its number, and the sentence of promise below it."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    text = "".join("".join(cell["source"]) + "\n\n" for cell in cells[:3] if cell["cell_type"] == "markdown")
    title = re.search(r"^#\s+(.+)$", text, flags=re.MULTILINE)
    if not title:
        raise ValueError(f"{file.name} does not begin with a title (`# ...`).")
    promise = re.search(r"^(?![#|<!\[\s])(.+(?:\n(?!\n).+)*)", text[title.end() :], flags=re.MULTILINE)
    name = re.sub(r"^(?:Notebook\s+)?\d+\s*[.:·–—-]?\s*", "", title[1]).strip().rstrip(".")
    return name if name.endswith("?") else f"{name}.", re.sub(
        r"[*_]{1,2}([^*_]+)[*_]{1,2}", r"\1", " ".join(promise[1].split())
    ) if promise else ""


def clock(seconds: float) -> str:
    """Format seconds as a reader plans with them."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


PARTS = {"results": results_part, "speed": speed_part, "map": map_part}


def generated(text: str) -> str:
    """Return README's text with every part written again.

    Raises:
        ValueError: README has no such markers.
    """
    for name, part in PARTS.items():
        pattern = re.compile(rf"(<!-- {name}:begin -->\n).*?(\n<!-- {name}:end -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no part between <!-- {name}:begin --> and <!-- {name}:end -->.")
        body = part()
        text = pattern.sub(lambda match, body=body: match[1] + body + match[2], text)
    return text


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--from", dest="source", type=Path, help="a run's ledger")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if README.md is out of step"
    )
    options = parser.parse_args(arguments)
    if options.source:
        results = ledger.load(options.source)
        if not results:
            print(f"{options.source} holds no results: run `make course` first.", file=sys.stderr)
            return 2
        ledger.write_json(MEASURED, json.loads(options.source.read_text(encoding="utf-8")))
    text = README.read_text(encoding="utf-8")
    new = generated(text)
    if options.check:
        print("README.md is in step." if new == text else "README.md is out of step: run `make readme`.")
        return int(new != text)
    README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
