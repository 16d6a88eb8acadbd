"""Every exercise has a solution, and the solution solves it."""

import json

import pytest

from tests.conftest import NOTEBOOKS, solved
from tests.test_checks import papermill

#: What makes an appendix that trains a short one.
PARAMETERS = {
    "appendix_lora": {"TRAIN_ROWS": 32, "BATCH_SIZE": 4, "MAX_STEPS": 2},
    "appendix_scale_out": {"STEPS": 1},
    "appendix_ablations": {"LIVE": False},
    "appendix_sabotage": {"LIVE": False},
    "appendix_small_checkpoint": {"MINUTES": 0.03},
}


def said(file) -> str:
    """All that the cells of an executed notebook have printed."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_exercise_has_a_solution(file):
    notebook, count = solved(file)
    asked = [cell for cell in notebook["cells"] if "not solved yet" in "".join(cell["source"])]
    assert count == len(asked) >= 1
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), file.name, "exec")


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_solutions_solve_the_exercises(file, course, tmp_path):
    """The numbered notebooks have run with them already; an appendix runs now, on what those have left."""
    if file.stem.startswith("10"):
        pytest.skip("it runs on a folder of PDF files, in test_own_pdfs")
    notebook, count = solved(file)
    executed = course.folder / file.name
    if file.stem.startswith("appendix"):
        executed = tmp_path / file.name
        executed.write_text(json.dumps(notebook), encoding="utf-8")
        shown = papermill(executed, course.folder.parent, **PARAMETERS.get(file.stem, {}))
        assert "Traceback" not in shown, shown[-3000:]
    text = said(executed)
    for number in range(1, count + 1):
        assert f"Exercise {number}: right." in text
