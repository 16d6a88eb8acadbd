"""The setup cell from an empty folder, as in Colab: it clones the course, installs requirements.txt and
imports helpers.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from helpers.course.profiles import ROOT
from tests import colab_way

URL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]
CELL = (ROOT / "tools" / "setup_cell.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A git repository with the course's current helpers and requirements in it."""
    folder = tmp_path_factory.mktemp("origin") / "vdr-course"
    folder.mkdir()
    shutil.copytree(ROOT / "helpers", folder / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    identity = ["-c", "user.name=Reader", "-c", "user.email=reader@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "course"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture
def run(origin, tmp_path):
    """Run code in an empty folder by a Python that knows no helpers and whose pip writes down what it was
    asked.
    """
    pip = tmp_path / "stub" / "pip"
    pip.mkdir(parents=True)
    (pip / "__init__.py").touch()
    (pip / "__main__.py").write_text(
        f"import json, sys; json.dump(sys.argv[1:], open({str(tmp_path / 'pip')!r}, 'w'))"
    )
    empty = tmp_path / "empty"
    empty.mkdir()

    def run_code(code, cwd=empty, url=origin):
        environment = os.environ | {"PYTHONPATH": str(pip.parent), "GIT_CONFIG_COUNT": "1"}
        environment |= {"GIT_CONFIG_KEY_0": f"url.{url}.insteadOf", "GIT_CONFIG_VALUE_0": URL}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    run_code.asked = tmp_path / "pip"
    run_code.empty = empty
    return run_code


def test_from_an_empty_folder(run):
    code = CELL + "\nfrom helpers.course import profiles\nprint(profiles.ROOT)"
    shown = run(code)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == str(run.empty / "vdr-course")
    asked = json.loads(run.asked.read_text())
    assert asked == ["install", "-qr", str(run.empty / "vdr-course" / "requirements.txt")]
    run.asked.unlink()
    again = run(code, url="nowhere")  # the clone is there now
    assert again.returncode == 0, again.stderr
    assert not run.asked.exists()


@pytest.mark.parametrize("below", ["", "notebooks", "notebooks/deeper"])
def test_inside_the_course_nothing_is_fetched(run, origin, tmp_path, below):
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", str(origin), str(copy)], check=True)
    (copy / below).mkdir(parents=True, exist_ok=True)
    shown = run(CELL + "\nimport helpers\nprint(helpers.__file__)", cwd=copy / below, url="nowhere")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == str(copy / "helpers" / "__init__.py")
    assert not run.asked.exists()


def test_a_copied_project_is_left_alone(run, tmp_path):
    """The carried room is there, the course's is not: nothing is fetched, and `begin` says what to write."""
    project = tmp_path / "project"
    ignored = shutil.ignore_patterns("course", "__pycache__")
    shutil.copytree(ROOT / "helpers", project / "helpers", ignore=ignored)
    (project / "notebooks").mkdir()
    code = CELL + "\nimport helpers\nprint(helpers.__file__)\nfrom helpers.course import begin"
    shown = run(code, cwd=project / "notebooks", url="nowhere")
    assert shown.stdout.strip() == str(project / "helpers" / "__init__.py")
    assert "ModuleNotFoundError: This project has no helpers/course: delete" in shown.stderr
    assert not run.asked.exists()
    assert not (project / "notebooks" / "vdr-course").exists()


def test_run_twice_the_path_is_there_once(run, origin):
    shown = run(f"{CELL}\n{CELL}\nprint(sys.path.count(str(root)), sys.path[0] == str(root))", cwd=origin)
    assert shown.stdout.split() == ["1", "True"], shown.stderr


def test_a_wrong_url_stops_at_once(run):
    shown = run(CELL, url=run.empty / "nothing-here")
    assert shown.returncode != 0
    assert "nothing-here" in shown.stderr  # git's own word
    assert "RuntimeError: Could not fetch https://" in shown.stderr
    assert not run.asked.exists()


def test_in_another_folder_nothing_is_fetched(run, origin, tmp_path):
    """Papermill without --cwd runs a notebook in the folder that the command was given in."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "report.pdf").touch()
    shown = run(CELL, cwd=other)
    assert f"FileNotFoundError: No course in {other}. Run in its folder" in shown.stderr
    assert [file.name for file in other.iterdir()] == ["report.pdf"]
    in_colab = "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')\n"
    assert run(in_colab + CELL, cwd=other).returncode == 0
    assert (other / "vdr-course" / "helpers").is_dir()


def test_beside_nothing_but_notebooks_it_is_fetched(run):
    (run.empty / "04_train_embedding.ipynb").touch()
    assert run(CELL).returncode == 0
    assert (run.empty / "vdr-course" / "helpers").is_dir()


def test_the_cell_is_short_and_names_the_projects_address(run):
    assert f'"{URL}"' in CELL
    assert sum(bool(line.strip()) for line in CELL.splitlines()) <= 14


def test_the_colab_walk_runs_the_setup_cell_first_and_the_first_search_last():
    run = colab_way.cells()
    assert run[0].strip() == CELL.strip() and "begin(" in run[2]
    assert "model.similarity" in run[-1] and colab_way.LAST_LINE in run[-1]
    with pytest.raises(ValueError, match="No cell of 00_start_here.ipynb holds 'no such line'"):
        colab_way.cells(last="no such line")


def test_colabs_versions_are_exact_and_say_where_they_are_from():
    lines = colab_way.PINS.read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert len(pins) == sum("==" in line for line in lines) and list(pins) == sorted(pins)
    assert {"torch", "transformers", "numpy", "ipywidgets"} <= pins.keys() & colab_way.own_names()
    comment = " ".join(line for line in lines if line.startswith("#"))
    assert "googlecolab/backend-info" in comment and re.search(r"commit \w{7} of 20\d\d-\d\d-\d\d", comment)


def test_only_conflicts_of_the_courses_own_packages_count():
    said = (
        "scikit_learn 1.6.1 has requirement numpy>=3, but you have numpy 2.1.3.\n"
        "pandas 2.2.3 requires tzdata, which is not installed.\n"
        "notebook 6.5.7 has requirement ipywidgets<8, but you have ipywidgets 8.1.9.\n"
    )
    ours, others = colab_way.conflicts(said, colab_way.own_names())
    assert [line.split()[0] for line in ours] == ["scikit_learn", "pandas"]
    assert [line.split()[0] for line in others] == ["notebook"]
    assert colab_way.conflicts("No broken requirements found.\n", colab_way.own_names()) == ([], [])
    changed = colab_way.changes({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "new": "3"})
    assert changed == ["b 1 -> 2", "c 1 -> gone"]
