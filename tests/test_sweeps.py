"""The sweep: what it runs, that it goes on where it stopped, and that its file is of these settings."""

import json
from dataclasses import asdict

import pytest

from tools import sweeps

FIGURES = {"dev_ndcg@10_before": 0.4, "dev_ndcg@10": 0.5, "seconds": 60.0, "peak_memory_mb": 3000.0}


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "FILE", tmp_path / "sweeps.json")
    return tmp_path / "sweeps.json"


def test_each_run_changes_one_thing():
    first, *others = sweeps.RUNS.values()
    for settings in others:
        changed = {name for name, value in asdict(settings).items() if value != asdict(first)[name]}
        assert len(changed - {"mini_batch", "hardness_strength"}) == 1, changed


def test_goes_on_where_it_stopped(file, monkeypatch, capsys):
    measured = []
    monkeypatch.setattr(sweeps, "measure", lambda name: measured.append(name) or FIGURES)
    assert sweeps.main(["--only", "scale 5", "scale 10"]) == 0
    assert sweeps.main(["--only", "scale 10", "scale 50"]) == 0
    assert measured == ["scale 5", "scale 10", "scale 50"]
    assert "scale 10: measured already" in capsys.readouterr().out
    assert list(sweeps.load(file)) == ["scale 5", "scale 10", "scale 50"]


def test_a_file_of_other_settings_is_refused(file, capsys):
    settings = asdict(sweeps.RUNS["scale 5"]) | {"rows": 1}
    file.write_text(json.dumps({"runs": {"scale 5": {"settings": settings, **FIGURES}}}))
    assert sweeps.main(["--only", "scale 10"]) == 2
    assert "'scale 5' with other settings than now" in capsys.readouterr().err
    file.write_text("{}")
    assert sweeps.main([]) == 2
    assert "does not hold a sweep" in capsys.readouterr().err


def test_committed_figures_are_of_these_runs():
    runs = sweeps.load(sweeps.FILE)
    assert list(runs) == list(sweeps.RUNS)
    assert all(0 < run["dev_ndcg@10"] < 1 for run in runs.values())
