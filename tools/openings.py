"""Write what is generated at the top of each notebook: the place on the course's path, and the measured time.

    python tools/openings.py            write them again
    python tools/openings.py --check    only say whether the notebooks are in step

The place is the line below the title's promise, the time the line of the card that begins with `**Time**`. No
other cell is touched.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.course import ledger  # noqa: E402
from helpers.files import replacing  # noqa: E402
from tools.own_process import told  # noqa: E402
from tools.readme import MEASURED, _hours, clock  # noqa: E402

NOTEBOOKS = ROOT / "notebooks"
NEEDS = MEASURED.parent / "needs.json"

#: The course's path: each notebook, and what a reader passes there.
PATH = {
    "00_start_here": "00 first search",
    "01_load_models": "01 models",
    "02_build_dataset": "02 data set",
    "03_choose_loss": "03 loss",
    "04_train_embedding": "04 training",
    "05_evaluate": "05 evaluation",
    "06_train_reranker": "06 reranker",
    "07_distill": "07 distilled",
    "08_late_interaction": "08 MaxSim",
    "09_search": "09 search",
    "10_your_own_pdfs": "10 your own PDFs",
}
#: Each appendix, and the notebook that it branches off from.
BRANCHES = {
    "appendix_build_models": "01_load_models",
    "appendix_small_checkpoint": "01_load_models",
    "appendix_lora": "04_train_embedding",
    "appendix_sabotage": "04_train_embedding",
    "appendix_scale_out": "04_train_embedding",
    "appendix_ablations": "05_evaluate",
}
BEGIN = "pages → "
TIME = re.compile(r"^\*\*Time\*\*: .*$", flags=re.MULTILINE)


def place(stem: str) -> str:
    """Return the path with a notebook's place in it: bold its own, the others links."""
    stations = [
        f"**{name}**" if one == stem else f"[{name}]({one}.ipynb)"
        + (" (**this appendix** branches off here)" if BRANCHES.get(stem) == one else "")
        for one, name in PATH.items()
    ]  # fmt: skip
    return BEGIN + " → ".join(stations)


def time(stem: str, measured: Path = MEASURED, needs: Path = NEEDS) -> str:
    """Return a card's line of a notebook's time: on `small` as measured, on `full` where it was computed."""
    figures = ledger.load(measured).get(stem)
    if not figures:
        return "**Time**: not measured yet."
    device = re.sub(r"^cpu \((\d+) cores\)$", r"\1 CPU cores", figures["device"]).replace("2 CPU", "two CPU")
    line = f"**Time**: {clock(figures['seconds'])} on {device}"
    computed = json.loads(needs.read_text(encoding="utf-8"))["needs"].get(stem)
    if computed:
        hours = [tier["hours"] for tier in computed.values()]
        span = " to ".join(dict.fromkeys((_hours(min(hours)), _hours(max(hours)))))
        line += f"; on `full` [{span}, computed](../docs/profiles.md#what-a-gpu-needs)"
    return f"{line}."


def opened(notebook: dict, stem: str) -> dict:
    """Return a notebook with its place and its time written again.

    Raises:
        ValueError: it has no promise below its title, or not one line of time in its first cells.
    """
    cells = [dict(cell) for cell in notebook["cells"]]
    blocks = "".join(cells[0]["source"]).split("\n\n")
    if len(blocks) < 2 or not blocks[0].startswith("# "):
        raise ValueError(f"{stem} does not begin with a title and a promise below it.")
    blocks[2:] = [place(stem), *(block for block in blocks[2:] if not block.startswith(BEGIN))]
    cells[0]["source"] = "\n\n".join(blocks).splitlines(keepends=True)
    found = 0
    for cell in cells[:2]:
        text, times = TIME.subn(lambda _: time(stem), "".join(cell["source"]))
        cell["source"], found = text.splitlines(keepends=True), found + times
    if found != 1:
        raise ValueError(f"{stem} has {found} lines that begin with **Time** in its first two cells.")
    return notebook | {"cells": cells}


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if one is out of step")
    options = parser.parse_args(arguments)
    stale = []
    for file in sorted(NOTEBOOKS.glob("*.ipynb")):
        old = file.read_text(encoding="utf-8")
        new = opened(json.loads(old), file.stem)
        text = json.dumps(new, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        if text != old:
            stale.append(file.name)
            if not options.check:
                with replacing(file) as partial:
                    partial.write_text(text, encoding="utf-8")
    if options.check:
        print(f"Out of step: {', '.join(stale)}. Run `make readme`." if stale else "They are in step.")
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(told(main))
