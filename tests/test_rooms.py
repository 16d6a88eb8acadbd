"""The two rooms of helpers: the carried one stands alone, no import goes in a circle, every name is used."""

import ast
import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from helpers.course.profiles import ROOT

FIRST = sorted((ROOT / "helpers").glob("*.py"))
SECOND = sorted((ROOT / "helpers" / "course").glob("*.py"))
#: Public names that no other file uses -> why they are public all the same.
UNUSED = {
    "helpers.inputs.plain_row": "the remedy that checks.readable_rows names",
    "helpers.checks.unreadable_rows": "the other remedy that it names",
}


def name_of(file: Path) -> str:
    """The module's name, such as helpers.course.data."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(file: Path) -> frozenset[str]:
    """Modules of helpers that a module imports, in functions too; not for type checkers only."""
    modules = {name_of(file) for file in (*FIRST, *SECOND)}
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & modules
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & modules or {node.module}
    return frozenset(found)


def test_the_carried_room_imports_nothing_of_the_course():
    for file in FIRST:
        assert not [name for name in imports(file) if name.startswith("helpers.course")], file.name


@pytest.mark.parametrize("file", FIRST, ids=lambda file: file.stem)
def test_the_carried_room_knows_nothing_of_the_courses_files(file):
    text = file.read_text(encoding="utf-8")
    for words in ("git checkout", "data/pdfs", "VDR_COURSE_RUNS", "PROFILE ="):
        assert words not in text


def test_no_import_goes_in_a_circle():
    graph = {name_of(file): imports(file) for file in (*FIRST, *SECOND)}
    while free := [name for name, needed in graph.items() if not needed & graph.keys()]:
        for name in free:
            del graph[name]
    assert not graph, f"these import one another: {sorted(graph)}"


def test_no_file_is_long():
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in (*FIRST, *SECOND)}
    assert max(lines.values()) <= 400
    assert sum(lines.values()) <= 3800


def public(file: Path) -> set[str]:
    """Public functions, classes and constants that a module defines."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def in_signatures(file: Path) -> set[str]:
    """Types that a module's functions take or return."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            kinds = [node.returns, *(argument.annotation for argument in node.args.args)]
            names = (name for kind in kinds if kind for name in ast.walk(kind))
            found |= {name.id for name in names if isinstance(name, ast.Name)}
    return found


def used(code: str) -> set[str]:
    """What a piece of code takes from helpers, such as helpers.pages.page_id."""
    tree, modules, found = ast.parse(code), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "helpers":
            for alias in node.names:
                found.add(f"{node.module}.{alias.name}")
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            found.add(f"{modules[node.value.id]}.{node.attr}")
    return found


@cache
def users() -> dict[Path, set[str]]:
    """Notebooks, helpers, tools and scripts -> what each uses of helpers."""
    scripts = [*(ROOT / "tools").glob("*.py"), *(ROOT / "data" / "make").rglob("*.py")]
    scripts += (ROOT / "tests" / "bench").glob("*.py")
    found = {file: used(file.read_text(encoding="utf-8")) for file in (*FIRST, *SECOND, *scripts)}
    for file in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        found[file] = used("\n".join(code))
    return found


@pytest.mark.parametrize("file", (*FIRST, *SECOND), ids=name_of)
def test_every_public_name_is_used(file):
    elsewhere = set().union(*(names for user, names in users().items() if user != file))
    named = public(file) - in_signatures(file)
    unused = {name for name in named if f"{name_of(file)}.{name}" not in elsewhere}
    reasons = {name.rsplit(".", 1)[1] for name in UNUSED if name.rsplit(".", 1)[0] == name_of(file)}
    assert unused <= reasons, "delete it, or begin its name with _"
    assert reasons <= unused, "no exception any more"


@pytest.fixture
def carried(tmp_path):
    """A project with the carried room alone."""
    ignored = shutil.ignore_patterns("course", "__pycache__")
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers", ignore=ignored)
    return tmp_path


def run(code: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("line", ["from helpers.course import begin", "import helpers.course.data"])
def test_without_the_course_the_message_says_what_to_write(line, carried):
    shown = run(line, carried)
    assert shown.returncode == 1
    message = shown.stderr.strip().splitlines()[-1]
    assert message.startswith("ModuleNotFoundError: This project has no helpers/course: delete ")
    assert "`... = begin(...)`" in message
    assert "`from helpers.settings import Settings` and `profile = Settings(embedding_model=...)`" in message
    assert "git checkout" not in message


def test_the_carried_room_works_alone(carried):
    modules = ", ".join(name_of(file) for file in FIRST if file.stem != "__init__")
    code = f"import {modules}; print(helpers.settings.Settings('model').path('a/model'))"
    shown = run(code, carried)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == "a/model"


def test_with_the_course_nothing_is_said():
    assert run("from helpers.course import begin, profiles; begin", ROOT).returncode == 0
    shown = run("import helpers.course.nothing", ROOT)
    assert shown.stderr.strip().endswith("No module named 'helpers.course.nothing'")


def test_importing_helpers_is_quick():
    modules = ", ".join(name_of(file) for file in (*FIRST, *SECOND))
    slow = "('torch', 'transformers', 'datasets', 'matplotlib', 'scipy', 'sentence_transformers')"
    shown = run(f"import sys, {modules}; print([name for name in {slow} if name in sys.modules])", ROOT)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == "[]"
