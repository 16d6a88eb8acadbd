"""The ledger: written whole or not at all, older forms refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from helpers.course import ledger
from helpers.course.profiles import PROFILES, ROOT

SMALL = PROFILES["small"]


@pytest.fixture(autouse=True)
def runs(monkeypatch, tmp_path):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    return tmp_path


def test_a_section_is_written_at_finish_and_others_are_kept():
    section = ledger.Section("04_train_embedding", SMALL)
    section.record("ndcg@10", base=0.5)
    section.record("ndcg@10", finetuned=np.float32(0.75))
    section.record("train_seconds", 12.5)
    section.update({"dims": np.array([64, 32]), "note": "x"})
    assert ledger.read(SMALL) == {}
    section.finish()
    ledger.Section("05_evaluate", SMALL).finish()
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
    ledger.Section("00_start_here", SMALL).finish()
    before = ledger.path(SMALL).read_text()
    monkeypatch.setattr("os.replace", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        ledger.Section("05_evaluate", SMALL).finish()
    assert ledger.path(SMALL).read_text() == before
    assert [file.name for file in ledger.path(SMALL).parent.glob("[!.]*")] == ["results.json"]


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), {"a": [float("nan")]}, object()])
def test_figures_without_meaning_are_refused_by_name(value):
    with pytest.raises(ValueError, match="train_seconds"):
        ledger.Section("04_train_embedding", SMALL).record("train_seconds", value)


def test_record_takes_a_value_or_parts():
    with pytest.raises(ValueError, match="either one value or named parts"):
        ledger.Section("04_train_embedding", SMALL).record("ndcg@10")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"04_train_embedding": {}}', "another form .*make course"),
        ('{"schema": 0}', "another form .schema 0"),
        ("[]", "another form"),
        ('{"schema": 99}', "another form .schema 99.*git pull"),
        ('{"schema": 1, ', "not readable JSON.*make course"),
    ],
)
def test_other_forms_are_refused_before_any_work(text, message):
    file = ledger.path(SMALL)
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        ledger.Section("04_train_embedding", SMALL)
    assert str(file) in str(caught.value)
    assert file.read_text() == text


def test_notebooks_that_finish_at_once_keep_one_anothers_sections(tmp_path):
    """Eight processes finish five sections each."""
    code = (
        "import sys\nfrom helpers.course import ledger\nfrom helpers.course.profiles import PROFILES\n"
        "for i in range(5): ledger.Section(f'{sys.argv[1]}-{i}', PROFILES['small']).finish()"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "VDR_COURSE_RUNS": str(tmp_path)}
    started = [subprocess.Popen([sys.executable, "-c", code, str(i)], env=environment) for i in range(8)]
    assert [one.wait() for one in started] == [0] * 8
    assert len(ledger.load(tmp_path / "small" / "results.json")) == 40
