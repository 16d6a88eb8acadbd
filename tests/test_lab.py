"""`make lab`'s copies: their links hold, a pull renews them, what a reader wrote stays."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.course.profiles import ROOT
from tools import lab


def notebook(*cells: tuple[str, str]) -> dict:
    made = []
    for number, (kind, source) in enumerate(cells):
        cell = {
            "cell_type": kind,
            "id": f"c{number}",
            "metadata": {},
            "source": source.splitlines(keepends=True),
        }
        made.append(cell | ({"outputs": [], "execution_count": None} if kind == "code" else {}))
    return {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def write(file, made: dict) -> None:
    file.write_text(json.dumps(made), encoding="utf-8")


def read(file) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))


FIRST = notebook(("markdown", "# One\n\n[a](../README.md#x), [b](01_b.ipynb)"), ("code", "x = 1"))
SECOND = notebook(("markdown", "# One"), ("code", "x = 2"))


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one notebook: its file, and the folder of copies with the first copy in it."""
    folder = tmp_path / "course" / "runs" / "lab"
    folder.mkdir(parents=True)
    (tmp_path / "course" / "notebooks").mkdir()
    monkeypatch.setattr(lab, "ROOT", tmp_path / "course")
    monkeypatch.setattr(lab, "NOTEBOOKS", tmp_path / "course" / "notebooks")
    file = lab.NOTEBOOKS / "00_a.ipynb"
    write(file, FIRST)
    assert lab.renew(folder) == []
    return file, folder / file.name


def run_all(copy) -> None:
    """What JupyterLab saves after a run, and after Shift-Enter in the last cell."""
    made = read(copy)
    stream = {"output_type": "stream", "name": "stdout", "text": ["1\n"]}
    made["cells"][1] |= {"execution_count": 1, "outputs": [stream], "metadata": {"scrolled": True}}
    made["cells"] += notebook(("code", ""))["cells"]
    made["metadata"]["language_info"] = {"name": "python", "version": "3.11"}
    write(copy, made)


def test_links_of_every_copy_hold():
    folder = ROOT / "runs" / "lab"
    for file in lab.NOTEBOOKS.glob("*.ipynb"):
        cells = lab.copy_of(file, folder)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
            place = lab.NOTEBOOKS if target.endswith(".ipynb") and "/" not in target else folder
            assert Path(os.path.normpath(place / target)).exists(), f"{file.name}: {target}"
        assert not re.search(r"(?:src|href)=\"\.\./(?!\.\./)", text)


def test_only_links_and_metadata_differ_from_the_course(course):
    _, copy = course
    made = read(copy)
    assert "".join(made["cells"][0]["source"]) == "# One\n\n[a](../../README.md#x), [b](01_b.ipynb)"
    assert made["cells"][1] == FIRST["cells"][1]


def test_a_run_is_no_change_so_a_pull_renews_the_copy(course):
    file, copy = course
    run_all(copy)
    ran = copy.read_text()
    assert lab.renew(copy.parent) == []
    assert copy.read_text() == ran, "nothing new in the course: the outputs stay"
    write(file, SECOND)
    assert lab.renew(copy.parent) == []
    assert read(copy)["cells"] == SECOND["cells"]


def test_a_changed_copy_is_kept_and_told_of_once_it_is_out_of_date(course):
    file, copy = course
    made = read(copy)
    made["cells"][1]["source"] = ["x = 'mine'"]
    write(copy, made)
    assert lab.renew(copy.parent) == []
    write(file, SECOND)
    (line,) = lab.renew(copy.parent)
    assert "00_a.ipynb is out of date, and kept because you changed it: rename it" in line
    assert read(copy) == made
    copy.rename(copy.with_name("mine.ipynb"))  # what the line says
    assert lab.renew(copy.parent) == []
    assert read(copy)["cells"] == SECOND["cells"]
    assert read(copy.with_name("mine.ipynb")) == made


