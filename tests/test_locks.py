"""The two locks: readers get what the course needs, tests the same versions and their own tools besides."""

import ast
import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers.course.profiles import ROOT

READERS, TESTS = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"
MACHINES = [
    {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": system,
     "platform_machine": machine, "platform_system": name, "platform_python_implementation": "CPython"}
    for python in ("3.11", "3.12", "3.13")
    for system, name, machine in (("linux", "Linux", "x86_64"), ("darwin", "Darwin", "arm64"))
]  # fmt: skip
#: What code imports only where it is there, or after a line that says what to install.
OPTIONAL = {"mteb", "pytrec_eval", "ray", "rapidocr", "google", "wordfreq"}


@cache
def requirements(name: str) -> tuple[Requirement, ...]:
    """The requirements that a file names, files that it includes left out."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return tuple(Requirement(line) for line in lines if re.match(r"\w", line))


def pins(name: str, machine: dict) -> dict[str, str]:
    """The exact versions that a lock installs on a machine."""
    wanted = [each for each in requirements(name) if not each.marker or each.marker.evaluate(machine)]
    return {canonicalize_name(each.name): str(each.specifier) for each in wanted}


each_machine = pytest.mark.parametrize(
    "machine", MACHINES, ids=lambda machine: f"{machine['sys_platform']}-{machine['python_version']}"
)


@each_machine
def test_both_pin_the_same_versions(machine):
    readers, tests = pins(READERS.name, machine), pins(TESTS.name, machine)
    assert readers.items() <= tests.items(), "run `make lock`"
    assert all(re.fullmatch(r"==[^*,]+", version) for version in tests.values())


@each_machine
def test_locks_keep_the_bounds(machine):
    for lock, bounds in ((READERS, "requirements.txt"), (TESTS, "requirements-dev.in")):
        pinned = pins(lock.name, machine)
        for wanted in requirements(bounds):
            version = pinned[canonicalize_name(wanted.name)].removeprefix("==")
            assert wanted.specifier.contains(version), f"{wanted} in {bounds}, {version} in {lock.name}"


def test_readers_get_nothing_that_only_tests_need():
    """Each package is there for requirements.txt, or for another one that is."""
    wanted_by = {}
    for block in re.split(r"^(?=\w)", READERS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name = canonicalize_name(re.match(r"[\w.-]+", block)[0])
        wanted_by[name] = set(
            re.findall(r"^ +#(?: +via)? +((?:-r )?[\w.-]+)$", block, flags=re.MULTILINE)
        ) - {"via"}
    assert all(wanted_by.values())
    assert {name for names in wanted_by.values() for name in names} <= {*wanted_by, "-r requirements.txt"}
    for own in ("mteb", "playwright", "pytest", "pytest-xdist", "pytrec-eval-terrier", "reportlab", "ruff"):
        assert own not in wanted_by and own in pins(TESTS.name, MACHINES[0])


def imported(code: str) -> set[str]:
    """The first names of the modules that a piece of code imports, at its start or later."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_what_readers_run_is_in_their_lock():
    code = {}
    for room in ("helpers", "tools", "data/make/pretraining"):
        code |= {file: file.read_text(encoding="utf-8") for file in (ROOT / room).rglob("*.py")}
    for file in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        code[file] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    own = {"helpers", "tools", "pretraining", *sys.stdlib_module_names}
    there, distributions = pins(READERS.name, MACHINES[0]), packages_distributions()
    for file, text in code.items():
        for module in imported(text) - own - OPTIONAL:
            names = {canonicalize_name(name) for name in distributions.get(module, [module])}
            assert names & there.keys(), f"{file.name} imports {module}, which readers do not have"


@pytest.fixture
def make(tmp_path):
    """Run make with an environment whose Python writes down what it is asked to install."""
    (tmp_path / "bin").mkdir()
    asked, python = tmp_path / "asked", tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *install*) echo "$*" >> {asked};; esac\n')
    python.chmod(0o755)

    def installed(*arguments: str) -> list[str]:
        asked.write_text("")
        own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        command = ["make", f"VENV={tmp_path}", *arguments]
        subprocess.run(command, cwd=ROOT, env=own, check=True, capture_output=True)
        return re.findall(r"-r (\S+)", asked.read_text())

    return installed


def test_readers_install_one_lock_and_tests_the_other_each_once(make):
    assert make("setup") == ["requirements.lock"]
    assert make("setup") == make("course") == make("lab") == []
    assert make("lint") == ["requirements-dev.lock"]
    assert make("test") == make("outputs") == make("setup", "DEV=1") == make("setup") == []


def test_tests_install_both_in_an_empty_environment(make):
    assert make("lint") == ["requirements.lock", "requirements-dev.lock"]
    assert make("course") == []
