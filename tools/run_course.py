"""Run the notebooks headless, in order, with papermill: what `make course` calls.

    python tools/run_course.py                       00 to 06, small profile, into runs/small/
    python tools/run_course.py --all                 every numbered notebook
    python tools/run_course.py 04 05                 only these
    python tools/run_course.py --profile full -p MAX_STEPS 20

Stops at the first failure and says which notebook, which cell and what was raised; prints the results table
last.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers import hardware  # noqa: E402
from helpers.course import ledger  # noqa: E402
from helpers.course.profiles import get_profile, run_dir  # noqa: E402
from helpers.hardware import HEADLESS  # noqa: E402
from helpers.settings import Settings  # noqa: E402
from tools.own_data import own_data  # noqa: E402
from tools.own_process import told  # noqa: E402
from tools.readiness import check_profile  # noqa: E402
from tools.readme import results_table  # noqa: E402

NOTEBOOKS = ROOT / "notebooks"
PATHS = {"DATA", "PDFS", "QUERIES"}  # parameters that are paths
SLOW_CELL_SECONDS = 5.0
STILL_RUNNING_SECONDS = 60.0
SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Cell:
    """A code cell's place in its notebook: the number-th of `total` code cells, below `heading`."""

    number: int
    total: int
    heading: str

    def __str__(self) -> str:
        return f"cell {self.number}/{self.total}  {self.heading}"


class NotebookFailed(Exception):
    """A notebook stopped. The message is ready to print."""


def code_cells(notebook) -> dict[int, Cell]:
    """Return the index of each code cell -> its place and the heading above it; not papermill's own cell."""
    own = [
        index
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    places, heading = {}, ""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            outside_code = re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL)
            headings = re.findall(r"^#+\s+(.+?)\s*$", outside_code, flags=re.MULTILINE)
            heading = headings[-1] if headings else heading
        elif index in own:
            places[index] = Cell(own.index(index) + 1, len(own), heading)
    return places


class Progress:
    """Prints which cell is running, and how long every slow one took."""

    def __init__(self, notebook) -> None:
        self.notebook, self.cells = notebook, code_cells(notebook)
        self.current: Cell | None = None
        self._index = 0
        self._started = 0.0
        self._timer: threading.Timer | None = None

    def start(self, index: int) -> None:
        if index not in self.cells:
            return
        self.current, self._index, self._started = self.cells[index], index, time.perf_counter()
        if sys.stdout.isatty():
            print(f"\r\x1b[K      {self.current}", end="", flush=True)
        self._wait(SLOW_CELL_SECONDS)

    def end(self, index: int) -> None:
        if index not in self.cells:
            return
        self.stop()
        seconds = time.perf_counter() - self._started
        if seconds >= SLOW_CELL_SECONDS:
            say(f"      {self.cells[index]}: {seconds:.1f} s")

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        if sys.stdout.isatty():
            print("\r\x1b[K", end="", flush=True)

    def _wait(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._still_running)
        self._timer.daemon = True
        self._timer.start()

    def _still_running(self) -> None:
        seconds = time.perf_counter() - self._started
        said = last_line(self.notebook.cells[self._index])
        say(f"      {self.current}: running, {seconds:.0f} s so far{said and f'; it says: {said}'}")
        self._wait(STILL_RUNNING_SECONDS)


def last_line(cell) -> str:
    """Return what a running cell printed last, "" if nothing."""
    texts = [output.text for output in cell.get("outputs", []) if output.get("name") == "stdout"]
    lines = "".join(texts).split("\n")
    return next((line.strip()[:100] for line in reversed(lines) if line.strip()), "")


def say(text: str = "") -> None:
    """Print a line at once, over a progress line if there is one."""
    print(("\r\x1b[K" if sys.stdout.isatty() else "") + text, flush=True)