def test_what_is_no_notebook_is_told_with_the_remedy(course):
    file, copy = course
    copy.write_text("")
    (line,) = lab.renew(copy.parent)
    assert line.endswith("00_a.ipynb is not a notebook: delete it and run `make lab` again.")
    copy.unlink()
    file.write_text("<<<<<<< HEAD")
    (line,) = lab.renew(copy.parent)
    assert re.search(r"00_a.ipynb is not a notebook: `git checkout -- .*00_a.ipynb` and run", line)
    assert not copy.exists()


@pytest.mark.parametrize("runs", ["course/runs", "home/runs"])
def test_jupyterlabs_root_holds_the_course_and_the_copies(course, tmp_path, runs):
    folder = tmp_path / runs / "lab"
    given = dict(argument.split("=", 1) for argument in lab.arguments(folder))
    root, start = Path(given["--ServerApp.root_dir"]), given["--LabApp.default_url"]
    assert root == (tmp_path / "course" if runs.startswith("course") else tmp_path)
    assert root / start.removeprefix("/lab/tree/") == folder / "00_start_here.ipynb"
    lab.renew(folder)
    assert f"[a]({os.path.relpath(tmp_path / 'course', folder)}/README.md#x)" in str(
        read(folder / "00_a.ipynb")
    )
    layout = next((folder / ".jupyterlab" / "workspaces").iterdir())
    layout.write_text(layout.read_text().replace("0.22", "0.5"))  # a reader makes the file browser wider
    lab.arguments(folder)
    assert "0.5" in layout.read_text()


def test_make_search_opens_09(monkeypatch, tmp_path):
    launched = []
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("JUPYTER_SERVER_ROOT", "")
    monkeypatch.setattr("jupyterlab.labapp.LabApp.launch_instance", launched.append)
    for given, opened in ((["--search", "--no-browser"], "09_search"), (["--no-browser"], "00_start_here")):
        monkeypatch.setattr(lab.sys, "argv", ["lab.py", *given])
        assert lab.main() == 0
        arguments = launched.pop()
        (start,) = (one for one in arguments if one.startswith("--LabApp.default_url="))
        assert start.endswith(f"/lab/{opened}.ipynb") and (tmp_path / "lab" / f"{opened}.ipynb").is_file()
        assert arguments[-1] == "--no-browser" and "--search" not in arguments


def test_the_courses_own_notebooks_are_read_only():
    files = lab.Contents(root_dir=str(ROOT))
    assert not files.is_writable("notebooks/00_start_here.ipynb")
    assert files.is_writable("README.md")


def test_settings_are_names_that_jupyterlab_knows():
    """Unknown settings are passed over in silence: the pop-up would be back."""
    schemas = Path(sys.prefix) / "share" / "jupyter" / "lab" / "schemas"
    for plugin, given in lab.SETTINGS.items():
        known = json.loads((schemas / (plugin.replace(":", "/") + ".json")).read_text(encoding="utf-8"))
        assert set(given) <= set(known["properties"]), plugin


def test_git_and_make_clean_leave_the_copies_alone():
    assert "runs/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    shown = subprocess.run(["make", "-n", "clean"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "runs/small*" in shown and "runs/lab" not in shown and not re.search(r"runs(/\*|/)?\s", shown)


def test_make_lab_passes_arguments_on():
    shown = subprocess.run(
        ["make", "-n", "lab", "LAB_ARGS=--no-browser --port 8899"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert "tools/lab.py --no-browser --port 8899" in shown


def test_a_folder_that_cannot_be_written_to_is_told_in_a_line(tmp_path):
    (tmp_path / "file").touch()
    environment = os.environ | {"VDR_COURSE_RUNS": str(tmp_path / "file")}
    command = [sys.executable, "tools/lab.py", "--no-browser"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert shown.returncode == 2
    assert "set VDR_COURSE_RUNS to a folder" in shown.stderr and "Traceback" not in shown.stderr
