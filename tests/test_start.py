"""helpers.course.start: one call that starts a notebook, and what it says about packages."""

import random
import sys
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest

from helpers.course import begin, start
from helpers.course.profiles import get_profile
from tools import readiness


@pytest.fixture(autouse=True)
def runs(monkeypatch, tmp_path):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    return tmp_path


def test_begin_checks_seeds_and_makes_the_folder(runs, capsys):
    profile, section, output_dir = begin("04_train_embedding", "small", seed=7, batch_size=None)
    drawn = random.random()
    assert profile == get_profile("small", seed=7)
    assert output_dir == runs / "small" / "04_train_embedding" and output_dir.is_dir()
    assert section.notebook == "04_train_embedding"
    shown = capsys.readouterr().out
    assert shown.startswith("profile: small\nmodel: data/checkpoints/small-embedding\nPython: 3.")
    begin("04_train_embedding", "small", seed=7)
    assert random.random() == drawn


def test_a_tier_is_looked_for_where_the_profile_has_one(monkeypatch):
    monkeypatch.setattr(readiness, "check_profile", lambda *args: None)
    monkeypatch.setattr(start.hardware, "tier", lambda: "16gb")
    assert begin("04_train_embedding", "full", resume=None, live=True).profile.dtype == "float16"
    assert begin("04_train_embedding", "full", tier="24gb").profile.dtype == "bfloat16"
    monkeypatch.setattr(start.hardware, "tier", lambda: pytest.fail("nothing to look for"))
    assert begin("04_train_embedding", "small").profile.tier is None


def test_random_weights_are_built_once(monkeypatch, runs):
    built = []
    monkeypatch.setattr("tools.random_model.build", lambda *arguments: built.append(arguments))
    begin("04_train_embedding", "full-dry", cut_sizes=16)
    assert built == [(runs / "full-dry" / "random-qwen3-vl-2b-cut-16", 16)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profile": "huge"}, "no profile 'huge'"),
        ({"profile": "small", "batch_size": 2.5}, "batch_size must be a whole number above 0, not 2.5"),
        ({"profile": "small", "tier": "8gb"}, "no tier '8gb'"),
        ({"profile": "small", "max_steps": 0}, "max_steps must be a whole number above 0 or None, not 0"),
        ({"profile": "small", "batch_size": "abc"}, "batch_size must be a whole number above 0, not 'abc'"),
        ({"profile": "small", "matryoshka_dims": "256,128"}, "must be a list of whole numbers .* '256,128'"),
        ({"profile": "small", "allow_cpu": "False"}, "ALLOW_CPU must be True or False, not 'False'"),
        ({"profile": "small", "push_to_hub": "no"}, "PUSH_TO_HUB must be True or False, not 'no'"),
        ({"profile": "small", "resume": "None"}, "RESUME must be True or False, not 'None'"),
        ({"profile": "small", "steps": 0}, "STEPS must be a number above 0, not 0"),
        ({"profile": "small", "minutes": "2"}, "MINUTES must be a number above 0, not '2'"),
    ],
)
def test_wrong_arguments_stop_before_anything_is_written(arguments, message, runs):
    with pytest.raises(ValueError, match=message):
        begin("04_train_embedding", **arguments)
    assert not list(runs.iterdir())


def test_a_package_loaded_in_another_version_asks_for_a_restart(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", SimpleNamespace(__version__="1.0"))
    with pytest.raises(RuntimeError, match="numpy 1.0 is still loaded: restart the kernel, run this again"):
        begin("00_start_here", "small")


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    version = readiness.version

    def without_peft(name):
        if name == "peft":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(readiness, "version", without_peft)
    with pytest.raises(RuntimeError, match="^peft not installed: run `.*pip install -r .*requirements.txt`"):
        begin("00_start_here", "small")


def test_the_librarys_note_that_queries_get_a_prompt_is_not_shown_as_a_warning(caplog):
    import logging

    begin("04_train_embedding", "small")
    log = logging.getLogger("sentence_transformers.base.model")
    log.propagate = True
    log.warning("Default prompt name is set to 'query'. This prompt applies unless overridden.")
    log.warning("something else")
    assert [record.message for record in caplog.records] == ["something else"]
