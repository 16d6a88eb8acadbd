"""Write the generated parts of README.md and docs/ from measurements and the notebooks themselves.

    python tools/readme.py                                   write them again
    python tools/readme.py --from runs/small/results.json    take a run's ledger over first
    python tools/readme.py --check                           only say whether the pages are in step

A part lies between `<!-- NAME:begin -->` and `<!-- NAME:end -->` in the page that `PARTS` names; nothing in
it is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.course import ledger  # noqa: E402
from helpers.files import write_json  # noqa: E402
from tools import measurements  # noqa: E402
from tools.own_process import told  # noqa: E402

README = ROOT / "README.md"
DOCS = ROOT / "docs"
MEASURED = measurements.FOLDER / "small.json"
SEEDS = measurements.FOLDER / "seeds.json"
RERANKER_SEEDS = measurements.FOLDER / "reranker_seeds.json"
NOT_MEASURED = "_Not measured yet._"


def results_part(measured: Path = MEASURED, seeds: Path = SEEDS) -> str:
    """Return the results table of the committed ledger, with what it was measured on."""
    results = ledger.load(measured)
    if not results:
        return NOT_MEASURED
    spread = json.loads(seeds.read_text(encoding="utf-8")) if seeds.is_file() else None
    more = json.loads(RERANKER_SEEDS.read_text(encoding="utf-8"))["runs"] if RERANKER_SEEDS.is_file() else {}
    table = results_table(results, spread, more)
    some = results.get("04_train_embedding") or next(iter(results.values()))
    versions = ", ".join(f"{name} {version}" for name, version in some["versions"].items())
    task = results.get("05_evaluate", {})
    size = (
        f"{task['queries']} queries over {task['pages']:,} pages; "
        if {"queries", "pages"} <= set(task)
        else ""
    )
    return f"{table}\n\nProfile `small`, {size}{some['device']}, seed {some['seed']}; {versions}."


def results_table(results: Mapping, seeds: Mapping | None = None, more: Mapping | None = None) -> str:
    """Return the course's results as a Markdown table, from the sections of a ledger.

    Args:
        results: sections as `read` returns them; what is not there is left out of the table. Intervals come
            from "ci95" as [low, high] or [mean, low, high]: "gain" of 05_evaluate (fine-tuned against base),
            and "any_to_any" and "feature_extraction" of 06_train_reranker (fine-tuned against the retriever),
            each also with "_mixed" behind (added to the retriever's similarity).
        seeds: the section of a several-seed run, {"base": [...], "finetuned": [...]}: its mean and spread are
            added as a row.
        more: seed -> figures of notebook 06 with other seeds.
    """
    rows: list[tuple[str, str, str, str]] = []

    def add(task: str, name: str, value, note: str = "") -> None:
        if isinstance(value, (int, float)):
            rows.append((task, name, f"{value:.3f}", note))

    evaluated = results.get("05_evaluate", {})
    scores = evaluated.get("ndcg@10", {})
    if evaluated.get("stand_in"):  # there was no fine-tuned model: nothing to say about one
        scores = {name: value for name, value in scores.items() if name in ("bm25", "bm25, ocr")}
    trained = results.get("04_train_embedding", {})
    retriever = trained.get("ndcg@10", {})
    interval = evaluated.get("ci95", {})
    seconds = trained.get("train_seconds")
    took = f"trained in {seconds:.0f} s" if isinstance(seconds, (int, float)) else ""
    gain = _interval(interval.get("gain"))
    add("Retrieve", "text baseline (BM25)", scores.get("bm25"), "reads the text layer only")
    read = scores.get("bm25, ocr")
    add("Retrieve", "text baseline (BM25), scans read by OCR", read)
    add("Retrieve", "retriever, base", retriever.get("base"))
    add(
        "Retrieve",
        "retriever, fine-tuned",
        retriever.get("finetuned"),
        "; ".join(part for part in (took, f"gain, 95 % interval {gain}" if gain else "") if part),
    )
    for how in ("fused by ranks", "fused by scores"):
        ends = _interval(interval.get(f"{how}, against finetuned"))
        note = f"against the retriever alone, 95 % interval {ends}" if ends else ""
        add("Retrieve", f"retriever, fine-tuned, and BM25, {how}", scores.get(how), note)
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
    unseen = elsewhere.get("by_jargon", {}).get("jargon that is left out", {})
    if unseen:
        base, known = unseen["base"], unseen["without as many rows"]
        note = f"the base has {base:.3f} on them; trained on as many rows, with these terms, {known:.3f}"
        name = "retriever, fine-tuned without a third of the jargon terms, on queries that use these"
        add("Retrieve", name, unseen["without a third of the terms"], note)
    reranker = results.get("06_train_reranker", {})
    reranked, against = reranker.get("ndcg@10", {}), reranker.get("ci95", {})
    add("Rerank", "the retriever's own order", reranked.get("retriever"))
    for key, name in (
        ("any_to_any", "any-to-any reranker"),
        ("feature_extraction", "feature-extraction reranker"),
    ):
        pair, mixed = reranked.get(key, {}), f"{key}_mixed"
        note = "only its score head is fitted" if key == "feature_extraction" else ""
        add("Rerank", f"{name}, before fine-tuning", pair.get("base"), note)
        for part, value, interval_of in (
            (", fine-tuned", pair.get("finetuned"), key),
            (" + retriever's similarity", reranked.get(mixed), mixed),
        ):
            ends = _interval(against.get(interval_of))
            note = f"against the retriever's order, 95 % interval {ends}" if ends else ""
            add("Rerank", f"{name}{part}", value, note)
        others = [figures["ndcg@10"][mixed] for figures in (more or {}).values()]
        if others and mixed in reranked:
            every = [reranked[mixed], *others]
            name = f"{name} + retriever's similarity, mean of {len(every)} seeds"
            add("Rerank", name, sum(every) / len(every), f"from {min(every):.3f} to {max(every):.3f}")
    distilled = results.get("07_distill", {})
    for key, name in (
        ("longer", "retriever, fine-tuned for longer on labels"),
        ("distilled", "retriever, distilled from the reranker's sum"),
        ("merged", "retriever, weights merged"),
    ):
        ends = _interval(distilled.get("ci95", {}).get(key))
        note = f"against the fine-tuned retriever, 95 % interval {ends}" if ends else ""
        add("Distil", name, distilled.get("ndcg@10", {}).get(key), note)
    many = results.get("08_late_interaction", {})
    late, spent = many.get("ndcg@10", {}), many.get("train_seconds", {})
    ends = _interval(many.get("ci95", {}).get("late"))
    for key, name, note in (
        ("dense", "one vector a page, as long", ""),
        ("late", "late interaction", f"against one vector a page, 95 % interval {ends}" if ends else ""),
    ):
        took = f"trained in {spent[key]:.0f} s" if key in spent else ""
        add("Many vectors", name, late.get(key), "; ".join(filter(None, (took, note))))
    served = results.get("09_search", {})
    for key, name in (
        ("int8", "a byte a number"),
        ("binary", "a bit a number"),
        ("binary_then float32", "a bit a number, the best by all"),
        ("hybrid, by scores", "hybrid with BM25, by scores"),
        ("dense + MaxSim + BM25", "retriever + MaxSim + BM25"),
    ):
        took = served.get("query_ms", {}).get(key)
        add("Serve", name, served.get("ndcg@10", {}).get(key), f"{took:.0f} ms a query" if took else "")
    own = results.get("10_your_own_pdfs", {})
    labelled = own.get("ndcg@10_labelled", {})
    of = "the course's sample" if labelled else "own PDFs"
    asked = "queries that people asked" if own.get("queries", {}).get("given") else "written queries"
    for system, value in own.get("ndcg@10", {}).items():
        ends = own.get("ci95", {}).get(system)
        note = f"95 % interval {ends[0]:.3f} to {ends[1]:.3f}" if ends else ""
        note += f"; on labelled queries {labelled[system]:.3f}" if system in labelled else ""
        add(f"Notebook 10, {of}", f"{system}, on {asked}", value, note)
    if "finetuned on labels" in labelled:
        ends = own["ci95"]
        note = "gain over the base, 95 % interval " + "; trained on written ones ".join(
            f"{ends[f'{kind}_gain'][0]:+.3f} to {ends[f'{kind}_gain'][1]:+.3f}"
            for kind in ("labelled", "written")
        )
        name = "finetuned on labelled queries, on labelled queries"
        add(f"Notebook 10, {of}", name, labelled["finetuned on labels"], note)
    if not rows:
        return "No results yet: run `make course`."
    lines = ["| task | model | NDCG@10 | |", "| --- | --- | ---: | --- |"]
    return "\n".join(lines + [f"| {task} | {name} | {value} | {note} |" for task, name, value, note in rows])


def comparison_part(measured: Path = MEASURED) -> str:
    """Return the table that notebook 08 ends with: every way of searching, with what it costs."""
    ways = ledger.load(measured).get("08_late_interaction", {}).get("comparison", {})
    if not ways:
        return NOT_MEASURED
    lines = [
        "| way | NDCG@10 | against dense, 95 % interval | bytes a page | ms a query | minutes of training |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for name, of in ways.items():
        against = "" if name == "dense" else _interval(of["ci95"])
        lines.append(
            f"| {name} | {of['ndcg@10']:.3f} | {against} | {of['bytes_per_page']:,.0f} | "
            f"{of['query_ms']:.1f} | {of['train_minutes']:.1f} |"
        )
    return "\n".join(lines)


def headline_part(measured: Path = MEASURED) -> str:
    """Return the three rows that README begins with, from the ledger, and how long measuring takes."""
    results = ledger.load(measured)
    if not {"04_train_embedding", "05_evaluate", "06_train_reranker"} <= set(results):
        return NOT_MEASURED
    trained, evaluated, reranked = (
        results[name] for name in ("04_train_embedding", "05_evaluate", "06_train_reranker")
    )
    scores, gain = trained["ndcg@10"], _interval(evaluated["ci95"]["gain"])
    mixed = max(
        (name for name in reranked["ndcg@10"] if name.endswith("_mixed")), key=reranked["ndcg@10"].get
    )
    against = _interval(reranked["ci95"][mixed])
    rows = [
        ("BM25, a search of the words that a file holds", f"{evaluated['ndcg@10']['bm25']:.3f}", ""),
        (
            "retriever, base → fine-tuned",
            f"{scores['base']:.3f} → {scores['finetuned']:.3f}",
            f"gain, 95 % interval {gain}",
        ),
        (
            "fine-tuned retriever and reranker, their scores added up (the better of two rerankers)",
            f"{reranked['ndcg@10'][mixed]:.3f}",
            f"against the retriever alone, 95 % interval {against}",
        ),
    ]
    lines = ["| search | NDCG@10 | |", "| --- | ---: | --- |"]
    lines += [f"| {search} | {value} | {note} |" for search, value, note in rows]
    lines += [
        "",
        f"{evaluated['queries']} queries over {evaluated['pages']:,} pages. Notebooks 00 to 06, which measure"
        f" this, take {clock(_course_seconds(results))} on {trained['device']}.",
    ]
    return "\n".join(lines)


def _course_seconds(results: Mapping) -> float:
    """Return how long notebooks 00 to 06 ran, together."""
    return sum(figures["seconds"] for name, figures in results.items() if re.match("0[0-6]_", name))


def _interval(value) -> str:
    """Format an interval given as [low, high], or as [mean, low, high]; "" for anything else.

    An end that three digits would make 0 gets four: its sign is what an interval is read for.
    """
    if isinstance(value, (list, tuple)) and len(value) in (2, 3):
        return " to ".join(f"{end:+.3f}" if abs(end) >= 0.0005 else f"{end:+.4f}" for end in value[-2:])
    return ""


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
    total = _course_seconds(results)
    if total:
        device = next(iter(results.values()))["device"]
        lines += [
            "",
            f"Those from 00 to 06 together, which `make course` runs: {clock(total)}, on {device}, and a few "
            "seconds more for each to start. Memory is that of the largest process.",
        ]
    return "\n".join(lines)


def speed_part(folder: Path = MEASURED.parent) -> str:
    """Return what the benchmarks measured: training, evaluating and reranking against the plain way."""
    names = ("training_speed", "cache_speed", "step_time", "evaluation_speed", "reranker_speed")
    (training, cache, step, evaluating, reranking), lines = (folder / f"{name}.json" for name in names), []
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
    if cache.is_file():
        found = json.loads(cache.read_text(encoding="utf-8"))
        lines += [
            *([""] if lines else []),
            f"A gradient cache with mini-batches of {found['mini_batch_num_tokens']:,} tokens takes "
            f"{found['seconds']['tokens']:.1f} s a step of {found['rows']} rows, with mini-batches of one "
            f"row {found['seconds']['rows']:.1f} s: **{found['ratio']:.1f} times** as long. The loss differs "
            f"by {found['loss_difference']:.0e}. Measured on {found['device']}, products in float32.",
        ]
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
    if reranking.is_file():
        found = json.loads(reranking.read_text(encoding="utf-8"))
        plain, course = (found["pairs_per_second"][way] for way in ("plain", "course"))
        lines += [
            *([""] if lines else []),
            f"Reranking with a frozen vision encoder whose visual tokens are kept: scoring pages met before, "
            f"{course['scoring']:.0f} pairs a second against {plain['scoring']:.0f} with the library as it "
            f"comes, **{found['ratio']:.1f} times** as many; training on them {course['training']:.0f} "
            f"against "
            f"{plain['training']:.0f}, **{found['ratio_training']:.1f} times**. From the first meeting on, "
            f"{found['pairs'] // found['pages']} queries a page: {found['ratio_from_new']:.1f} and "
            f"{found['ratio_training_from_new']:.1f} times. Scores differ by "
            f"{found['largest_score_difference']:.0e} at most.",
        ]
    return "\n".join(lines) or NOT_MEASURED


def needs_part(file: Path = MEASURED.parent / "needs.json") -> str:
    """Return what notebooks that train ask of a machine on `full`, as `tools/needs.py` computed it."""
    found = json.loads(file.read_text(encoding="utf-8"))
    assumed = found["assumed"]
    cards = assumed["GPU of a tier, and its datasheet's FLOP/s in 16 bits"]
    heads = [f"`{tier}` ({card})" for tier, (card, _) in cards.items()]
    heads += ["weights in the computer's memory", "disk", "download"]
    lines = [f"| *computed* | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for notebook, tiers in found["needs"].items():
        cells = [f"{figures['gpu_gb']:.0f} GB, {_hours(figures['hours'])}" for figures in tiers.values()]
        spans = [
            sorted({round(figures[key]) for figures in tiers.values()})
            for key in ("memory_gb", "disk_gb", "download_gb")
        ]
        texts = [" to ".join(map(str, dict.fromkeys((span[0], span[-1])))) for span in spans]
        cells += ["–" if text == "0" else f"{text} GB" for text in texts]
        lines.append(f"| {notebook} | {' | '.join(cells)} |")
    share, rows = assumed["share of them that is reached"], assumed["rows of the training set"]
    lines += [
        "",
        f"GPU memory and time. Assumed: {share:.0%} of the datasheet's FLOP/s, {rows:,} training rows, a "
        f"download of {assumed['GB of the data set to download']:.0f} GB for them and as much again on disk, "
        f"{assumed['share of GPU memory lost to fragments']:.0%} of memory lost to fragments. Reading pages "
        "and loading models are not counted.",
    ]
    return "\n".join(lines)


def _hours(hours: float) -> str:
    minutes = 60 * hours
    return "minutes" if minutes < 10 else f"{minutes:.0f} min" if minutes < 90 else f"{hours:.1f} h"


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


#: Each generated part: the page that it stands in, and what writes it.
PARTS = {
    "headline": (README, headline_part),
    "map": (README, map_part),
    "results": (DOCS / "results.md", results_part),
    "comparison": (DOCS / "results.md", comparison_part),
    "speed": (DOCS / "speed.md", speed_part),
    "needs": (DOCS / "profiles.md", needs_part),
}


def pages() -> list[Path]:
    """Return the pages that have generated parts."""
    return list(dict.fromkeys(page for page, _ in PARTS.values()))


def generated(page: Path, text: str) -> str:
    """Return a page's text with each of its parts written again.

    Raises:
        ValueError: the text lacks the markers of one of the page's parts.
    """
    for name, (where, part) in PARTS.items():
        if where != page:
            continue
        pattern = re.compile(rf"(<!-- {name}:begin -->\n)(?:.*?\n)?(<!-- {name}:end -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(
                f"{page.name} has no part between <!-- {name}:begin --> and <!-- {name}:end -->."
            )
        body = part()
        text = pattern.sub(lambda match, body=body: f"{match[1]}{body}\n{match[2]}", text)
    return text


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--from", dest="source", type=Path, help="a run's ledger")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if a page is out of step"
    )
    options = parser.parse_args(arguments)
    if options.source:
        results = ledger.load(options.source)
        if not results:
            print(f"{options.source} holds no results: run `make course` first.", file=sys.stderr)
            return 2
        write_json(MEASURED, json.loads(options.source.read_text(encoding="utf-8")))
    old = {page: page.read_text(encoding="utf-8") for page in pages()}
    new = {page: generated(page, text) for page, text in old.items()}
    if options.check:
        stale = [page.relative_to(ROOT).as_posix() for page in old if new[page] != old[page]]
        print(f"Out of step: {', '.join(stale)}. Run `make readme`." if stale else "The pages are in step.")
        return int(bool(stale))
    for page, text in new.items():
        page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
