"""Open copies of the notebooks in JupyterLab: what `make lab` calls.

    python tools/lab.py                            copies into runs/lab, JupyterLab at 00_start_here
    python tools/lab.py --search                   the same at 09, which ends at a search page
    python tools/lab.py --no-browser --port 8899   other arguments go on to JupyterLab

JupyterLab saves a notebook by itself, also one that was only run, and what git pulls must stay as it is: so a
reader works on copies. The next call renews a copy whose notebook has changed in the course, unless the
reader has changed the copy's cells. Outputs do not count as a change, since a run alone makes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager  # noqa: E402
from jupyterlab_server.workspaces_handler import WorkspacesManager  # noqa: E402

from helpers.course.profiles import run_dir  # noqa: E402
from helpers.files import replacing, write_json  # noqa: E402
from tools.own_process import told  # noqa: E402
from tools.run_course import shown_path  # noqa: E402

NOTEBOOKS = ROOT / "notebooks"
SEARCH = "09_search.ipynb"  # ends at its search page
MADE_FROM = "vdr_course"  # in a copy's metadata: the cells that it was made from
LINK = re.compile(r"(\]\(|(?:src|href)=\")\.\./")
#: Defaults in place of JupyterLab's own; what a reader has set is left as it is.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/filebrowser-extension:browser": {"showLastModifiedColumn": False},
    "@jupyterlab/notebook-extension:tracker": {"codeCellConfig": {"lineNumbers": False, "lineWrap": True}},
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
}
#: The layout of the first start: a file browser as wide as the names.
LAYOUT = {
    "data": {
        "layout-restorer:data": {
            "main": {"dock": None},
            "left": {
                "collapsed": False,
                "visible": True,
                "current": "filebrowser",
                "widgets": ["filebrowser"],
            },
            "relativeSizes": [0.22, 0.78, 0],
        }
    },
    "metadata": {"id": "default"},
}


class Contents(AsyncLargeFileManager):
    """JupyterLab's files, the course's own notebooks read-only: links in README.md lead to these."""

    def is_writable(self, path: str) -> bool:
        return NOTEBOOKS not in Path(self._get_os_path(path)).parents and super().is_writable(path)


def read_notebook(file: Path, remedy: str) -> dict:
    """Read a notebook's JSON.

    Raises:
        ValueError: it holds none, with the remedy.
    """
    try:
        notebook = json.loads(file.read_text(encoding="utf-8"))
        state(notebook), notebook["metadata"].get(MADE_FROM)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{shown_path(file)} is not a notebook: {remedy} and run `make lab` again."
        ) from error
    return notebook


def state(notebook: dict) -> str:
    """Return a hash of what a reader writes, each cell's kind and source. An empty cell, which Shift-Enter
    adds at the end, is none.
    """
    cells = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in notebook["cells"]]
    return hashlib.sha256(json.dumps([cell for cell in cells if cell[1]]).encode()).hexdigest()[:16]


def copy_of(file: Path, folder: Path) -> dict:
    """Return a notebook of the course for another folder: its links lead to the same files, and its metadata
    hold the state that it was made from.
    """
    notebook = read_notebook(file, f"`git checkout -- {shown_path(file)}`")
    up = Path(os.path.relpath(ROOT, folder)).as_posix()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = LINK.sub(rf"\g<1>{up}/", "".join(cell["source"])).splitlines(keepends=True)
    notebook["metadata"][MADE_FROM] = state(notebook)
    return notebook


def renew(folder: Path) -> list[str]:
    """Copy each notebook that has no copy in `folder`, or one that is out of date and not the reader's.

    Returns:
        A line for each notebook that could not be copied, or whose copy is out of date and the reader's.
    """
    kept = []
    for file in sorted(NOTEBOOKS.glob("*.ipynb")):
        copy = folder / file.name
        try:
            new = copy_of(file, folder)
            there = read_notebook(copy, "delete it") if copy.exists() else None
        except ValueError as error:
            kept.append(str(error))
            continue
        if there:
            current, made_from = state(there), there["metadata"].get(MADE_FROM)
            if state(new) in (current, made_from):
                continue
            if current != made_from:
                kept.append(
                    f"{shown_path(copy)} is out of date, and kept because you changed it: rename it and run "
                    "`make lab` again for the new one."
                )
                continue
        with replacing(copy) as partial:
            partial.write_text(json.dumps(new, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return kept


def arguments(folder: Path, place: str = "00_start_here.ipynb") -> list[str]:
    """Return JupyterLab's arguments: its root holds the course and the copies; a reader's own settings and
    layout, which JupyterLab keeps in the home folder, stay as they are. It opens at `place` in `folder`.
    """
    root, own = Path(os.path.commonpath([ROOT, folder])), folder / ".jupyterlab"
    write_json(own / "settings" / "overrides.json", SETTINGS)
    workspaces = WorkspacesManager(str(own / "workspaces"))
    if not workspaces.load("default")["data"]:
        workspaces.save("default", json.dumps(LAYOUT))
    start = (folder / place).relative_to(root).as_posix()
    return [
        f"--ServerApp.root_dir={root}",
        "--ServerApp.contents_manager_class=tools.lab.Contents",
        "--ServerApp.answer_yes=True",  # Ctrl-C stops it without a question
        f"--LabApp.default_url=/lab/tree/{start}",
        f"--LabApp.app_settings_dir={own / 'settings'}",
        f"--LabApp.workspaces_dir={own / 'workspaces'}",
        "--LabApp.log_level=ERROR",
        "--ServerApp.log_level=ERROR",
    ]


def main() -> int:
    from jupyterlab.labapp import LabApp

    folder = run_dir("lab").resolve()
    kept = renew(folder)
    print(f"Copies of the notebooks are in {shown_path(folder)}: work on these. Ctrl-C stops JupyterLab.")
    for line in kept:
        print(line)
    sys.stdout.flush()
    # A kernel finds the course by its folder's parents, and by this where the copies are elsewhere.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    os.environ["JUPYTER_SERVER_ROOT"] = os.path.commonpath([ROOT, folder])  # below it, files have addresses
    given = [argument for argument in sys.argv[1:] if argument != "--search"]
    place = SEARCH if "--search" in sys.argv[1:] else "00_start_here.ipynb"
    LabApp.launch_instance([*arguments(folder, place), *given])
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
