"""tools/openings.py: each notebook says where a reader is and how long it takes, as generated."""

import json
import re

import pytest

from helpers.course import ledger
from helpers.files import write_json
from tests.conftest import NOTEBOOKS
from tools import openings

each_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def read(file) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))


@each_notebook
def test_openings_are_in_step(file):
    assert openings.opened(read(file), file.stem) == read(file), "run `make readme`"


@each_notebook
def test_the_place_is_said_once_below_the_promise(file):
    first = "".join(read(file)["cells"][0]["source"]).split("\n\n")
    assert first[2] == openings.place(file.stem)
    text = file.read_text(encoding="utf-8")
    assert text.count(openings.BEGIN) == text.count("**Time**: ") == 1


def test_every_notebook_is_on_the_path_or_branches_off():
    numbered = [file.stem for file in NOTEBOOKS if re.match(r"\d\d_", file.stem)]
    assert list(openings.PATH) == numbered
    assert set(openings.BRANCHES) == {file.stem for file in NOTEBOOKS} - set(numbered)
    assert set(openings.BRANCHES.values()) <= set(numbered)
    assert all(name.startswith(stem[:3].replace("_", " ")) for stem, name in openings.PATH.items())


def test_the_own_place_is_bold_and_the_others_are_links():
    line = openings.place("02_build_dataset")
    assert line.startswith(
        "pages → [00 first search](00_start_here.ipynb) → [01 models](01_load_models.ipynb)"
    )
    assert " → **02 data set** → [03 loss](03_choose_loss.ipynb) → " in line
    assert line.count("**") == 2 and line.count("](") == len(openings.PATH) - 1
    branch = openings.place("appendix_ablations")
    assert "[05 evaluation](05_evaluate.ipynb) (**this appendix** branches off here) → [06 " in branch
    assert branch.count("](") == len(openings.PATH)


def test_the_time_comes_from_the_ledger_and_from_what_was_computed(tmp_path):
    section = {"seconds": 65.0, "peak_memory_mb": 1.0, "device": "cpu (2 cores)", "versions": {}, "seed": 1}
    others = {"seconds": 600.0, "device": "NVIDIA L4"}
    results = {"00_start_here": section, "04_train_embedding": section, "05_evaluate": section | others}
    measured, needs = tmp_path / "small.json", tmp_path / "needs.json"
    write_json(measured, {"schema": ledger._SCHEMA, "profile": "small"} | results)
    tiers = {"16gb": {"hours": 2.07}, "24gb": {"hours": 1.1}, "80gb": {"hours": 0.56}}
    write_json(needs, {"needs": {"04_train_embedding": tiers, "03_choose_loss": {"16gb": {"hours": 0.01}}}})
    found = {stem: openings.time(stem, measured, needs) for stem in (*results, "03_choose_loss")}
    assert found == {
        "00_start_here": "**Time**: 65 s on two CPU cores.",
        "04_train_embedding": "**Time**: 65 s on two CPU cores; on `full` "
        "[34 min to 2.1 h, computed](../docs/profiles.md#what-a-gpu-needs).",
        "05_evaluate": "**Time**: 10 min on NVIDIA L4.",
        "03_choose_loss": "**Time**: not measured yet.",
    }


def notebook(*texts: str) -> dict:
    cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": [text]} for text in texts]
    return {"cells": cells}


def test_what_stands_there_is_replaced_and_the_rest_stays():
    made = openings.opened(notebook("# 0\n\nA promise.\n\n**Time**: long.", "text"), "00_start_here")
    first, second = ("".join(cell["source"]) for cell in made["cells"])
    assert first.startswith("# 0\n\nA promise.\n\npages → **00 first search** → ")
    assert "long" not in first and "\n\n**Time**: " in first and second == "text"
    assert openings.opened(made, "00_start_here") == made
    assert openings.place("01_load_models") in str(openings.opened(made, "01_load_models"))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("# only a title", "**Time**: 1 s"), "does not begin with a title and a promise"),
        (("no title\n\n**Time**: 1 s",), "does not begin with a title and a promise"),
        (("# 0\n\nA promise.",), "has 0 lines"),
        (("# 0\n\nA promise.\n\n**Time**: 1 s", "**Time**: 2 s"), "has 2 lines"),
    ],
)
def test_an_opening_of_another_form_stops(texts, message):
    with pytest.raises(ValueError, match=message):
        openings.opened(notebook(*texts), "00_start_here")


def test_the_check_names_what_is_out_of_step(monkeypatch, tmp_path, capsys):
    file = tmp_path / "00_start_here.ipynb"
    file.write_text(json.dumps(notebook("# 0\n\nA promise.\n\n**Time**: long.")), encoding="utf-8")
    monkeypatch.setattr(openings, "NOTEBOOKS", tmp_path)
    assert openings.main(["--check"]) == 1 and "long" in file.read_text(encoding="utf-8")
    assert "Out of step: 00_start_here.ipynb. Run `make readme`." in capsys.readouterr().out
    assert openings.main([]) == 0 and openings.main(["--check"]) == 0
