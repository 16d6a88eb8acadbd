"""README is in step with the committed measurements, and its claims about files hold."""

import json
import re

import pytest

from helpers import ledger
from helpers.profiles import ROOT, get_profile, weights_id
from tools import readme

TEXT = readme.README.read_text(encoding="utf-8")


def test_generated_parts_are_in_step():
    assert readme.generated(TEXT) == TEXT, "run `make readme`"


def test_links_to_files_hold():
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", TEXT):
        assert (ROOT / target).exists(), target


def test_make_targets_it_names_exist():
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`(?:PROFILE=\w+ )?make (\w+)", TEXT)):
        assert re.search(rf"^{target}:", rules, flags=re.MULTILINE), target


@pytest.fixture
def measured(tmp_path):
    section = {
        "seconds": 65.0,
        "peak_memory_mb": 1234.0,
        "device": "cpu (2 cores)",
        "versions": {"torch": "2"},
        "seed": 1,
    }
    results = {"04_train_embedding": section | {"ndcg@10": {"base": 0.5, "finetuned": 0.8}}}
    file = tmp_path / "small.json"
    ledger.write_json(file, {"schema": ledger.SCHEMA, "profile": "small"} | results)
    return file


def test_parts_come_from_the_ledger_and_the_notebooks(measured, tmp_path):
    part = readme.results_part(measured, tmp_path / "none.json")
    assert "| Retrieve | retriever, fine-tuned | 0.800 |" in part
    assert part.endswith("Profile `small`, cpu (2 cores), seed 1; torch 2.")
    cells = [
        {
            "cell_type": "markdown",
            "source": ["# 4 · Fine-tune a retriever\n", "\n", "Train *it* in\n", "minutes.\n"],
        }
    ]
    (tmp_path / "04_train_embedding.ipynb").write_text(json.dumps({"cells": cells}))
    table = readme.map_part(measured, tmp_path)
    assert "| **Fine-tune a retriever.** Train it in minutes. | 65 s | 1.2 GB |" in table


def test_speed_comes_from_the_benchmarks(tmp_path):
    way = {"pages_per_second": 10.0, "dev_ndcg@10": 0.5, "peak_memory_mb": 2000.0}
    course = way | {"pages_per_second": 40.0}
    slower = way | {"pages_per_second": 20.0}
    found = {
        "ratio": 4.0,
        "rows": 960,
        "device": "cpu",
        "article": way,
        "course": course,
        "with less": slower,
    }
    ledger.write_json(tmp_path / "training_speed.json", found)
    part = readme.speed_part(tmp_path)
    assert "40.0 pages a second against 10.0" in part and "**4.0 times**" in part
    assert "| with less | 20.0 | 50% | 2.0 GB |" in part and "Evaluating" not in part
    step = {"batch": 8, "seconds": {"reading pages": 0.5, "the rest": 1.5}, "operations": {"products": 1.0}}
    ledger.write_json(tmp_path / "step_time.json", step)
    part = readme.speed_part(tmp_path)
    assert "of 8 pages takes 2.0 s: reading pages 25%, the rest 75%. Of its operations, products 100%" in part


@pytest.mark.parametrize("name", ["training_speed", "evaluation_speed"])
def test_speed_was_measured_on_the_shipped_checkpoint(name):
    found = json.loads((readme.MEASURED.parent / f"{name}.json").read_text(encoding="utf-8"))
    assert found["checkpoint"] == weights_id(get_profile("small"))


def test_without_measurements_it_says_so(tmp_path):
    assert readme.speed_part(tmp_path) == readme.NOT_MEASURED
    assert readme.results_part(tmp_path / "none.json") == readme.NOT_MEASURED
    assert readme.map_part(tmp_path / "none.json", tmp_path) == readme.NOT_MEASURED


def test_markers_must_be_there():
    with pytest.raises(ValueError, match="results:begin"):
        readme.generated("# no markers")
