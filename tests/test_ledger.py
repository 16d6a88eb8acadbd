"""The ledger: written whole or not at all, older forms refused."""

import json

import numpy as np
import pytest

from helpers.course import ledger
from helpers.course.profiles import PROFILES

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
    assert json.loads(ledger.path(SMALL).read_text())["schema"] == ledger._SCHEMA


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
