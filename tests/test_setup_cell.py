"""The setup cell from an empty folder, as in Colab: it clones the course, installs requirements.txt and
imports helpers.
"""

import json
import os
import subprocess
import sys
import tomllib

import pytest

from helpers.profiles import ROOT

CELL = (ROOT / "tools" / "setup_cell.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A git repository with the course's current helpers and requirements in it."""
    folder = tmp_path_factory.mktemp("origin") / "vdr-course"
    folder.mkdir()
    tracked = ["helpers/__init__.py", "helpers/profiles.py", "requirements.txt", "requirements.lock"]
    for name in tracked:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
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
        environment = os.environ | {"PYTHONPATH": str(pip.parent), "VDR_COURSE_URL": str(url)}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    run_code.asked = tmp_path / "pip"
    run_code.empty = empty
    return run_code


def test_from_an_empty_folder(run):
    code = CELL + "\nimport helpers.profiles\nprint(helpers.profiles.ROOT)"
    shown = run(code)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == str(run.empty / "vdr-course")
    asked = json.loads(run.asked.read_text())
    assert asked[:2] == ["install", "--quiet"]
    assert asked[-1].endswith("requirements.txt")
    assert not any("lock" in word for word in asked)
    again = run(code)  # the clone is there now
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("below", ["", "notebooks", "notebooks/deeper"])
def test_inside_the_course_nothing_is_fetched(run, origin, tmp_path, below):
    copy = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", str(origin), str(copy)], check=True)
    (copy / below).mkdir(parents=True, exist_ok=True)
    shown = run(CELL + "\nimport helpers\nprint(helpers.__file__)", cwd=copy / below, url="nowhere")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == str(copy / "helpers" / "__init__.py")
    assert not run.asked.exists()


def test_a_package_loaded_in_another_version_asks_for_a_restart(run):
    stale = "import sys, types\nsys.modules['numpy'] = types.SimpleNamespace(__version__='1.0')\n"
    shown = run(stale + CELL)
    assert shown.returncode != 0
    assert "numpy 1.0 is still loaded: restart the kernel" in shown.stderr


def test_a_wrong_url_stops_at_once(run):
    shown = run(CELL, url=run.empty / "nothing-here")
    assert shown.returncode != 0
    assert "nothing-here" in shown.stderr
    assert not run.asked.exists()


def test_the_url_is_the_projects(run):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f'"{project["urls"]["Source"]}"' in CELL
    assert len(CELL.splitlines()) <= 25
