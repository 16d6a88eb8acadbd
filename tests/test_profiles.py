"""Profiles: the values, the overrides, and one clear error for each thing that may be missing."""

import json
import os
import struct
from dataclasses import fields, replace

import pytest

from helpers.course.profiles import PROFILES, ROOT, get_profile, run_dir
from helpers.settings import Settings
from tools import readiness
from tools.readiness import check_checkpoint, check_profile


def test_overrides_of_none_mean_what_the_profile_says():
    assert get_profile("small", batch_size=None, seed=None) == PROFILES["small"]
    changed = get_profile("small", batch_size=16, matryoshka_dims=[64, 32])
    assert (changed.batch_size, changed.matryoshka_dims) == (16, (64, 32))
    assert changed.matryoshka_weights == (1, 1)
    assert PROFILES["small"].batch_size != 16, "the profile itself stays as it is"


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(ValueError, match="no profile 'tiny'.*small, full"):
        get_profile("tiny")


def test_profiles_are_settings_under_their_names():
    for name, profile in PROFILES.items():
        assert type(profile) is Settings and profile.name == name
        again = Settings(**{field.name: getattr(profile, field.name) for field in fields(profile)})
        assert again == profile


def test_a_tier_changes_only_profiles_that_have_one():
    assert get_profile("small", tier="16gb") == PROFILES["small"]
    assert get_profile("full", tier="80gb") == get_profile("full") == PROFILES["full"]
    t4 = get_profile("full", tier="16gb")
    assert (t4.dtype, t4.adapter_rank, t4.tier) == ("float16", 32, "16gb")
    assert t4.mini_batch_num_tokens < get_profile("full").mini_batch_num_tokens
    assert t4.learning_rate == t4.adapter_learning_rate
    assert get_profile("full", tier="16gb", learning_rate=1e-5).learning_rate == 1e-5
    assert get_profile("full", tier="24gb").dtype == "bfloat16"


def test_cut_sizes_cut_the_dimensions_too():
    cut = get_profile("full-dry", cut_sizes=16)
    assert cut.matryoshka_dims == (128, 96, 64, 32, 16, 8, 4)
    assert not cut.needs_gpu
    assert get_profile("full-dry").needs_gpu


def test_random_weights_lie_below_the_runs_and_checking_writes_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path / "elsewhere"))
    cut = get_profile("full-dry", cut_sizes=16)
    assert cut.path(cut.embedding_model) == str(tmp_path / "elsewhere/full-dry/random-qwen3-vl-2b-cut-16")
    check_profile(cut)
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("VDR_COURSE_RUNS")
    assert get_profile("full-dry").embedding_model == "runs/full-dry/random-qwen3-vl-2b"


def test_full_profile_is_the_articles():
    full = PROFILES["full"]
    assert full.embedding_model == "Qwen/Qwen3-VL-Embedding-2B"
    assert full.matryoshka_dims == (2048, 1536, 1024, 512, 256, 128, 64)
    assert set(full.matryoshka_weights) == {1}
    assert (full.batch_size, full.learning_rate, full.num_train_epochs, full.warmup) == (64, 2e-5, 1.0, 0.1)
    assert (full.min_pixels, full.max_pixels, full.dtype) == (28 * 28, 600 * 600, "bfloat16")


def test_run_dir_is_created_and_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path / "elsewhere"))
    assert run_dir(PROFILES["small"]) == run_dir("small") == tmp_path / "elsewhere" / "small"
    assert run_dir("small").is_dir()
    monkeypatch.delenv("VDR_COURSE_RUNS")
    assert run_dir("small") == ROOT / "runs" / "small"
    (tmp_path / "file").touch()
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path / "file"))
    with pytest.raises(OSError, match="Cannot write into .*file/small.*VDR_COURSE_RUNS"):
        run_dir("small")


