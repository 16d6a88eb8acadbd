"""The sweeps: what they run, that they go on where they stopped, and that their files are of these runs."""

import json
from dataclasses import asdict

import pytest

from helpers.course.profiles import get_profile
from tools import encode, sweeps
from tools.fine_tune import FAULTS, ShortTraining, fine_tune, held

FIGURES = {"dev_ndcg@10_before": 0.4, "dev_ndcg@10": 0.5, "seconds": 60.0, "peak_memory_mb": 3000.0}
LOSSES = sweeps.TABLES["losses"]


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps, "FOLDER", tmp_path)
    return tmp_path / "losses.json"


def test_each_run_changes_one_thing():
    like = {"1 hard negative, weighted": LOSSES["1 hard negative"]}
    for name, settings in (LOSSES | sweeps.TABLES["sabotage"]).items():
        if settings == sweeps.FIRST:
            continue
        same = name.split(", seed ")[0]  # another seed of that run
        first = LOSSES[same] if same != name else like.get(name, sweeps.FIRST)
        changed = {name for name, value in asdict(settings).items() if value != asdict(first)[name]}
        assert len(changed - {"mini_batch", "hardness_strength"}) == 1, changed


def test_what_is_reported_differs_in_one_thing_too():
    runs = sweeps.TABLES["transfer"]
    whole = asdict(sweeps.WHOLE)
    for name in ("weights in bfloat16", "without a third of the terms", "without as many rows"):
        assert len({key for key, value in asdict(runs[name]).items() if value != whole[key]}) == 1
    one, same_pages, same_steps = (runs[f"batches of {name}"] for name in (
        "32, two passes", "64, two passes", "64, four passes"))  # fmt: skip
    assert one.batch * 2 == same_pages.batch and one.epochs == same_pages.epochs
    assert one.epochs / one.batch == same_steps.epochs / same_steps.batch


def test_a_setting_that_is_new_had_its_default_before(file):
    old = {name: value for name, value in asdict(LOSSES["scale 5"]).items() if name != "dtype"}
    content = {"runs": {"scale 5": {"settings": old, **FIGURES}}, "held": held(get_profile("small"))}
    file.write_text(json.dumps(content))
    assert list(sweeps.load("losses")) == ["scale 5"]
    content["runs"]["scale 5"]["settings"] = old | {"dtype": "bfloat16"}
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="with other settings than now"):
        sweeps.load("losses")


def test_goes_on_where_it_stopped(file, monkeypatch, capsys):
    measured = []
    monkeypatch.setattr(sweeps, "measure", lambda table, name, threads: measured.append(name) or FIGURES)
    assert sweeps.main(["--table", "losses", "--only", "scale 5", "scale 20"]) == 0
    assert sweeps.main(["--table", "losses", "--only", "scale 20", "scale 50"]) == 0
    assert measured == ["scale 5", "scale 20", "scale 50"]
    assert "scale 20: measured already" in capsys.readouterr().out
    assert list(sweeps.load("losses")) == ["scale 5", "scale 20", "scale 50"]


def test_unknown_runs(file, capsys):
    with pytest.raises(SystemExit):
        sweeps.main(["--only", "scale 7"])
    assert "there is no run 'scale 7'" in capsys.readouterr().err


def test_a_file_of_other_settings_is_refused(file, capsys):
    now = held(get_profile("small"))
    run = {"settings": asdict(LOSSES["scale 5"]), **FIGURES}
    arguments = ["--table", "losses", "--only", "scale 20"]
    for runs, made_with, message in (
        ({"scale 5": run | {"settings": run["settings"] | {"rows": 1}}}, now, "other settings"),
        ({"scale 5": run}, now | {"checkpoint": "0123456789"}, "measured with checkpoint = 0123456789"),
        ({"scale 5": run}, now | {"scale": 7.0}, "measured with scale = 7.0, and now it is 10.0"),
    ):
        file.write_text(json.dumps({"runs": runs, "held": made_with}))
        assert sweeps.main(arguments) == 2
        assert message in capsys.readouterr().err
    file.write_text("{}")
    assert sweeps.main(arguments) == 2
    assert "does not hold a sweep" in capsys.readouterr().err


@pytest.mark.parametrize("table", sorted(sweeps.TABLES))
def test_committed_figures_are_of_these_runs_and_this_checkpoint(table):
    runs = sweeps.load(table)
    assert list(runs) == list(sweeps.TABLES[table])
    names = ("dev_ndcg@10", "eval_ndcg@10", "ndcg@10")
    scores = {run: next(figures[name] for name in names if name in figures) for run, figures in runs.items()}
    learned = [score for name, score in scores.items() if name != "positives shuffled"]  # that one: 0
    assert all(0 < score < 1 for score in learned)


def test_each_fault_was_caught_by_its_check():
    caught = {fault: set(run["caught"]) for fault, run in sweeps.load("sabotage").items()}
    assert caught["nothing broken"] == set()
    assert caught["no prompt in training"] == {"same_prompts"}
    assert caught["another prompt for queries"] == {"same_prompts"}
    assert caught["positives shuffled"] == {"loss_fell"}
    assert caught["pages of dev trained on"] == {"no_shared_pages"}
    assert {"weights_moved", "embeddings_moved"} <= caught["nothing learned"]
    assert caught["base model scored"] == {"embeddings_moved"}
    assert caught["pages cut off"] == {"page_tokens"}


@pytest.mark.slow
def test_a_prompt_of_scoring_alone_is_caught_before_training():
    figures = fine_tune(ShortTraining(fault="another prompt for queries", rows=64))
    assert "Encode queries with the prompt that they are trained with" in figures["caught"]["same_prompts"]
    assert 0 < figures["dev_ndcg@10_eighth"] < 1


def test_an_unknown_fault_is_named():
    with pytest.raises(ValueError, match="no fault 'rain'.*" + next(iter(FAULTS))):
        fine_tune(ShortTraining(fault="rain"))


def test_weights_between_two_models():
    import torch

    model = torch.nn.Linear(2, 1)
    base = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    own = {name: value.clone() for name, value in model.state_dict().items()}
    encode.interpolate(model, base, 0.25)
    assert all(torch.allclose(value, own[name] / 4) for name, value in model.state_dict().items())
