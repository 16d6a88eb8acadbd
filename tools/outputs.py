"""Run the committed notebooks in place, in order, with the small profile, and keep only outputs that last.

    python tools/outputs.py            every numbered notebook
    python tools/outputs.py 03 04      only these
    python tools/outputs.py --clean    run nothing, clean what is there

What goes: papermill's and the widgets' metadata, progress bars, time stamps, memory addresses, paths of this
machine. A notebook is replaced only when it has run to its end.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.files import replacing  # noqa: E402
from tools.own_process import told  # noqa: E402
from tools.run_course import ROOT, NotebookFailed, find_notebooks, prepare_environment, run_notebook, say  # noqa: E402

WIDGET = "application/vnd.jupyter.widget-view+json"
PROGRESS_BAR = re.compile(r"^.*\d+%\|.*(?:\n|\r|$)", re.MULTILINE)
KEPT_CELL_METADATA = ("tags",)
FOLDED = {"jupyter": {"source_hidden": True}, "cellView": "form"}  # in JupyterLab, in Colab


def clean(notebook) -> None:
    """Strip from a notebook object, in place, what differs between two equal runs or belongs to one
    machine.
    """
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    injected = [c for c in notebook.cells if "injected-parameters" in c.metadata.get("tags", [])]
    notebook.cells = [c for c in notebook.cells if c not in injected]
    for cell in injected:
        _close_gap(notebook, cell.execution_count)
    for cell in notebook.cells:
        cell.metadata = {name: cell.metadata[name] for name in KEPT_CELL_METADATA if name in cell.metadata}
        if "setup" in cell.metadata.get("tags", []):
            cell.metadata |= FOLDED  # it is the same in every notebook, and no reader's subject
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_clean_output, cell.outputs) if output is not None]


def _clean_output(output):
    """Return an output without its volatile parts, or None when nothing is left of it."""
    if output.output_type == "stream":
        output.text = _clean_text(PROGRESS_BAR.sub("", output.text))
        return output if output.text.strip() else None
    if output.output_type in ("display_data", "execute_result"):
        if WIDGET in output.data:
            return None  # a widget is dead without its kernel; cells print what readers need
        if "image/png" in output.data:
            output.data.pop("image/jpeg", None)  # Pillow shows an image in both forms
        for kind in ("text/plain", "text/html", "text/markdown"):
            if kind in output.data:
                output.data[kind] = _clean_text(output.data[kind])
    return output


def _clean_text(text: str) -> str:
    """Write paths from the course's folder, and memory addresses without their digits."""
    for folder in (f"{ROOT}{os.sep}", str(ROOT)):
        text = text.replace(folder, "" if folder.endswith(os.sep) else ".")
    text = text.replace(str(Path.home()), "~")
    return re.sub(r"\bat 0x[0-9a-fA-F]+", "at 0x...", text)


def _close_gap(notebook, removed: int) -> None:
    """Count the cells after a removed one as if it had never run."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for counted in (cell, *cell.outputs):
                if (counted.get("execution_count") or 0) > removed:
                    counted.execution_count -= 1


def write_notebook(notebook, file: Path) -> None:
    """Write a notebook whole or not at all, in the form that Jupyter itself saves."""
    import nbformat

    with replacing(file) as partial:
        partial.write_text(nbformat.writes(notebook, version=4).rstrip("\n") + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    import nbformat

    from helpers.course.profiles import get_profile, run_dir
    from tools.readiness import check_profile

    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("notebooks", nargs="*", help="number or start of the name of the notebooks")
    parser.add_argument("--clean", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    profile = get_profile("small")
    try:
        notebooks = find_notebooks(options.notebooks, all_numbered=True)
        if not options.clean:
            prepare_environment(profile)
            check_profile(profile)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for file in notebooks:
        say(file.stem)
        executed = file if options.clean else run_dir(profile) / file.name
        if not options.clean:
            try:
                run_notebook(file, executed, {})
            except NotebookFailed as failure:
                say(str(failure))
                return 1
        notebook = nbformat.read(executed, as_version=4)
        clean(notebook)
        write_notebook(notebook, file)
        say(f"      {file.stat().st_size / 1000:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
