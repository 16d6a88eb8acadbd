"""The ledger: written whole or not at all, older forms refused, README's table made from it."""

import json

import numpy as np
import pytest

from helpers import ledger
from helpers.profiles import PROFILES

SMALL = PROFILES["small"]


@pytest.fixture(autouse=True)
def runs(monkeypatch, tmp_path):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    return tmp_path


def test_a_section_is_written_at_finish_and_others_are_kept():
    section = ledger.start("04_train_embedding", SMALL)
    section.record("ndcg@10", base=0.5)
    section.record("ndcg@10", finetuned=np.float32(0.75))
    section.record("train_seconds", 12.5)
    section.update({"dims": np.array([64, 32]), "note": "x"})
    assert ledger.read(SMALL) == {}
    section.finish()
    ledger.start("05_evaluate", SMALL).finish()
    results = ledger.read(SMALL)
    assert list(results) == ["04_train_embedding", "05_evaluate"]
    written = results["04_train_embedding"]
    assert written["ndcg@10"] == {"base": 0.5, "finetuned": 0.75}
    assert written["dims"] == [64, 32]
    assert {"seconds", "peak_memory_mb", "device", "versions", "seed"} <= set(written)
    assert written["peak_memory_mb"] > 1
    assert written["versions"]["sentence-transformers"]
    assert json.loads(ledger.path(SMALL).read_text())["schema"] == ledger.SCHEMA


def test_with_form_finishes_only_without_an_error():
    with pytest.raises(KeyError), ledger.section("00_start_here", SMALL):
        raise KeyError
    assert ledger.read(SMALL) == {}
    with ledger.section("00_start_here", SMALL) as out:
        out.record("pages", 3)
    assert ledger.read(SMALL)["00_start_here"]["pages"] == 3


def test_a_failed_write_leaves_the_old_file(monkeypatch, runs):
    ledger.start("00_start_here", SMALL).finish()
    before = ledger.path(SMALL).read_text()
    monkeypatch.setattr("os.replace", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        ledger.start("05_evaluate", SMALL).finish()
    assert ledger.path(SMALL).read_text() == before
    assert [file.name for file in ledger.path(SMALL).parent.iterdir()] == ["results.json"]


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), {"a": [float("nan")]}, object()])
def test_figures_without_meaning_are_refused_by_name(value):
    with pytest.raises(ValueError, match="train_seconds"):
        ledger.start("04_train_embedding", SMALL).record("train_seconds", value)


def test_record_takes_a_value_or_parts():
    with pytest.raises(ValueError, match="either one value or named parts"):
        ledger.start("04_train_embedding", SMALL).record("ndcg@10")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"04_train_embedding": {}}', "older form .*make course"),
        ('{"schema": 0}', "older form .schema 0"),
        ("[]", "older form"),
        ('{"schema": 99}', "newer version.*git pull"),
        ('{"schema": 1, ', "not readable JSON.*make course"),
    ],
)
def test_other_forms_are_refused_before_any_work(text, message):
    file = ledger.path(SMALL)
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        ledger.start("04_train_embedding", SMALL)
    assert str(file) in str(caught.value)
    assert file.read_text() == text


RESULTS = {
    "04_train_embedding": {"ndcg@10": {"base": 0.61, "finetuned": 0.83}, "train_seconds": 200.4},
    "05_evaluate": {
        "ndcg@10": {"base": {"256": 0.61}, "finetuned": {"256": 0.83, "64": 0.8, "16": 0.7}, "bm25": 0.5},
        "ci95": {"gain": [0.22, 0.18, 0.26]},
    },
    "06_train_reranker": {
        "ndcg@10": {
            "retriever": 0.83,
            "any_to_any": {"base": 0.4, "finetuned": 0.81},
            "feature_extraction": {"base": 0.3, "finetuned": 0.79},
            "any_to_any_mixed": 0.85,
        },
        "ci95": {"any_to_any": [-0.02, -0.05, 0.01], "any_to_any_mixed": [0.005, 0.035]},
    },
    "appendix_ablations": {
        "ndcg@10_other": {"base": 0.6, "finetuned": 0.58}, "ci95": {"other": [-0.02, -0.07, 0.03]},
    },
}  # fmt: skip


def test_results_table_shows_before_and_after():
    table = ledger.results_table(RESULTS, {"finetuned": [0.82, 0.84]})
    assert "| Retrieve | retriever, base | 0.610 |" in table
    assert "retriever, fine-tuned | 0.830 | trained in 200 s; gain, 95 % interval +0.180 to +0.260 |" in table
    assert "mean of 2 seeds | 0.830 | standard deviation 0.014 |" in table
    several = ledger.results_table(RESULTS, {"base": [0.6, 0.62], "finetuned": [0.82, 0.84]})
    assert "standard deviation 0.014; 56% of the base's error, 1 - NDCG@10, is gone |" in several
    assert "first 16 of 256 dimensions | 0.700 | 84.3% of the score of all |" in table
    assert "base, on pages of other kinds | 0.600 |  |" in table
    assert "fine-tuned, on pages of other kinds | 0.580 | change, 95 % interval -0.070 to +0.030 |" in table
    assert "| Rerank | any-to-any reranker, before fine-tuning | 0.400 |" in table
    assert (
        "any-to-any reranker, fine-tuned | 0.810 | against the retriever's order, 95 % interval -0.050 to"
        in table
    )
    added = (
        "| Rerank | any-to-any reranker + retriever's similarity | 0.850 | against the retriever's order, "
    )
    assert f"{added}95 % interval +0.005 to +0.035 |" in table
    adapter = {
        "ndcg@10": {"LoRA": 0.84}, "share_of_gain": 1.05, "passes": 4,
        "passes_of_all_weights": 1, "ci95": {"against": [0.01, -0.02, 0.04]},
    }  # fmt: skip
    assert (
        "LoRA adapter only | 0.840 | 105% of the gain, in 4 passes over the rows (all weights: 1); against "
        "all weights, 95 % interval -0.020 to +0.040 |"
    ) in ledger.results_table(RESULTS | {"appendix_lora": adapter})
    assert "feature-extraction reranker + " not in table, "what was not measured is not shown"
    assert all(line.count("|") == 5 for line in table.splitlines())


def test_results_table_of_a_part_or_of_nothing():
    assert ledger.results_table({}) == "No results yet: run `make course`."
    part = ledger.results_table({"06_train_reranker": RESULTS["06_train_reranker"]})
    assert "retriever, base" not in part
    assert "own order | 0.830" in part


def test_runs_of_a_sweep_by_setting():
    runs = {"scale 5": {"n": 1}, "two passes": {"n": 2}, "scale 5, seed 1": {"n": 3}, "scale 50": {"n": 4}}
    assert ledger.by_setting(runs) == {
        "scale 5": [{"n": 1}, {"n": 3}],
        "two passes": [{"n": 2}],
        "scale 50": [{"n": 4}],
    }


def test_an_interval_that_touches_0_shows_its_sign():
    assert ledger._interval([-0.0004, 0.0312]) == "-0.0004 to +0.031"
    assert ledger._interval([0.5, 0.0005, 0.0312]) == "+0.001 to +0.031"
