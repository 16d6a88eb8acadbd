"""`make course`'s runner on small notebooks made here: its output, its stops, its kernel."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import outputs, run_course


def notebook(*cells):
    made = new_notebook(cells=list(cells))
    made.metadata.kernelspec = {"display_name": "x", "language": "python", "name": "python3"}
    return made


def parameters(source):
    return new_code_cell(source, metadata={"tags": ["parameters"]})


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder of notebooks in the place of the course's, and runs elsewhere."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(run_course, "NOTEBOOKS", folder)
    monkeypatch.setattr(run_course.find_notebooks, "__defaults__", (folder,))
    monkeypatch.setattr(run_course, "check_profile", lambda *args, **kwargs: None)
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path / "runs"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    return folder


def test_last_line_of_a_running_cell():
    cell = new_code_cell("train()")
    assert run_course.last_line(cell) == ""
    for name, text in (("stdout", "step 1\nstep"), ("stderr", "a warning"), ("stdout", " 2\n\n")):
        cell.outputs.append(new_output("stream", name=name, text=text))
    assert run_course.last_line(cell) == "step 2"


def test_runs_in_order_with_the_profile_and_shows_slow_cells(course, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run_course, "SLOW_CELL_SECONDS", 0.5)
    first = [
        new_markdown_cell("# One\n\n```\n# not a heading\n```"),
        parameters('PROFILE = "other"\nMAX_STEPS = None'),
        new_markdown_cell("## Wait a little"),
        new_code_cell(
            "import os, time; print('at work', flush=True); time.sleep(0.8)\n"
            "print(PROFILE, MAX_STEPS, os.environ['HF_HUB_OFFLINE'])"
        ),
    ]
    nbformat.write(notebook(*first), course / "00_one.ipynb")
    nbformat.write(
        notebook(parameters("x = 1"), new_code_cell("import sys; sys.executable")), course / "01_two.ipynb"
    )
    assert run_course.main(["-p", "MAX_STEPS", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("[1/2] 00_one") < shown.index("[2/2] 01_two")
    assert re.search(r"cell 2/2  Wait a little: running, \d+ s so far; it says: at work", shown)
    assert re.search(r"cell 2/2  Wait a little: \d\.\d s", shown)
    assert shown.rstrip().endswith("No results yet: run `make course`.")
    one = nbformat.read(tmp_path / "runs/small/00_one.ipynb", as_version=4)
    assert "".join(part.text for part in one.cells[-1].outputs) == "at work\nsmall 2 1\n"
    two = nbformat.read(tmp_path / "runs/small/01_two.ipynb", as_version=4)
    assert sys.executable in two.cells[-1].outputs[0].data["text/plain"]


def test_stops_at_the_first_failure_and_names_it(course, tmp_path, capsys):
    cells = [new_markdown_cell("## Divide"), new_code_cell("x = 1"), new_code_cell("# by nothing\nx / 0")]
    nbformat.write(notebook(*cells), course / "00_bad.ipynb")
    nbformat.write(notebook(new_code_cell("1")), course / "01_never.ipynb")
    assert run_course.main([]) == 1
    shown = capsys.readouterr().out
    assert "00_bad.ipynb failed in code cell 2 of 2, “Divide”" in shown
    assert "    # by nothing\n    x / 0" in shown
    assert "ZeroDivisionError: division by zero" in shown
    assert "01_never" not in shown
    assert "What it reached is in" in shown
    assert "00_bad-unfinished.ipynb" in shown
    assert "\x1b[" not in shown


def test_a_failure_leaves_the_run_before_as_it_is(course, tmp_path):
    executed = tmp_path / "runs/small/00_one.ipynb"
    for source, code in (("x = 1", 0), ("x / 0", 1), ("x = 2", 0)):
        nbformat.write(notebook(new_code_cell(source)), course / "00_one.ipynb")
        assert run_course.main([]) == code
        kept = nbformat.read(executed, as_version=4).cells[-1].source
        assert kept == ("x = 1" if code else source)
        assert executed.with_stem("00_one-unfinished").exists() == bool(code)


def test_a_rate_in_scientific_notation_is_a_number(course, tmp_path):
    cell = new_code_cell("RATE * 2")
    nbformat.write(notebook(parameters("RATE = None"), cell), course / "00_one.ipynb")
    assert run_course.main(["-p", "RATE", "3e-5"]) == 0
    made = nbformat.read(tmp_path / "runs/small/00_one.ipynb", as_version=4)
    assert made.cells[-1].outputs[0].data["text/plain"] == "6e-05"


def test_a_path_is_taken_from_where_the_command_was_given(course, tmp_path, monkeypatch):
    cell = new_code_cell("print(DATA, QUERIES)")
    nbformat.write(notebook(parameters("DATA = None\nQUERIES = None"), cell), course / "00_one.ipynb")
    (tmp_path / "mine").mkdir()
    for name in ("documents", "queries"):
        (tmp_path / "mine" / f"{name}.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)
    assert run_course.main(["-p", "DATA", "mine", "-p", "QUERIES", "not/there.csv"]) == 0
    (executed,) = tmp_path.glob("**/small-mine/00_one.ipynb")
    assert f"{tmp_path / 'mine'} not/there.csv" in executed.read_text(encoding="utf-8")
    assert run_course.main(["-p", "DATA", "elsewhere"]) == 2


def test_a_wrong_name_lists_the_right_ones(course, capsys):
    nbformat.write(notebook(parameters("MAX_STEPS = None\nSEED = None")), course / "00_one.ipynb")
    nbformat.write(notebook(new_code_cell("1")), course / "appendix_two.ipynb")
    assert run_course.main(["99"]) == 2
    assert "There are: 00_one, appendix_two." in capsys.readouterr().err
    assert run_course.main(["-p", "STEPS", "2"]) == 2
    assert "Parameters: MAX_STEPS, SEED." in capsys.readouterr().err


def test_a_kernel_that_dies_is_named(course, capsys):
    cells = [new_markdown_cell("## Train"), new_code_cell("import os; os._exit(9)")]
    nbformat.write(notebook(*cells), course / "00_dies.ipynb")
    assert run_course.main([]) == 1
    shown = capsys.readouterr().out
    assert "00_dies.ipynb failed in code cell 1 of 1, “Train”" in shown
    assert "kernel died" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "tiny"], "no profile 'tiny'"),
        (["07"], "No notebook starts with '07'. There are: 00_one"),
        (["-p", "MAX_STEP", "2"], "has a parameter 'MAX_STEP'"),
    ],
)
def test_wrong_arguments_end_before_any_work(course, capsys, arguments, message):
    nbformat.write(notebook(parameters("MAX_STEPS = None")), course / "00_one.ipynb")
    assert run_course.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(Path(os.environ["VDR_COURSE_RUNS"]).glob("*/*.ipynb"))


def test_an_older_ledger_ends_before_any_work(course, capsys):
    nbformat.write(notebook(new_code_cell("1")), course / "00_one.ipynb")
    run_course.ledger.path("small").write_text("{}")
    assert run_course.main([]) == 2
    assert "another form" in capsys.readouterr().err


def test_chosen_notebooks_by_number(course):
    for name in ("00_a", "01_b", "02_c", "appendix_d"):
        nbformat.write(notebook(), course / f"{name}.ipynb")
    assert [file.stem for file in run_course.find_notebooks([])] == ["00_a", "01_b", "02_c"]
    (course / "07_e.ipynb").write_text("{}")
    assert [file.stem for file in run_course.find_notebooks([])] == ["00_a", "01_b", "02_c"]
    every = run_course.find_notebooks([], all_numbered=True)
    assert [file.stem for file in every] == ["00_a", "01_b", "02_c", "07_e"]
    assert [file.stem for file in run_course.find_notebooks(["02", "00_a.ipynb"])] == ["00_a", "02_c"]
    assert [file.stem for file in run_course.find_notebooks(["appendix"])] == ["appendix_d"]


def test_a_kernel_of_that_name_elsewhere_is_not_used(course, tmp_path, monkeypatch):
    decoy = tmp_path / "decoy" / "kernels" / "python3"
    decoy.mkdir(parents=True)
    (decoy / "kernel.json").write_text(
        json.dumps({"argv": ["false"], "display_name": "x", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "decoy"))
    nbformat.write(notebook(new_code_cell("1")), course / "00_one.ipynb")
    assert run_course.main([]) == 0


def test_outputs_are_cleaned_of_what_does_not_last(tmp_path):
    cell = new_code_cell("x", metadata={"tags": ["t"], "papermill": {"duration": 1}}, execution_count=1)
    cell.outputs = [
        new_output("stream", name="stderr", text="  3%|▎   | 1/30 [00:01<00:29]\n100%|███| 30/30\n"),
        new_output(
            "stream", name="stdout", text=f"saved to {run_course.ROOT}/runs/small/model\n50%|# | 1/2\n"
        ),
        new_output("display_data", data={outputs.WIDGET: {}, "text/plain": "HBox()"}),
        new_output("execute_result", data={"text/plain": "<object at 0x7f00deadbeef>"}, execution_count=1),
    ]
    injected = new_code_cell("PROFILE = 1", metadata={"tags": ["injected-parameters"]}, execution_count=1)
    cell.execution_count = cell.outputs[-1].execution_count = 2
    made = notebook(injected, cell)
    made.metadata.update({"widgets": {}, "papermill": {"start_time": "now"}})
    outputs.clean(made)
    assert set(made.metadata) == {"kernelspec", "language_info"}
    assert len(made.cells) == 1
    assert made.cells[0].metadata == {"tags": ["t"]}
    assert made.cells[0].execution_count == made.cells[0].outputs[-1].execution_count == 1
    assert [output.get("text") or output.data["text/plain"] for output in made.cells[0].outputs] == [
        "saved to runs/small/model\n",
        "<object at 0x...>",
    ]
    outputs.write_notebook(made, tmp_path / "n.ipynb")
    assert nbformat.read(tmp_path / "n.ipynb", as_version=4).cells[0].source == "x"


def test_make_says_what_is_wrong_with_another_python(tmp_path):
    python = tmp_path / "python2.7"
    python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 2.7.18"\nexit 1\n')
    python.chmod(0o755)
    command = ["make", "course", f"PYTHON={python}", f"VENV={tmp_path}/venv"]
    shown = subprocess.run(command, cwd=run_course.ROOT, capture_output=True, text=True)
    assert shown.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13" in shown.stdout
    assert "Python 2.7.18" in shown.stdout


def test_a_profile_of_cut_sizes_asks_for_no_gpu(course, monkeypatch, capsys):
    checked = []
    monkeypatch.setattr(run_course, "check_profile", lambda profile, **_: checked.append(profile.needs_gpu))
    nbformat.write(notebook(parameters('PROFILE = "small"\nCUT_SIZES = None')), course / "00_one.ipynb")
    command = ["--profile", "full-dry", "00"]
    assert run_course.main([*command, "-p", "CUT_SIZES", "16"]) == 0
    assert run_course.main(command) == 0
    assert checked == [False, True]
    assert run_course.main(["00", "-p", "CUT_SIZES", "16"]) == 2
    assert "cut_sizes is for a profile with random weights" in capsys.readouterr().err


def test_wrong_values_are_said_before_any_notebook_runs(course, capsys):
    nbformat.write(notebook(parameters("BATCH_SIZE = None\nSEED = None")), course / "00_one.ipynb")
    for value, wanted in (("abc", "'abc'"), ("nan", "'nan'"), ("2.5", "2.5"), ("0", "0")):
        assert run_course.main(["00", "-p", "BATCH_SIZE", value]) == 2
        assert f"batch_size must be a whole number above 0, not {wanted}" in capsys.readouterr().err


def test_none_on_the_command_line_is_none(course):
    cells = (parameters("SEED = 7"), new_code_cell("assert SEED is None"))
    nbformat.write(notebook(*cells), course / "00_one.ipynb")
    assert run_course.main(["00", "-p", "SEED", "None"]) == 0


def test_a_console_that_cannot_print_a_sign_shows_the_message(tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "tools/run_course.py", "\u7ae0"]
    shown = subprocess.run(command, cwd=run_course.ROOT, env=environment, capture_output=True, text=True)
    assert shown.returncode == 2
    assert "No notebook starts with" in shown.stderr and "Traceback" not in shown.stderr
