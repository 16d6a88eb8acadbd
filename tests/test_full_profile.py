"""The full profile's code, two steps on the CPU: hub ids load small files from a stand-in cache, offline."""

import nbformat
import pytest

from helpers import ledger
from helpers.profiles import PROFILES
from tests.conftest import NOTEBOOKS, STANDIN_ROWS, run_course
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
    loaded = nbformat.read(tmp_path / "full" / "01_load_models.ipynb", as_version=4)
    text = "".join(str(output) for cell in loaded.cells for output in cell.get("outputs", []))
    assert FULL.embedding_model in text


@pytest.mark.slow
def test_standin_loads_under_the_real_ids(standin_hub):
    """The stand-in itself, in a process that sees nothing but it."""
    import os
    import subprocess
    import sys

    code = f"""
import torch
from datasets import load_dataset
from helpers import dataset
from sentence_transformers import CrossEncoder, SentenceTransformer
from helpers.profiles import check_profile, get_profile
profile = get_profile("full")
check_profile(profile, allow_cpu=True)
kwargs = {{"dtype": getattr(torch, profile.dtype)}}
model = SentenceTransformer(profile.path(profile.embedding_model), model_kwargs=kwargs, device="cpu")
train, eval = (load_dataset(profile.dataset, name, split="train") for name in ("train", "eval"))
assert train.column_names == ["query", "image", "negative_0", "negative_1", "negative_2", "negative_3"]
assert (len(train), len(eval)) == {tuple(STANDIN_ROWS.values())}
assert model.encode_document([train[0]["image"]]).shape == (1, profile.matryoshka_dims[0])
assert len(dataset.load_corpus(profile, "eval")) == 5 * len(eval)
reranker = CrossEncoder(profile.path(profile.reranker_model), device="cpu")
assert reranker.predict([(train[0]["query"], train[0]["image"])]).shape == (1,)
"""
    environment = os.environ | standin_hub
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr[-3000:]
