"""tools.measurements: one reader for what was measured before."""

import pytest

from tools import measurements


def test_reads_every_file_there_is():
    for file in measurements.FOLDER.glob("*.json"):
        assert measurements.read(file.stem)


def test_missing_and_broken_files(tmp_path, monkeypatch):
    monkeypatch.setattr(measurements, "FOLDER", tmp_path)
    (tmp_path / "seeds.json").write_text("{")
    with pytest.raises(ValueError, match="sizes.json cannot be read .*No such file.*git checkout"):
        measurements.read("sizes")
    with pytest.raises(ValueError, match="measurements/seeds.json cannot be read.*git checkout"):
        measurements.read("seeds")


def test_runs_of_a_sweep_by_setting():
    runs = {"scale 5": {"n": 1}, "two passes": {"n": 2}, "scale 5, seed 1": {"n": 3}, "scale 50": {"n": 4}}
    assert measurements.by_setting(runs) == {
        "scale 5": [{"n": 1}, {"n": 3}],
        "two passes": [{"n": 2}],
        "scale 50": [{"n": 4}],
    }
