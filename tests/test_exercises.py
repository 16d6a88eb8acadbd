"""Every exercise has a solution, the solution solves it, and its check rejects three wrong answers."""

import ast
import builtins
import json

import pytest

from tests.conftest import NOTEBOOKS, YOUR_TURN, filled, solved
from tests.test_checks import papermill
from tests.wrong_answers import WRONG, _judged, proof, proven

#: What makes an appendix that trains a short one.
PARAMETERS = {
    "appendix_build_models": {"TRAIN_ROWS": 32, "BATCH_SIZE": 4, "MAX_STEPS": 2},
    "appendix_lora": {"TRAIN_ROWS": 32, "BATCH_SIZE": 4, "MAX_STEPS": 2},
    "appendix_scale_out": {"STEPS": 1},
    "appendix_ablations": {"LIVE": False},
    "appendix_sabotage": {"LIVE": False},
    "appendix_small_checkpoint": {"MINUTES": 0.03},
}
each_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def said(file) -> str:
    """All that the cells of an executed notebook have printed."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))


def sources(notebook: dict) -> list[str]:
    """The code cells of a notebook."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def exercises(file) -> list[str]:
    """The cells of a notebook's exercises, as a reader finds them."""
    return [source for source in sources(json.loads(file.read_text())) if YOUR_TURN.search(source)]


@each_notebook
def test_every_exercise_has_a_solution(file):
    notebook, count = solved(file)
    asked = [source for source in exercises(file) if "not solved yet" in source]
    assert count == len(asked) >= 1
    for source in sources(notebook):
        compile(source, file.name, "exec")


def bound(source: str) -> set[str]:
    """The names that a cell binds anywhere in it, arguments of functions included."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
    return names


@each_notebook
def test_wrong_answers_are_three_and_of_names_that_are_there(file):
    asked, wrong = exercises(file), WRONG[file.stem]
    assert len(wrong) == len(asked)
    known, right = set(dir(builtins)), iter(sources(solved(file)[0]))
    for source, answers in zip(asked, wrong):
        for solution in right:  # up to the exercise, and its solution
            known |= bound(solution)
            if "Exercise" in solution:
                break
        assert len(set(answers)) == len(answers) == 3
        for answer in answers:
            trial = filled(source, answer)
            assert trial != solution
            used = {node.id for node in ast.walk(ast.parse(trial)) if isinstance(node, ast.Name)}
            assert used <= known | bound(trial), used - known - bound(trial)


@each_notebook
def test_a_check_says_not_yet(file):
    for source in exercises(file):
        asserts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
        assert asserts
        for node in asserts:
            assert node.msg and ast.unparse(node.msg).lstrip("f")[1:].startswith("Not yet"), ast.unparse(node)


CHECK = 'if answer is None:\n    print("Exercise 1: not solved yet.")\nelse:\n    {}\n    print("right.")\n'


@pytest.mark.parametrize(
    ("check", "answer", "found"),
    [
        ('assert answer == 1, "Not yet."', "answer = 2", "rejected"),
        ('assert answer > 0, "Not yet."', "answer = 2", "not rejected, it said: right."),
        ('assert answer == 1, "Not yet."', "", "not rejected, it said: Exercise 1: not solved yet."),
        ('assert answer == 1, "Wrong."', "answer = 2", "an AssertionError that says: Wrong."),
        ('assert answer[0] == 1, "Not yet."', "answer = 2", "TypeError: 'int' object is not subscriptable"),
        ('assert answer == 1, "Not yet."', "answer = one", "NameError: name 'one' is not defined"),
    ],
)
def test_what_a_check_does_with_a_wrong_answer_is_told_apart(check, answer, found):
    source = filled("answer = None  # your turn\n\n" + CHECK.format(check), answer or "answer = None")
    assert _judged(source, {}) == found


def test_the_proof_leaves_the_notebook_as_it_is(capsys):
    check = "answer = None  # your turn\n\n" + CHECK.format('assert answer == len(pages), "Not yet."')
    names = {"pages": [1, 2]}
    exec(proof(4, [filled(check, f"answer = {answer}") for answer in (0, 1, 3)]), names)
    assert capsys.readouterr().out.strip() == proven(4)
    assert set(names) - {"__builtins__"} == {"pages", "contextlib", "io"}
    exec(proof(4, [filled(check, f"answer = {answer}") for answer in (0, 2, "pages[2]")]), names)
    assert capsys.readouterr().out.splitlines() == [
        "Exercise 4 rejects 1 of 3 wrong answers",
        "not rejected, it said: right.",
        "IndexError: list index out of range",
    ]


@pytest.mark.slow
@each_notebook
def test_the_solutions_solve_the_exercises(file, course, tmp_path):
    """And the checks reject wrong answers. Notebooks 00 to 06 have run with both already; an appendix runs
    now, on what those have left.
    """
    if file.stem.startswith(("07", "08", "09", "10")):
        pytest.skip("it runs on a folder of PDF files, in test_own_pdfs")
    notebook, count = solved(file, WRONG)
    executed = course.folder / file.name
    if file.stem.startswith("appendix"):
        executed = tmp_path / file.name
        executed.write_text(json.dumps(notebook), encoding="utf-8")
        shown = papermill(executed, course.folder.parent, **PARAMETERS.get(file.stem, {}))
        assert "Traceback" not in shown, shown[-3000:]
    text = said(executed)
    for number in range(1, count + 1):
        assert f"Exercise {number}: right." in text
        assert proven(number) in text, text[text.index(f"Exercise {number} rejects") :][:1000]