@pytest.fixture
def checkpoint(tmp_path):
    """A folder with a whole safetensors file of one tensor."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    for name in ("config.json", "tokenizer.json", "processor_config.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    return tmp_path


def test_whole_checkpoint_passes(checkpoint):
    check_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "not a whole weight file: it is missing",
        ),
        (lambda folder: _cut(folder / "model.safetensors", 3), "header too small, of 3 bytes"),
        (lambda folder: _cut(folder / "model.safetensors", 30), "header, of 30 bytes|length, of 30 bytes"),
        (lambda folder: _cut(folder / "model.safetensors", -5), "not fully covered|incomplete metadata"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"[]"),
            "invalid JSON in header",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs"),
            "Git LFS pointer",
        ),
    ],
)
def test_spoiled_checkpoint_is_named_with_its_fix(checkpoint, spoil, message):
    spoil(checkpoint)
    with pytest.raises(FileNotFoundError, match=message) as caught:
        check_checkpoint(checkpoint)
    assert str(checkpoint) in str(caught.value)
    assert "git checkout" in str(caught.value)


def _cut(file, size):
    file.write_bytes(file.read_bytes()[:size])


def test_missing_checkpoint_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(readiness, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match="data/checkpoints/small-embedding is missing"):
        check_profile(PROFILES["small"])


def test_bundled_checkpoints_are_whole():
    check_profile(PROFILES["small"])


def test_full_needs_a_gpu(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match='needs a CUDA GPU.*PROFILE = "small"'):
        check_profile(PROFILES["full"])

    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 12040). Please update")

    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(RuntimeError, match=r"none here \(The NVIDIA driver .* \(found version 12040\)\)"):
        check_profile(PROFILES["full"])


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """A hub cache with nothing in it."""
    from datasets import config
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)


def test_offline_hub_is_named_with_its_fix(empty_cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RuntimeError, match="Qwen3-VL-Embedding-2B is not in the hub cache, and HF_HUB_O"):
        check_profile(PROFILES["full"], allow_cpu=True)


def test_unreachable_and_gated_hub(empty_cache, monkeypatch):
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError

    def unreachable(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(HfApi, "repo_info", unreachable)
    with pytest.raises(RuntimeError, match="hub cannot be reached.*no route to host.*needs no network"):
        check_profile(PROFILES["full"], allow_cpu=True)

    def gated(*args, **kwargs):
        error = GatedRepoError.__new__(GatedRepoError)
        Exception.__init__(error, "403")
        raise error

    monkeypatch.setattr(HfApi, "repo_info", gated)
    with pytest.raises(RuntimeError, match="asks for a login.*hf auth login"):
        check_profile(PROFILES["full"], allow_cpu=True)


def test_hub_is_not_asked_for_what_is_local(monkeypatch, checkpoint):
    monkeypatch.setattr(readiness, "ROOT", checkpoint.parent)
    monkeypatch.setattr(readiness, "_check_hub", lambda *args: pytest.fail("the hub was asked"))
    local = {
        "embedding_model": checkpoint.name,
        "vlm_model": checkpoint.name,
        "reranker_model": None,
        "dataset": None,
    }
    check_profile(replace(PROFILES["full"], **local), allow_cpu=True)


def test_a_relative_folder_of_runs_is_the_same_from_everywhere(monkeypatch, tmp_path):
    monkeypatch.setenv("VDR_COURSE_RUNS", os.path.relpath(tmp_path / "mine", ROOT))
    for folder in (ROOT, ROOT / "notebooks", tmp_path):
        monkeypatch.chdir(folder)
        assert run_dir("small").resolve() == (tmp_path / "mine" / "small").resolve()


def test_a_folder_of_runs_that_cannot_be_written_to_is_named(monkeypatch, tmp_path):
    """A clone on a read-only disk, where even root is refused."""
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OSError, match="Cannot write into .*small .*set VDR_COURSE_RUNS"):
        run_dir("small")
    (tmp_path / "file").touch()
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path / "file"))
    with pytest.raises(OSError, match="set VDR_COURSE_RUNS"):
        run_dir("small")
    monkeypatch.undo()
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path / "other"))  # the remedy
    assert run_dir("small").is_dir()
