"""tools/sizes.py: every shape is a model that trains, and figures of different runs are not mixed."""

import json
import sys
from dataclasses import asdict

import numpy as np
import pytest

from helpers.course.profiles import ROOT
from tools import sizes

sys.path.insert(0, str(ROOT / "data" / "make"))
from pretraining import places  # noqa: E402
from pretraining.model import SHAPES, Shape, build_model, load_or_build_processor  # noqa: E402
from pretraining.reader import Reader  # noqa: E402
from pretraining.state import log_file, state_file  # noqa: E402


def test_the_shipped_shape_is_the_shipped_checkpoints():
    config = json.loads((places.OUT / "small-vlm" / "config.json").read_text())
    vision, text = config["vision_config"], config["text_config"]
    inner = "intermediate_size"
    assert SHAPES["shipped"] == Shape(
        *(vision[key] for key in ("depth", "hidden_size", inner)),
        *(text[key] for key in ("num_hidden_layers", "hidden_size", inner)),
    )


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_sees_and_embeds(name):
    processor = load_or_build_processor()
    model = build_model(processor.tokenizer, SHAPES[name])
    reader = Reader(model, processor.tokenizer, "cpu")
    out, grid = reader.see(np.full((2, 64, 96, 3), 255, np.uint8))
    embeddings, spoken = reader.embed_pages(out, grid, ["annual report", "notes"])
    assert embeddings.shape == (2, SHAPES[name].text_width)
    spoken.backward()
    assert all(layer.mlp.up_proj.weight.grad.abs().sum() > 0 for layer in reader.text.layers)


def small_weights(name: str) -> dict:
    tokenizer = load_or_build_processor().tokenizer
    return build_model(tokenizer, SHAPES[name]).state_dict()


def test_what_is_not_cut_stays_as_it_is():
    weights = small_weights("shipped")
    whole = sizes.resized(weights, small_weights("shipped"), (0, 1, 2, 3), (0, 1, 2))
    assert whole.keys() == weights.keys()
    assert all(whole[key].equal(weights[key]) for key in weights)


@pytest.mark.parametrize(
    ("name", "vision", "text"),
    [("vision-3", (0, 1, 3), (0, 1, 2)), ("text-2", (0, 1, 2, 3), (0, 2)), ("thin", (0, 1, 2, 3), (0, 1, 2))],
)
def test_a_cut_model_has_its_shape_and_the_weights_of_what_is_left(name, vision, text):
    weights, expected = small_weights("shipped"), small_weights(name)
    found = sizes.resized(weights, expected, vision, text)
    assert {key: value.shape for key, value in found.items()} == {
        key: value.shape for key, value in expected.items()
    }
    for tower, layers in (("model.visual.blocks.", vision), ("model.language_model.layers.", text)):
        part = "attn.qkv.weight" if "visual" in tower else "self_attn.q_proj.weight"
        for new, old in enumerate(layers):
            assert found[f"{tower}{new}.{part}"].equal(weights[f"{tower}{old}.{part}"])


def test_units_that_do_nothing_are_cut_first():
    """With half of the inner units silent, an MLP cut in half computes what it did before."""
    import torch

    weights = small_weights("shipped")
    block = "model.visual.blocks.0.mlp."
    silent = torch.randperm(384, generator=torch.Generator().manual_seed(0))[:192]
    weights[f"{block}linear_fc2.weight"][:, silent] = 0
    found = sizes.resized(weights, small_weights("thin"), (0, 1, 2, 3), (0, 1, 2))
    x = torch.randn(5, 128, generator=torch.Generator().manual_seed(1))

    def mlp(w):
        inner = torch.nn.functional.gelu(x @ w[f"{block}linear_fc1.weight"].T + w[f"{block}linear_fc1.bias"])
        return inner @ w[f"{block}linear_fc2.weight"].T

    assert torch.allclose(mlp(weights), mlp(found), atol=1e-5)


@pytest.mark.parametrize(("name", "vision", "text"), [("vision-6", 6, 3), ("text-5", 4, 5)])
def test_new_layers_change_nothing_at_first_and_can_learn(name, vision, text):
    import torch

    tokenizer = load_or_build_processor().tokenizer
    models = {kind: build_model(tokenizer, SHAPES[kind]) for kind in ("shipped", name)}
    shipped, deeper = (Reader(model, tokenizer, "cpu") for model in models.values())
    (seen,), (read,) = sizes.kept_layers(4, vision), sizes.kept_layers(3, text)
    deeper.model.load_state_dict(
        sizes.resized(shipped.model.state_dict(), deeper.model.state_dict(), seen, read)
    )
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    embeddings = [reader.embed_pages(*reader.see(pixels))[0] for reader in (shipped, deeper)]
    assert torch.allclose(*embeddings, atol=1e-5)
    embeddings[1].sum().backward()
    newest = (deeper.vision.blocks[-1].mlp.linear_fc2, deeper.text.layers[-1].mlp.down_proj)
    assert all(layer.weight.grad.abs().sum() > 0 for layer in newest)


def test_which_layers_are_kept():
    assert sizes.kept_layers(4, 3, stay=2) == [(0, 1, 2), (0, 1, 3)]
    assert sizes.kept_layers(3, 3) == [(0, 1, 2)] and sizes.kept_layers(3, 5) == [(0, 1, 2, None, None)]


def test_the_shapes_that_the_shipped_weights_fit():
    assert set(SHAPES) - set(sizes.TRAINED) == {"wide"}


def test_every_shape_is_measured():
    """The table of appendix_small_checkpoint; a shape that was trained has a score, before and after."""
    shapes = json.loads(sizes.FILE.read_text())["shapes"]
    assert list(shapes) == list(SHAPES)
    for name, row in shapes.items():
        assert row["shape"] == asdict(SHAPES[name]), name
        assert {"parameters", "encoded_pages_per_second", "fine_tuning_seconds"} <= row.keys(), name
        assert ("finetuned" in row) == ("fresh_pages" in row), name
    trained = {name for name, row in shapes.items() if "finetuned" in row}
    assert trained == set(sizes.TRAINED)


def test_shapes_keep_their_states_apart():
    files = {state_file(shape=name) for name in SHAPES}
    assert len(files) == len(SHAPES) and state_file() not in files
    assert log_file(shape="wide").parent == state_file(shape="wide").parent


def test_clear_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "FILE", tmp_path / "sizes.json")
    asked = {"pages": 100, "bf16": True}
    assert sizes.load(asked) == {"asked": asked, "shapes": {}}
    held = {"asked": asked, "shapes": {"wide": {}}, "speeds_on": "cpu"}
    sizes.FILE.write_text(json.dumps(held))
    assert sizes.load(asked) == held, "what an interrupted run does not measure anew stays"
    with pytest.raises(SystemExit, match="measured with pages = 100, and now it is 200"):
        sizes.load(asked | {"pages": 200})
    sizes.FILE.write_text("{")
    with pytest.raises(SystemExit, match="does not hold the figures of shapes.*Move or delete"):
        sizes.load(asked)
    monkeypatch.setattr(sys, "argv", ["sizes.py", "--pages", "0"])
    with pytest.raises(SystemExit, match="--pages must be above 0"):
        sizes.main()