@contextmanager
def own_kernel() -> Iterator[None]:
    """Make "python3" mean this very Python, with no start-up files of the user's.

    A kernel of that name elsewhere on the machine, in ~/.local/share/jupyter say, would otherwise win.
    """
    with tempfile.TemporaryDirectory(prefix="vdr-course-") as folder:
        spec = Path(folder, "kernels", "python3")
        spec.mkdir(parents=True)
        # Its notice that kernels talk over plain TCP on this machine would otherwise head every notebook.
        argv = [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR", "-f", "{connection_file}"]
        kernel = {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}
        (spec / "kernel.json").write_text(json.dumps(kernel))
        changes = {"JUPYTER_PATH": folder, "IPYTHONDIR": str(Path(folder, "ipython"))}
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def run_notebook(source: Path, output: Path, parameters: dict) -> float:
    """Run one notebook into `output` and return the seconds it took.

    While it runs, and if it fails, what it reached is in a file beside `output` whose name ends in
    "-unfinished": a run that stops early does not replace a good one.

    Raises:
        NotebookFailed: a cell raised, or the kernel died.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import CellExecutionError, DeadKernelError
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.exceptions import PapermillExecutionError

    progress: list[Progress] = []

    class CourseEngine(NBClientEngine):
        """papermill's own engine, telling `Progress` about every cell."""

        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **kwargs):
            shown = Progress(nb_man.nb)
            progress.append(shown)
            cell_start, cell_complete = nb_man.cell_start, nb_man.cell_complete

            def start(cell, cell_index=None, **more):
                shown.start(cell_index)
                cell_start(cell, cell_index, **more)

            def complete(cell, cell_index=None, **more):
                cell_complete(cell, cell_index, **more)
                shown.end(cell_index)

            nb_man.cell_start, nb_man.cell_complete = start, complete
            return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)

    papermill_engines.register("course", CourseEngine)
    output.parent.mkdir(parents=True, exist_ok=True)
    reached = output.with_stem(f"{output.stem}-unfinished")
    started = time.perf_counter()
    try:
        with own_kernel():
            papermill.execute_notebook(
                str(source), str(reached), parameters=parameters, engine_name="course", kernel_name="python3",
                cwd=str(source.parent), progress_bar=False, start_timeout=180,
            )  # fmt: skip
    except (PapermillExecutionError, CellExecutionError) as error:
        trace = getattr(error, "traceback", "")
        lines = ANSI.sub("", "\n".join(trace) if isinstance(trace, list) else str(trace)).splitlines()
        place = _place(progress)
        text = [f"{source.name} failed in {place}", "", "The cell:"]
        text += [f"    {line}" for line in getattr(error, "source", "").splitlines()]
        text += ["", "The error:"] + [f"    {line}" for line in lines[-15:]]
        last = f"{error.ename}: {ANSI.sub('', error.evalue)}"
        if not lines or not lines[-1].startswith(error.ename):
            text.append(f"    {last}")
        text += ["", f"What it reached is in {shown_path(reached)}"]
        raise NotebookFailed("\n".join(text)) from error
    except DeadKernelError as error:
        raise NotebookFailed(
            f"{source.name} failed in {_place(progress)}\n\nThe kernel died, most often for lack of memory: "
            "close other programs, or set BATCH_SIZE lower."
        ) from error
    except nbformat.reader.NotJSONError as error:
        raise NotebookFailed(f"{source} is not a notebook: {error}") from error
    finally:
        for shown in progress:
            shown.stop()
    os.replace(reached, output)
    return time.perf_counter() - started


def _place(progress: list[Progress]) -> str:
    current = progress[-1].current if progress else None
    return f"code cell {current.number} of {current.total}, “{current.heading}”" if current else "its start"


def shown_path(file: Path) -> str:
    """Return a path as a reader knows it: from the course's folder where it is below it."""
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)


def find_notebooks(wanted: list[str], folder: Path = NOTEBOOKS, *, all_numbered: bool = False) -> list[Path]:
    """Return the notebooks whose names start with one of `wanted`, in order; for none, those of the course,
    00 to 06, or all numbered ones.

    Raises:
        ValueError: a name that fits none, listing those there are.
    """
    every = sorted(folder.glob("*.ipynb"))
    numbers = "[0-9][0-9]" if all_numbered else "0[0-6]"
    there = [file for file in every if re.match(f"{numbers}_", file.name)]
    if not there:
        raise ValueError(f"There are no notebooks in {shown_path(folder)}.")
    chosen = []
    for name in wanted:
        stem = name.removesuffix(".ipynb")
        fitting = [file for file in every if file.stem.startswith(stem)]
        if not fitting:
            names = ", ".join(file.stem for file in every)
            raise ValueError(f"No notebook starts with {name!r}. There are: {names}.")
        chosen += fitting
    return sorted(set(chosen)) if wanted else there


