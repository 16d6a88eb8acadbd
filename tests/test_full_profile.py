"""The full profile's code, two steps on the CPU: hub ids load small files from a stand-in cache, offline."""

import json
import re
import shutil

import nbformat
import pytest

from helpers import hardware
from helpers.course import data, ledger
from helpers.course.profiles import PROFILES, ROOT, get_profile
from tests.conftest import NOTEBOOKS, STANDIN_ROWS, run_course
from tests.test_checks import papermill, planted
from tools.readiness import check_profile
from tools.run_course import declared_parameters

FULL = PROFILES["full"]
TWO_STEPS = {"ALLOW_CPU": "true", "MAX_STEPS": "2", "LIVE": "False"}
TWO_STEPS |= {"TRAIN_ROWS": "8", "BATCH_SIZE": "4", "RERANKER_TRAIN_QUERIES": "5", "DISTILL_QUERIES": "8"}
TIERED = (
    "03_choose_loss", "04_train_embedding", "06_train_reranker", "07_distill", "08_late_interaction",
    "appendix_lora", "appendix_build_models",
)  # fmt: skip


@pytest.fixture(scope="module")
def small_pages_course(tmp_path_factory):
    """A copy of the course whose `full` reads pages with few tokens, in a tenth of the time; else its own."""
    copy = tmp_path_factory.mktemp("full")
    for name in ("helpers", "notebooks", "tools"):
        shutil.copytree(ROOT / name, copy / name)
    (copy / "data").symlink_to(ROOT / "data")
    file = copy / "helpers" / "course" / "profiles.py"
    text = file.read_text(encoding="utf-8")
    changed = text.replace('name="full",', 'name="full", max_pixels=160 * 224,')
    assert changed != text
    file.write_text(changed, encoding="utf-8")
    return copy


def run_full(names, root, runs, environment, **parameters):
    """Run notebooks of `full` and return what they printed, and their sections of the ledger."""
    declared = set().union(*(declared_parameters(file) for file in NOTEBOOKS if file.stem in names))
    chosen = {name: value for name, value in (TWO_STEPS | parameters).items() if name in declared}
    given = [word for name, value in chosen.items() for word in ("-p", name, value)]
    shown = run_course(
        *names, "--profile", "full", *given, root=root, VDR_COURSE_RUNS=str(runs), **environment
    )
    assert shown.returncode == 0, shown.stdout[-6000:]
    results = ledger.load(runs / "full" / "results.json")
    assert sorted(results) == sorted(names)
    return {name: printed(runs / "full" / f"{name}.ipynb") for name in names}, results


def printed(file) -> str:
    """What the cells of a notebook printed."""
    cells = nbformat.read(file, as_version=4).cells
    return "".join(str(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))


@pytest.mark.slow
def test_every_notebook_runs_with_the_full_profile(small_pages_course, standin_hub, tmp_path):
    names = [file.stem for file in NOTEBOOKS if re.match("0[0-9]_|appendix_(build_models|lora)", file.stem)]
    said, results = run_full(names, small_pages_course, tmp_path, standin_hub)
    plan = said["04_train_embedding"]
    assert re.search(
        r"[1-3] of 20 training rows hold pages that are scored: left out", said["04_train_embedding"]
    )
    assert FULL.embedding_model in said["01_load_models"]
    assert list(map(int, results["03_choose_loss"]["prefix_ndcg@10"])) == list(FULL.matryoshka_dims)
    assert "(full)" in plan and "mini-batches of 3,072 tokens" in plan and "float32" in plan
    assert "(LoRA)" in said["appendix_lora"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tier", "dtype", "tokens", "from_retriever", "names"),
    [("24gb", "bfloat16", 3072, "True", TIERED), ("16gb", "float16", 1536, "False", TIERED[1:4])],
)
def test_the_notebooks_that_train_run_on_smaller_tiers(
    tier, dtype, tokens, from_retriever, names, small_pages_course, standin_hub, tmp_path
):
    """Adapters in 16 bits; for the gradients of all weights, in 03, the small checkpoint stands in. A
    reranker can start from the retriever, whose chat template has no turns for a query and a page.
    """
    chosen = {"TIER": tier, "FROM_RETRIEVER": from_retriever}
    said, results = run_full(names, small_pages_course, tmp_path, standin_hub, **chosen)
    dims = PROFILES["small"].matryoshka_dims
    if "03_choose_loss" in names:
        assert list(map(int, results["03_choose_loss"]["prefix_ndcg@10"])) == list(dims)
    for name in {"04_train_embedding", "appendix_lora"} & set(names):
        for words in ("(LoRA)", f"precision      {dtype}", f"mini-batches of {tokens:,} tokens"):
            assert words in said[name], (name, words)
    assert ("<|im_start|>query" in said["06_train_reranker"]) and results["06_train_reranker"]["query_ms"]
    for saved in ("any_to_any", "feature_extraction"):
        folder = tmp_path / "full" / "06_train_reranker" / saved
        assert (folder / "model.safetensors").is_file() and not list(folder.glob("adapter*")), "merged"


@pytest.mark.slow
def test_ones_own_pdfs_on_a_smaller_tier(small_pages_course, standin_hub, tmp_path):
    """Notebook 10, and 04 on the collection that it makes: queries written, negatives mined, an adapter."""
    (tmp_path / "reports").mkdir()
    for one in data.load_documents("dev")[:6]:
        shutil.copy(data.pdf_path(one), tmp_path / "reports")
    given = ["-p", "TIER", "24gb", "-p", "ALLOW_CPU", "true", "-p", "MAX_STEPS", "2", "--profile", "full"]
    collection = str(tmp_path / "collections" / "reports")
    for number, name, value in (("10", "PDFS", str(tmp_path / "reports")), ("04", "DATA", collection)):
        runs = {"VDR_COURSE_RUNS": str(tmp_path)} | standin_hub
        shown = run_course(number, *given, "-p", name, value, root=small_pages_course, **runs)
        assert shown.returncode == 0, shown.stdout[-6000:]
    results = ledger.load(tmp_path / "full-reports" / "results.json")
    assert list(results) == ["04_train_embedding", "10_your_own_pdfs"]
    assert results["10_your_own_pdfs"]["mined"]["rows"] > 0 and results["10_your_own_pdfs"]["verdict"]
    assert "negative_0" in printed(tmp_path / "full-reports" / "04_train_embedding.ipynb")


def test_what_is_asked_of_a_gpu_that_has_no_bfloat16(monkeypatch):
    """A T4: a CPU drops float16 without a word, so what the arguments get is asked here."""
    import torch

    monkeypatch.setattr(hardware, "device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(hardware, "find_spec", lambda name: None)
    t4 = FULL.changed(tier="16gb")
    assert (hardware.use_bf16(), hardware.use_fp16()) == (False, True)
    assert hardware.training_attention(t4.dtype) == "sdpa"


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
from helpers.course.profiles import get_profile
from tools.readiness import check_profile
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
