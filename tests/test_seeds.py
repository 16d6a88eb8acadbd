"""tools/seeds.py: goes on where it was, and refuses figures made with other settings."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.course.profiles import get_profile
from helpers.files import write_json
from tools import seeds
from tools.fine_tune import held
from tools.own_process import last_json
from tools.readme import results_table

SECTION = {
    "ndcg@10": {"base": 0.5, "finetuned": 0.8, "finetuned_eighth": 0.7},
    "train_seconds": 10.0,
    "device": "cpu",
    "versions": {},
}


def test_seeds_add_up_in_order_and_are_read_back(tmp_path):
    file, wanted = tmp_path / "seeds.json", held(get_profile("small"))
    measured = seeds.load(file, wanted)
    for seed in (3, 1):
        measured = seeds.add(measured, seed, SECTION)
        write_json(file, measured)
    again = seeds.load(file, wanted)
    assert again == measured
    assert again["seeds"] == [1, 3]
    assert again["finetuned"] == [0.8, 0.8]
    assert "mean of 2 seeds" in results_table({}, again)


def test_other_settings_are_refused(tmp_path):
    file = tmp_path / "seeds.json"
    small = get_profile("small")
    write_json(file, seeds.load(file, held(small)))
    with pytest.raises(ValueError, match="batch_size = .*Move or delete"):
        seeds.load(file, held(get_profile("small", batch_size=small.batch_size + 1)))


def test_a_file_of_another_kind_is_refused(tmp_path):
    file = tmp_path / "seeds.json"
    file.write_text("[]")
    with pytest.raises(ValueError, match="does not hold the scores of seeds"):
        seeds.load(file, {})
    columns = dict.fromkeys(("train_seconds", *seeds.FIGURES), [])
    file.write_text(json.dumps({"settings": {}, "seeds": [1], **columns}))
    with pytest.raises(ValueError, match="different lengths"):
        seeds.load(file, {})


def test_seeds_of_the_rerankers_go_on_and_need_a_retriever(tmp_path, monkeypatch):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="No retriever in .*run notebook 04 first"):
        seeds.rerank(1)
    ran = []
    scores = {"any_to_any_mixed": 0.8, "feature_extraction_mixed": 0.7}
    monkeypatch.setattr(seeds, "rerank", lambda seed: ran.append(seed) or {"ndcg@10": scores})
    seeds.rerankers([1], tmp_path / "file.json")
    seeds.rerankers([1, 2], tmp_path / "file.json")
    assert ran == [1, 2]
    more = json.loads((tmp_path / "file.json").read_text())["runs"]
    table = results_table({"06_train_reranker": {"ndcg@10": {"any_to_any_mixed": 0.9}}}, more=more)
    assert "similarity, mean of 3 seeds | 0.833 | from 0.800 to 0.900 |" in table
    changed = json.loads((tmp_path / "file.json").read_text())
    changed["settings"]["reranker_batch_size"] = 1
    write_json(tmp_path / "file.json", changed)
    with pytest.raises(ValueError, match="reranker_batch_size = 1, and now it is 32"):
        seeds.rerankers([3], tmp_path / "file.json")


def test_seeds_of_the_distilled_go_on_and_end_in_a_soup(tmp_path, monkeypatch):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="No retriever in .*run notebook 04 first"):
        seeds.distill(1)
    (tmp_path / "small" / "04_train_embedding" / "final").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="No reranker in .*run notebook 06 first"):
        seeds.distill(1)
    ran, mixed, file = [], [], tmp_path / "file.json"

    def distill(seed):
        ran.append(seed)
        (seeds.students() / str(seed) / "distilled").mkdir(parents=True)
        return {"ndcg@10": {"distilled": 0.7 + seed / 100}}

    def soup(kept):
        mixed.append(kept)
        return {"seeds": kept, "ndcg@10": 0.8, "ci95": [0.0, 0.1]}

    monkeypatch.setattr(seeds, "distill", distill)
    monkeypatch.setattr(seeds, "soup", soup)
    seeds.distillations([2], file)
    assert "soup" not in json.loads(file.read_text())
    seeds.distillations([1, 2], file)
    seeds.distillations([1, 2], file)
    assert (ran, mixed) == ([2, 1], [[1, 2]])
    measured = json.loads(file.read_text())
    assert measured["soup"]["seeds"] == [1, 2] and set(measured["runs"]) == {"1", "2"}
    measured["settings"]["teacher"]["first"] = 0
    write_json(file, measured)
    with pytest.raises(ValueError, match="measured with teacher = .*Move or delete"):
        seeds.distillations([3], file)


def test_a_notebook_with_a_seed_runs_on_copies(tmp_path, monkeypatch):
    """What it reads is linked, what it writes is its own, and its folder stays where asked."""
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    here = tmp_path / "small"
    (here / "04_train_embedding" / "final").mkdir(parents=True)
    (here / "dataset").mkdir()
    (here / "results.json").write_text(json.dumps({"schema": 1, "06_train_reranker": {"mixed_weight": 20}}))

    def run(command, env, **options):
        folder = Path(env["VDR_COURSE_RUNS"], "small")
        assert (folder / "04_train_embedding" / "final").is_dir() and command[-1] == "5"
        (folder / "07_distill" / "checkpoints").mkdir(parents=True)
        (folder / "07_distill" / "by_query.json").write_text("{}")
        sections = json.loads((folder / "results.json").read_text()) | {"07_distill": {"chosen": "kl"}}
        (folder / "results.json").write_text(json.dumps(sections))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(seeds.subprocess, "run", run)
    needed = {"04_train_embedding/final": "04"}
    assert seeds.notebook_with("07", 5, needed, tmp_path / "kept" / "5") == {"chosen": "kl"}
    assert [file.name for file in (tmp_path / "kept" / "5").iterdir()] == ["by_query.json"]
    assert "07_distill" not in json.loads((here / "results.json").read_text())


def test_a_script_in_its_own_process_returns_its_last_line(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import json, os, sys\nprint('working')\n"
        "print(json.dumps({'asked': sys.argv[1:], 'threads': os.environ.get('OMP_NUM_THREADS')}))\n"
        "sys.exit('the disk is full' if 'fail' in sys.argv else 0)\n"
    )
    assert last_json(str(script), "--run", 3, threads=1) == {"asked": ["--run", "3"], "threads": "1"}
    with pytest.raises(RuntimeError, match=r"fail failed:\nthe disk is full"):
        last_json(str(script), "fail")
