"""`SentenceTransformer.merge` as notebook 07 calls it, each method against its formula in numpy; what has no
merge is refused, by the library and by tools/merging.py.
"""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from sentence_transformers import SentenceTransformer

from helpers import hardware
from helpers.course.profiles import PROFILES, ROOT
from tools.merging import interpolate, weights_of

SMALL = PROFILES["small"]
BASE = SMALL.path(SMALL.embedding_model)
KWARGS = {"dtype": "float32", "attn_implementation": hardware.training_attention("float32")}


def load(folder=BASE):
    return SentenceTransformer(str(folder), model_kwargs=KWARGS, device="cpu")


def moved(seed):
    """The base model, each weight moved by half as much as its tensor's weights are large."""
    model, generator = load(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.add_(noise * (0.5 * weight.norm() / weight.numel() ** 0.5 + 1e-3))
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The base model and two that were moved from it, as notebook 07 has them: saved."""
    folder = tmp_path_factory.mktemp("models")
    for name, seed in (("one", 1), ("other", 2)):
        moved(seed).save_pretrained(str(folder / name), create_model_card=False)
    return {"base": str(BASE), "one": str(folder / "one"), "other": str(folder / "other")}


@pytest.fixture(scope="module")
def weights(folders):
    return {name: {key: tensor.numpy() for key, tensor in weights_of(load(folder)).items()}
            for name, folder in folders.items()}  # fmt: skip


def merged(folders, method, **more):
    """Name -> array: the line of notebook 07."""
    state = weights_of(SentenceTransformer.merge(folders, method=method, model_kwargs=KWARGS, **more))
    return {name: tensor.numpy() for name, tensor in state.items()}


def test_the_line_is_that_of_notebook_07():
    cells = json.loads((ROOT / "notebooks" / "07_distill.ipynb").read_text(encoding="utf-8"))["cells"]
    (source,) = [text for cell in cells if "find_spec(" in (text := "".join(cell["source"]))]
    assert "SentenceTransformer.merge(folders, method=method, model_kwargs=weights)" in source
    assert 'for method in ("linear", "slerp")' in source


def test_linear_is_the_mean(folders, weights):
    found = merged([folders["base"], folders["one"]], "linear")
    ours = interpolate([weights_of(load(folders[name])) for name in ("base", "one")], [0.5, 0.5])
    assert found.keys() == weights["base"].keys() == ours.keys()
    for name, value in found.items():
        mean = (weights["base"][name] + weights["one"][name]) / 2
        assert np.allclose(value, mean, rtol=0, atol=1e-6), name
        assert np.allclose(ours[name].numpy(), mean, rtol=0, atol=1e-6), name


def arc(start, end, share=0.5):
    """The point on the arc between two arrays: sin((1 - t) a) / sin(a) of one and sin(t a) / sin(a) of the
    other, where a is their angle (Shoemake, 1985); on the line where they are nearly parallel.
    """
    one, other = (array.astype(np.float64).ravel() for array in (start, end))
    cosine = np.clip(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)), -1, 1)
    if abs(cosine) > 0.9995:
        return ((1 - share) * start + share * end), False
    angle = np.arccos(cosine)
    found = (np.sin((1 - share) * angle) * one + np.sin(share * angle) * other) / np.sin(angle)
    return found.reshape(start.shape), True


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_slerp_goes_along_the_arc(folders, weights, share):
    found = merged([folders["base"], folders["one"]], "slerp", parameters={"t": share})
    curved, farthest = 0, 0.0
    for name, value in found.items():
        wanted, bent = arc(weights["base"][name], weights["one"][name], share)
        assert np.allclose(value, wanted, rtol=0, atol=1e-5), name
        straight = (1 - share) * weights["base"][name] + share * weights["one"][name]
        curved, farthest = curved + bent, max(farthest, float(abs(value - straight).max()))
    assert curved == len(found) and farthest > 1e-3, "too near one another to tell arc from line"


def test_slerp_begins_in_the_middle(folders):
    """Without parameters it is half-way, as the notebook compares it with the mean."""
    pair = [folders["base"], folders["one"]]
    half, plain = merged(pair, "slerp", parameters={"t": 0.5}), merged(pair, "slerp")
    assert all(np.array_equal(half[name], plain[name]) for name in half)


@pytest.mark.parametrize("density", [1.0, 0.3])
def test_ties_drops_small_and_contradicting_changes(folders, weights, density):
    """Of each model's changes the largest share; of those the ones with the sign of their sum; their mean
    (Yadav et al., 2023). With a density of 1, the default, none is too small.
    """
    pair = [folders["one"], folders["other"]]
    found = merged(pair, "ties", base_model=folders["base"], parameters={"density": density})
    dropped = 0
    for name, base in weights["base"].items():
        changes = np.stack([weights[one][name] - base for one in ("one", "other")])
        sizes, unsure = abs(changes).reshape(2, -1), np.zeros(base.size, dtype=bool)
        if density < 1:
            least = -np.sort(-sizes, axis=1)[:, max(1, int(density * base.size)) - 1]
            unsure = (sizes == least[:, None]).any(axis=0)  # which of equal ones is kept is not said
            changes[abs(changes) < least.reshape(2, *[1] * base.ndim)] = 0
        majority = np.where(changes.sum(axis=0) >= 0, 1, -1)
        agreeing = np.sign(changes) == majority
        mean = (changes * agreeing).sum(axis=0) / np.maximum(1, agreeing.sum(axis=0))
        close = np.isclose(found[name], base + mean, rtol=0, atol=1e-5).ravel()
        assert (close | unsure).all(), name
        dropped += (found[name] == base).mean() > 0.2
    assert dropped == (len(found) if density < 1 else 0), "a density below 1 leaves many weights of the base"


def test_ties_of_one_model_keeps_it_whole_or_a_share_of_its_changes(folders, weights):
    pair = [folders["base"], folders["one"]]
    whole = merged(pair, "ties", base_model=folders["base"])
    half = merged(pair, "ties", base_model=folders["base"], parameters={"density": 0.5})
    for name, value in whole.items():
        assert np.allclose(value, weights["one"][name], rtol=0, atol=1e-6), name
        if value.ndim > 1:
            assert (half[name] == weights["base"][name]).mean() == pytest.approx(0.5, abs=0.02), name


def test_a_merged_model_embeds(folders):
    model = SentenceTransformer.merge([folders["base"], folders["one"]], method="slerp", model_kwargs=KWARGS)
    vectors = model.encode_query(["leave request 2017", "training hours"], show_progress_bar=False)
    assert vectors.shape == (2, 256) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("method", ["linear", "slerp", "ties"])
def test_models_of_different_shapes_are_refused(method):
    narrow = load()
    narrow[0].model.resize_token_embeddings(64)
    with pytest.raises(ValueError, match="has a different configuration in model 1"):
        SentenceTransformer.merge([load(), narrow], method=method, **base_of(method))
    with pytest.raises(ValueError, match=r"no mean: .*embed_tokens.weight is .* and \(64, 256\)"):
        interpolate([weights_of(load()), weights_of(narrow)], [0.5, 0.5])


@pytest.mark.parametrize("method", ["linear", "slerp", "ties"])
def test_a_model_with_an_adapter_still_on_is_refused(method):
    adapted = load()
    adapter = LoraConfig(r=2, lora_alpha=2, target_modules=["q_proj"])
    adapted[0].model = get_peft_model(adapted[0].model, adapter)
    with pytest.raises(ValueError, match="PEFT adapters is not supported. Merge the adapters"):
        SentenceTransformer.merge([load(), adapted], method=method, **base_of(method))
    with pytest.raises(ValueError, match="An adapter is still on .*merge_and_unload"):
        weights_of(adapted)
    adapted[0].model = adapted[0].model.merge_and_unload()
    states = [weights_of(load()), weights_of(adapted)]
    assert interpolate(states, [0.5, 0.5]).keys() == states[0].keys(), "merged, it is one like the others"


def base_of(method):
    return {"base_model": load()} if method == "ties" else {}