def declared_parameters(notebook: Path) -> set[str]:
    """Return the names that a notebook's parameters cell sets."""
    import nbformat

    for cell in nbformat.read(notebook, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            return set(re.findall(r"^([A-Z][A-Z0-9_]*)\s*(?::[^=]+)?=", cell.source, flags=re.MULTILINE))
    return set()


def clock(seconds: float) -> str:
    """Format seconds as m:ss."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("notebooks", nargs="*", help="number or start of the name of the notebooks to run")
    parser.add_argument("--all", action="store_true", help="every numbered notebook, not only 00 to 06")
    parser.add_argument("--profile", default=os.environ.get("PROFILE", "small"))
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
                        help="set a name of the parameters cell in each notebook that has it")  # fmt: skip
    options = parser.parse_args(arguments)
    import yaml

    # As in a parameters cell, None is None; to YAML it is a text.
    parameters = {
        name: None if value == "None" else yaml.safe_load(value) for name, value in options.parameter
    }
    for name, value in parameters.items():
        if isinstance(value, str) and SCIENTIFIC.fullmatch(value):  # 3e-5 has no dot: text in YAML 1.1
            parameters[name] = float(value)
    for name in PATHS & parameters.keys():  # relative to here; notebooks run in their own folder
        if parameters[name] is not None and Path(parameters[name]).expanduser().exists():
            parameters[name] = str(Path(parameters[name]).expanduser().resolve())
    try:
        known = {field.name for field in fields(Settings)}
        settings = {name.lower(): value for name, value in parameters.items() if name.lower() in known}
        profile = get_profile(options.profile, **settings)  # wrong values are said before any notebook runs
        profile = own_data(profile, parameters.get("DATA"), parameters.get("PDFS"))
        notebooks = find_notebooks(options.notebooks, all_numbered=options.all)
        declared = {notebook: declared_parameters(notebook) for notebook in notebooks}
        for name in parameters:
            if not any(name in names for names in declared.values()):
                known = ", ".join(sorted(set().union(*declared.values()))) or "none"
                raise ValueError(
                    f"None of the chosen notebooks has a parameter {name!r}. Parameters: {known}."
                )
        ledger.read(profile)
        prepare_environment(profile)
        check_profile(profile, allow_cpu=bool(parameters.get("ALLOW_CPU")))
    except (ValueError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    folder = run_dir(profile)
    counted = f"{len(notebooks)} notebook{'s' * (len(notebooks) > 1)}"
    say(f"{counted}, profile {profile.name}, into {shown_path(folder)}")
    if hardware.device() == "cpu" and not hardware.use_bf16():
        say("This CPU has no bfloat16 products: trainings take about twice the time that README gives.")
    started = time.perf_counter()
    for number, notebook in enumerate(notebooks, start=1):
        say(f"[{number}/{len(notebooks)}] {notebook.stem}")
        given = {"PROFILE": options.profile} | parameters
        given = {name: value for name, value in given.items() if name in declared[notebook]}
        before = ledger.read(profile).get(notebook.stem)
        try:
            seconds = run_notebook(notebook, folder / notebook.name, given)
        except NotebookFailed as failure:
            say()
            say(str(failure))
            return 1
        after = ledger.read(profile).get(notebook.stem)
        memory = f", peak memory {after['peak_memory_mb']:,.0f} MB" if after and after != before else ""
        say(f"      done in {clock(seconds)}{memory}")
    say()
    took = clock(time.perf_counter() - started)
    say(f"All done in {took}. Results, from {shown_path(ledger.path(profile))}:")
    say()
    results = ledger.read(profile)
    say(results_table(results))
    own = results.get("10_your_own_pdfs", {})
    if own and any(notebook.stem == "10_your_own_pdfs" for notebook in notebooks):
        say(f"\nThe verdict, on {own['queries']['eval']} queries: {own['verdict']}")
        say(f"To read: {shown_path(folder / '10_your_own_pdfs.ipynb')}")
        say(f"To go on: {own['go_on']}")
    return 0


def prepare_environment(profile) -> None:
    """Set what the kernels inherit; a profile that needs no hub never touches the network."""
    if not profile.needs_hub:
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
            os.environ[name] = "1"
    os.environ[HEADLESS] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


if __name__ == "__main__":
    sys.exit(told(main))
