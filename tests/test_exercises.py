"""Every exercise has a solution, and the solution solves it."""

import json
import re

import pytest

from tests.conftest import NOTEBOOKS
from tests.test_checks import papermill

YOUR_TURN = re.compile(r"^(\s*).*# your turn.*$", re.MULTILINE)
SOLUTION = re.compile(
    r"<details><summary>Solution</summary>\s*(?:```python\n(.*?)\n```|`([^`]+)`)\s*</details>", re.DOTALL
)
SHORT = {"TRAIN_ROWS": 32, "BATCH_SIZE": 4, "MAX_STEPS": 2}
#: What makes a notebook that trains a short one. 06 is not run here: it takes minutes with any parameters.
PARAMETERS = {
    "04_train_embedding": SHORT,
    "appendix_lora": SHORT,
    "appendix_scale_out": {"STEPS": 1},
    "appendix_ablations": {"LIVE": False},
    "appendix_sabotage": {"LIVE": False},
    "appendix_small_checkpoint": {"MINUTES": 0.03},
}


def solved(file) -> tuple[dict, int]:
    """The notebook with every solution in its exercise's place, and their number."""
    notebook = json.loads(file.read_text(encoding="utf-8"))
    count, cells = 0, notebook["cells"]
    for cell, following in zip(cells, cells[1:]):
        place = YOUR_TURN.search("".join(cell["source"])) if cell["cell_type"] == "code" else None
        if not place:
            continue
        found = SOLUTION.findall("".join(following["source"]))
        assert len(found) == 1, f"{file.name}: no solution below exercise {count + 1}"
        lines = (found[0][0] or found[0][1]).split("\n")
        solution = "\n".join(place[1] + line for line in lines)
        source = "".join(cell["source"])
        cell["source"] = source[: place.start()] + solution + source[place.end() :]
        count += 1
    return notebook, count


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_exercise_has_a_solution(file):
    notebook, count = solved(file)
    asked = [cell for cell in notebook["cells"] if "not solved yet" in "".join(cell["source"])]
    assert count == len(asked) >= 1
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), file.name, "exec")


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", [file for file in NOTEBOOKS if not file.stem.startswith("06")], ids=lambda file: file.stem
)
def test_the_solutions_solve_the_exercises(file, tmp_path):
    notebook, count = solved(file)
    copy = tmp_path / file.name
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    shown = papermill(copy, tmp_path, **PARAMETERS.get(file.stem, {}))
    assert "Traceback" not in shown, shown[-3000:]
    outputs = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    said = "".join("".join(output.get("text", "")) for cell in outputs for output in cell.get("outputs", []))
    for number in range(1, count + 1):
        assert f"Exercise {number}: right." in said
