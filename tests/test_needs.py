"""tools.needs: memory of a training is predicted from what autograd keeps, and too little is said at once."""

import json
import re
import weakref
from types import SimpleNamespace

import pytest

from helpers.course.data import load_split
from helpers.course.profiles import PROFILES, ROOT, get_profile
from helpers.settings import TIERS
from tools import estimates, needs
from tools.fast_vision import fast_vision

SMALL = PROFILES["small"]


@pytest.fixture
def live_tensors():
    """A context in which the bytes of all tensors made in it are counted: `now`, and at the `most`."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_iter

    class Live(TorchDispatchMode):
        now = most = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            output = func(*args, **(kwargs or {}))
            given = {id(one.untyped_storage()) for one in tree_iter((args, kwargs)) if torch.is_tensor(one)}
            for storage in {one.untyped_storage() for one in tree_iter(output) if torch.is_tensor(one)}:
                if id(storage) not in given:
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self.gone, storage.nbytes())
            self.most = max(self.most, self.now)
            return output

        def gone(self, size):
            self.now -= size

    return Live()


@pytest.mark.parametrize("adapter", [False, True], ids=["all weights", "adapter"])
@pytest.mark.parametrize("cached", [False, True], ids=["plain", "cached"])
def test_the_growth_over_the_loaded_model_is_predicted(cached, adapter, live_tensors):
    """Within 15 % of what two steps of `small` take: every tensor that is made is counted, as a GPU would."""
    import torch
    from peft import LoraConfig, get_peft_model
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import losses

    model = SentenceTransformer(
        SMALL.path(SMALL.embedding_model),
        model_kwargs={"dtype": "float32"},
        processor_kwargs={"min_pixels": SMALL.min_pixels, "max_pixels": SMALL.max_pixels},
        device="cpu",
    )
    fast_vision(model)
    if adapter:
        layers = list(SMALL.adapter_layers)
        model[0].model = get_peft_model(model[0].model, LoraConfig(r=8, lora_alpha=8, target_modules=layers))
    model.train()
    rows = load_split(SMALL, "train", limit=16)
    features = [model.preprocess(list(rows[name])) for name in ("query", "image")]
    loss = losses.MultipleNegativesRankingLoss(model)
    if cached:
        loss = losses.CachedMultipleNegativesRankingLoss(model, mini_batch_num_tokens=600)
    loss = losses.MatryoshkaLoss(model, loss, matryoshka_dims=[256, 32])

    def step():
        loss([dict(one) for one in features], None).backward()

    kept = needs.kept_for_backward(model, step)
    model.zero_grad(set_to_none=True)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, fused=True)
    with live_tensors:
        for _ in range(2):
            step()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    predicted = estimates.training_bytes(sum(weight.numel() for weight in weights), kept)
    assert predicted == pytest.approx(live_tensors.most, rel=0.15)


def test_what_is_kept_grows_in_a_line(monkeypatch):
    """With layers and pages, so that a few of each tell of all: here at a sixteenth of the sizes."""
    config = needs.random_model.config
    monkeypatch.setattr(needs.random_model, "config", lambda: config(16))
    monkeypatch.setattr(needs, "TEXT", 6)
    monkeypatch.setattr(needs, "VISION", 5)
    monkeypatch.setattr(needs, "QUARTER", (8, 8))
    one, two = (needs.kept_by("all weights", pages) for pages in (1, 2))
    model = needs.shallow(6, 5)
    given = needs.inputs(model.config, 3, (8, 8), needs.WORDS)
    output = []

    def forward():
        import torch

        with torch.autocast("cpu", torch.bfloat16):
            output.append(model(**given).last_hidden_state)

    assert one + 2 * (two - one) == pytest.approx(needs.kept_for_backward(model, forward), rel=0.02)


def test_the_table_is_computed_from_what_was_measured():
    saved = json.loads(needs.FILE.read_text(encoding="utf-8"))
    measured = {way: needs.Kept(**figures) for way, figures in saved["kept"].items()}
    assert needs.needs(measured, saved["operations"]) == saved["needs"], "run tools/needs.py --again"
    assert saved["assumed"] == needs.ASSUMED
    sizes = {"16gb": 15.6, "24gb": 23.6, "80gb": 79.0}  # GB that a T4, an L4 and an A100 have of theirs
    for notebook, tiers in saved["needs"].items():
        assert tiers.keys() == TIERS.keys()
        for tier, figures in tiers.items():
            assert figures["gpu_gb"] < sizes[tier], f"{notebook} does not fit into {tier}"


def source_of(name):
    """The code of a notebook."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_what_07_keeps_is_counted_as_the_notebook_keeps_it():
    """Each set of weights in `states`, once: the chosen student has two names and no weights more."""
    code = source_of("07_distill")
    begun = re.search(r"^states, seconds = (\{.*\}), \{\}$", code, re.MULTILINE)[1]
    kept = re.findall(r'"(\w+)": weights_of', begun)
    kept += re.findall(r'train\("(\w+)"', code) if "states[name], (" in code else []
    kept += re.findall(r'^states\["(\w+)"\] = weights_of', code, re.MULTILINE)
    assert len(set(kept)) == estimates.SETS, kept
    assert len(re.findall(r'= train\("', code)) == estimates.STUDENTS
    assert f"DISTILL_QUERIES or {estimates.LISTS}," in code
    beyond = re.findall(r"^(\w+) = interpolate\(", code, re.MULTILINE)
    assert not beyond, f"{beyond} would be one more set for the rest of the notebook"


