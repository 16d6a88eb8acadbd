"""The way into the course from Colab: its versions, an empty folder, the setup cell, the first search.

    python tests/colab_way.py --python python3.13     ten minutes, 8 GB of disk; needs a package index, no GPU

No part of `make test`. A fresh virtual environment gets what Colab's image holds (tests/colab_pins.txt). In a
kernel of it, and a folder with Colab's sample_data and no course, run the setup cell and the cells of
notebook 00 as far as its ranking. The clone is of this checkout's last commit: git's url.<base>.insteadOf
stands for the address. Exit code 1: a cell fails, a requirement of the course is not met, or a package that
the kernel had loaded is now another version than the one it runs on. Not looked at: Colab's own page, its GPU
image, the packages of that image that the course does not install.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "tests" / "colab_pins.txt"
NOTEBOOK = ROOT / "notebooks" / "00_start_here.ipynb"
CONFLICT = re.compile(r" requires | has requirement | is not supported")
LAST_LINE = "rank of the right page"  # what the cell of the first search prints

#: What a notebook and libraries know Colab by.
COLAB = """
import importlib.machinery, sys, types

module = types.ModuleType("google.colab")
module.__spec__ = importlib.machinery.ModuleSpec("google.colab", None)
sys.modules["google.colab"] = module
"""
#: Where helpers came from, and each package that is loaded at another version than the one installed.
LOOK = """
import importlib.metadata, json, sys
import helpers
from packaging.version import Version

loaded, names = {}, importlib.metadata.packages_distributions()
for name in names.keys() & sys.modules.keys():
    version = vars(sys.modules[name]).get("__version__")
    if isinstance(version, str) and len(names[name]) == 1:
        installed = importlib.metadata.version(names[name][0])
        if Version(version).public != Version(installed).public:
            loaded[names[name][0]] = [version, installed]
print(json.dumps({"helpers": helpers.__file__, "loaded": loaded}))
"""
RUN = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
place = {"metadata": {"path": sys.argv[2]}}
try:
    nbclient.NotebookClient(notebook, timeout=3600, kernel_name="python3", resources=place).execute()
finally:
    nbformat.write(notebook, sys.argv[1])
"""


def cells(notebook: Path = NOTEBOOK, last: str = LAST_LINE) -> list[str]:
    """Sources of a notebook's code cells, from the setup cell to the one that holds `last`.

    Raises:
        ValueError: no cell holds it.
    """
    every = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in every if cell["cell_type"] == "code"]
    number = next((number for number, source in enumerate(sources) if last in source), None)
    if number is None:
        raise ValueError(f"No cell of {notebook.name} holds {last!r}: give LAST_LINE another text.")
    return sources[: number + 1]


def own_names(file: Path = ROOT / "requirements.txt") -> set[str]:
    """Names of the packages that a list of requirements asks for."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines if re.match(r"\w", line)}


def conflicts(said: str, own: Iterable[str]) -> tuple[list[str], list[str]]:
    """What `pip check` says of the course's own packages, and what it says of others.

    A line such as "pandas 2.2.3 requires numpy, which is not installed." is about pandas.
    """
    lines = [line for line in said.splitlines() if CONFLICT.search(line)]
    ours = [line for line in lines if canonicalize_name(line.split()[0]) in set(own)]
    return ours, [line for line in lines if line not in ours]


def versions(python: Path) -> dict[str, str]:
    """Name -> version of all that is installed beside a Python."""
    listed = json.loads(_said(python, "-m", "pip", "list", "--format", "json"))
    return {canonicalize_name(each["name"]): each["version"] for each in listed}


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """A line for each package of `before` that is now another version."""
    return [f"{name} {version} -> {after.get(name, 'gone')}" for name, version in sorted(before.items())
            if after.get(name) != version]  # fmt: skip


def _said(python: Path, *arguments: str) -> str:
    return subprocess.run([str(python), *arguments], capture_output=True, text=True).stdout


def _notebook(file: Path) -> None:
    """The cells that are run, as a notebook."""
    import nbformat

    sources = [COLAB.strip(), *cells(), LOOK.strip()]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(made, file)


def _printed(file: Path, name: str) -> list[str]:
    """What each cell of a notebook that was run wrote to "stdout" or "stderr"."""
    every = [cell["outputs"] for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]]
    return ["".join("".join(one["text"]) for one in outputs if one.get("name") == name) for outputs in every]


def _environment(venv: Path) -> dict[str, str]:
    """Variables for the kernel: this checkout in place of the address, and no kernel but the venv's."""
    url = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]
    return os.environ | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT}.insteadOf",
        "GIT_CONFIG_VALUE_0": url,
        "JUPYTER_PATH": str(venv / "share" / "jupyter"),
        "IPYTHONDIR": str(venv / "ipython"),
        "PYTHONNOUSERSITE": "1",
    }


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--python", default=sys.executable, help="Colab's is 3.13; default: this one")
    parser.add_argument("--folder", type=Path, help="work in it and keep it; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="colab-way-") as made:
        return _walk(Path(options.folder or made).resolve(), options.python)


def _walk(folder: Path, chosen: str) -> int:
    venv, content, file = folder / "venv", folder / "content", folder / "colab.ipynb"
    python = venv / "bin" / "python"
    if not python.is_file():
        subprocess.run([chosen, "-m", "venv", str(venv)], check=True)
    if content.exists():
        print(f"{content} is there already: name another --folder.", file=sys.stderr)
        return 2
    (content / "sample_data").mkdir(parents=True)
    (content / "sample_data" / "README.md").touch()
    print(f"{_said(python, '--version').strip()}: installing {PINS.name} ...", flush=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(PINS)], check=True)
    before, checked = versions(python), _said(python, "-m", "pip", "check")
    print(f"{len(before)} packages; pip check before: {checked.strip() or 'nothing'}", flush=True)
    _notebook(file)
    print("The setup cell and the first search, in a kernel of it ...", flush=True)
    command = [str(python), "-c", RUN, str(file), str(content)]
    ran = subprocess.run(command, cwd=content, env=_environment(venv), capture_output=True, text=True)
    after = versions(python)
    print("changed by the setup cell:", "; ".join(changes(before, after)) or "nothing")
    if ran.returncode:
        print(re.sub(r"\x1b\[[0-9;]*m", "", ran.stderr)[-3000:], file=sys.stderr)
        return 1
    ours, others = conflicts(_said(python, "-m", "pip", "check"), own_names())
    printed, red = _printed(file, "stdout"), _printed(file, "stderr")
    found = json.loads(next(line for line in printed[-1].splitlines() if line.startswith('{"helpers"')))
    print(f"helpers from {found['helpers']}\n{printed[-2].strip()}")
    for text in dict.fromkeys(filter(str.strip, red[2:])):  # after the setup cell
        print(f"in red: {text.strip()[:300]}")
    for line in others:
        print(f"pip check, of other packages: {line}")
    wrong = [f"pip check: {line}" for line in ours]
    wrong += [f"{name} {old} is loaded, {new} installed" for name, (old, new) in found["loaded"].items()]
    if Path(found["helpers"]).parents[1] != content / "vdr-course":
        wrong.append(f"helpers came from {found['helpers']}, not from the clone")
    print("\n".join(wrong) or "Nothing is wrong.")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
