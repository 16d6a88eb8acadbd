"""tools.needs: memory of a training is predicted from what autograd keeps, and too little is said at once."""

import json
import weakref
from types import SimpleNamespace

import pytest

from helpers.course.data import load_split
from helpers.course.profiles import PROFILES, get_profile
from helpers.settings import TIERS
from tools import needs
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
    predicted = needs.training_bytes(sum(weight.numel() for weight in weights), kept)
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


def test_too_small_a_gpu_or_disk_is_said_before_any_download(monkeypatch, tmp_path):
    import torch

    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    card = SimpleNamespace(total_memory=11.5e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: card)
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