@pytest.mark.parametrize("name", ["07_distill", "08_late_interaction"])
def test_the_type_that_weights_are_trained_in_is_the_notebooks(name):
    assert 'dtype = profile.dtype if profile.adapter_rank else "float32"' in source_of(name)


def test_weights_that_are_held_follow_from_the_profile():
    saved = json.loads(needs.FILE.read_text(encoding="utf-8"))
    kept = {way: needs.Kept(**figures) for way, figures in saved["kept"].items()}
    one = {tier: (2 if tier != "80gb" else 4) * estimates.WEIGHTS for tier in TIERS}
    for tier, size in one.items():
        profile = get_profile("full", tier)
        distilling, many = estimates._distilling(profile, kept), estimates._many_vectors(profile, kept)
        assert distilling.held == (estimates.SETS + 1) * size and many.held == size
        fewer = profile.changed(reranker_batch_size=4)
        assert estimates._distilling(fewer, kept).gpu < distilling.gpu
        # Beside the reranker in 16 bits, one student: its weights, and nothing of the student before.
        assert distilling.gpu > 2 * estimates.WEIGHTS + size
    whole = estimates._distilling(get_profile("full", "80gb"), kept)
    assert 18 * estimates.WEIGHTS < whole.gpu < 18 * estimates.WEIGHTS + 25e9


def test_07_lets_go_of_each_model_before_the_next():
    """A second retriever on the GPU would be 8.5 GB more than the table says."""
    code = source_of("07_distill")
    assert "model = kl = None" in code, "a loss keeps its model"
    second, third = (code.index(f'student = train("{name}"') for name in ("margin", "kl"))
    first = code.index('student = train("longer"')
    assert "student = None" in code[first:second] and "student = None" in code[second:third]
    moved = source_of("08_late_interaction")
    assert moved.index('late_model.to("cpu")') < moved.index("dense_model = SentenceTransformer(")


@pytest.fixture
def card(monkeypatch, tmp_path):
    """A GPU whose memory a test sets, and a folder for runs."""
    import torch

    found = SimpleNamespace(total_memory=85e9)
    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: found)
    return found


def test_too_little_memory_of_the_computer_is_said(monkeypatch, card):
    import psutil

    monkeypatch.setattr(needs, "in_cache", lambda *args: True)
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda folder: SimpleNamespace(free=500e9))
    memory = SimpleNamespace(available=30e9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(
        RuntimeError, match="07_distill holds .* 51.1 GB of weights .*and 30.0 are free.*small"
    ):
        needs.check_room("07_distill", get_profile("full", "80gb"))
    needs.check_room("07_distill", get_profile("full", "24gb"))  # 16 bits: half as much
    needs.check_room("04_train_embedding", get_profile("full", "80gb"))
    memory.available = 60e9
    needs.check_room("07_distill", get_profile("full", "80gb"))


def test_too_small_a_gpu_or_disk_is_said_before_any_download(monkeypatch, card):
    card.total_memory = 11.5e9
    monkeypatch.setattr(needs, "in_cache", lambda *args: False)
    full = get_profile("full", "80gb")
    with pytest.raises(RuntimeError, match="04_train_embedding needs .* GPU memory .*this GPU has 11.5"):
        needs.check_room("04_train_embedding", full)
    needs.check_room("00_start_here", full)
    needs.check_room("04_train_embedding", SMALL)
    card.total_memory = 79e9
    free = SimpleNamespace(free=30e9)
    monkeypatch.setattr(needs.shutil, "disk_usage", lambda folder: free)
    with pytest.raises(OSError, match="GB of disk .*30.0 are free in .*VDR_COURSE_RUNS or HF_HOME"):
        needs.check_room("04_train_embedding", full)
    free.free = 500e9
    needs.check_room("04_train_embedding", full)
