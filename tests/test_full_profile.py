"""The full profile's code, two steps on the CPU: hub ids load small files from a stand-in cache, offline."""

import json
import re

import nbformat
import pytest

from helpers.course import ledger
from helpers.course.profiles import PROFILES, check_profile, get_profile
from tests.conftest import NOTEBOOKS, STANDIN_ROWS, run_course
from tests.test_checks import papermill, planted
from tools.run_course import declared_parameters

FULL = PROFILES["full"]
WANTED = ["01_load_models", "04_train_embedding", "05_evaluate", "06_train_reranker"]
PARAMETERS = {"ALLOW_CPU": "true", "MAX_STEPS": "2", "BATCH_SIZE": "8"}


@pytest.mark.slow
def test_notebooks_run_with_the_full_profile(standin_hub, tmp_path):
    there = {file.stem: file for file in NOTEBOOKS}
    missing = [name for name in WANTED if name not in there]
    if missing:
        pytest.skip(f"not written yet: {', '.join(missing)}")
    declared = set().union(*(declared_parameters(there[name]) for name in WANTED))
    given = [word for name, value in PARAMETERS.items() if name in declared for word in ("-p", name, value)]
    shown = run_course(*WANTED, "--profile", "full", *given, VDR_COURSE_RUNS=str(tmp_path), **standin_hub)
    assert shown.returncode == 0, shown.stdout[-6000:]
    assert sorted(ledger.load(tmp_path / "full" / "results.json")) == WANTED
    trained = nbformat.read(tmp_path / "full" / "04_train_embedding.ipynb", as_version=4)
    assert re.search(r"[1-3] of 20 training rows hold pages that are scored: left out", str(trained))
    loaded = nbformat.read(tmp_path / "full" / "01_load_models.ipynb", as_version=4)
    text = "".join(str(output) for cell in loaded.cells for output in cell.get("outputs", []))
    assert FULL.embedding_model in text


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["80gb", "24gb"])
def test_the_loss_notebook_runs_on_each_tier(tier, standin_hub, tmp_path):
    """All weights' gradients need 80 GB; below, the small checkpoint stands in."""
    given = ["-p", "ALLOW_CPU", "true", "-p", "TIER", tier, "-p", "LIVE", "False"]
    shown = run_course("03", "--profile", "full", *given, VDR_COURSE_RUNS=str(tmp_path), **standin_hub)
    assert shown.returncode == 0, shown.stdout[-6000:]
    results = ledger.load(tmp_path / "full" / "results.json")["03_choose_loss"]
    dims = FULL.matryoshka_dims if tier == "80gb" else PROFILES["small"].matryoshka_dims
    assert list(map(int, results["prefix_ndcg@10"])) == list(dims)


@pytest.mark.slow
def test_rerankers_train_adapters_where_the_tier_says_so(standin_hub, tmp_path):
    given = ["-p", "ALLOW_CPU", "true", "-p", "TIER", "24gb", "-p", "MAX_STEPS", "2"]
    shown = run_course("06", "--profile", "full", *given, VDR_COURSE_RUNS=str(tmp_path), **standin_hub)
    assert shown.returncode == 0, shown.stdout[-6000:]
    results = ledger.load(tmp_path / "full" / "results.json")["06_train_reranker"]
    assert results["ndcg@10"].keys() >= {"any_to_any", "feature_extraction"}
    for saved in ("any_to_any", "feature_extraction"):
        folder = tmp_path / "full" / "06_train_reranker" / saved
        assert (folder / "model.safetensors").is_file() and not list(folder.glob("adapter*")), "merged"


@pytest.mark.slow
def test_full_dry_trains_random_weights_of_cut_sizes(tmp_path):
    """Notebook 04 with the architecture of the 2B model, a sixteenth of its sizes, on a few bundled pages."""
    file = tmp_path / "04_train_embedding.ipynb"
    file.write_text(json.dumps(planted({})), encoding="utf-8")
    parameters = {"PROFILE": "full-dry", "CUT_SIZES": 16, "TRAIN_ROWS": 8, "BATCH_SIZE": 4, "MAX_STEPS": 2}
    parameters |= {"ADAPTER_RANK": 4}  # the way of the smaller tiers
    shown = papermill(file, tmp_path, **parameters)
    assert "Traceback" not in shown, shown[-4000:]
    results = ledger.load(tmp_path / "full-dry" / "results.json")["04_train_embedding"]
    assert results["steps"] == 2
    assert results["plan"]["utilization"] > 0


def test_full_dry_has_the_published_sizes():
    """Of Qwen/Qwen3-VL-2B-Instruct: 2,127,532,032 weights, the tied head counted once."""
    import torch
    from transformers import Qwen3VLModel

    from tools import random_model

    with torch.device("meta"):
        model = Qwen3VLModel(random_model.config())
    assert sum(weight.numel() for weight in model.parameters()) == 2_127_532_032
    text, vision = model.config.text_config, model.config.vision_config
    assert (text.num_hidden_layers, text.hidden_size, text.intermediate_size) == (28, 2048, 6144)
    assert (text.num_attention_heads, text.num_key_value_heads, text.head_dim) == (16, 8, 128)
    assert text.rope_parameters["rope_theta"] == 5e6
    assert text.rope_parameters["mrope_section"] == [24, 20, 20]
    assert (vision.depth, vision.hidden_size, vision.intermediate_size) == (24, 1024, 4096)
    assert vision.deepstack_visual_indexes == [5, 11, 17]
    assert (vision.num_heads, vision.num_position_embeddings) == (16, 2304)


def test_full_dry_at_full_size_needs_a_gpu():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(RuntimeError, match="needs a CUDA GPU.*CUT_SIZES = 16"):
        check_profile(get_profile("full-dry"), allow_cpu=True)
    with pytest.raises(ValueError, match="cut_sizes must be one of 1, 2, 4, 8, 16 or None, not 3"):
        get_profile("full-dry", cut_sizes=3)
    with pytest.raises(ValueError, match="random weights, not for 'small'"):
        get_profile("small", cut_sizes=16)


@pytest.mark.slow
def test_standin_loads_under_the_real_ids(standin_hub):
    """The stand-in itself, in a process that sees nothing but it."""
    import os
    import subprocess
    import sys

    code = f"""
import torch
from datasets import load_dataset
from helpers.course.data import load_corpus
from sentence_transformers import CrossEncoder, SentenceTransformer
from helpers.course.profiles import check_profile, get_profile
profile = get_profile("full")
check_profile(profile, allow_cpu=True)
kwargs = {{"dtype": getattr(torch, profile.dtype)}}
model = SentenceTransformer(profile.path(profile.embedding_model), model_kwargs=kwargs, device="cpu")
train, eval = (load_dataset(profile.dataset, name, split="train") for name in ("train", "eval"))
assert train.column_names == ["query", "image", "negative_0", "negative_1", "negative_2", "negative_3"]
assert (len(train), len(eval)) == {tuple(STANDIN_ROWS.values())}
assert model.encode_document([train[0]["image"]]).shape == (1, profile.matryoshka_dims[0])
assert len(load_corpus(profile, "eval")) == 5 * len(eval)
reranker = CrossEncoder(profile.path(profile.reranker_model), device="cpu")
assert reranker.predict([(train[0]["query"], train[0]["image"])]).shape == (1,)
"""
    environment = os.environ | standin_hub
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr[-3000:]
