"""data/make/sizes.py: every shape is a model that trains, and figures of different runs are not mixed."""

import json
import sys

import numpy as np
import pytest

from helpers.profiles import ROOT

sys.path.insert(0, str(ROOT / "data" / "make"))
import sizes  # noqa: E402
import small_checkpoint  # noqa: E402
from small_checkpoint import SHAPES, Shape  # noqa: E402


def test_the_shipped_shape_is_the_shipped_checkpoints():
    config = json.loads((small_checkpoint.OUT / "small-vlm" / "config.json").read_text())
    vision, text = config["vision_config"], config["text_config"]
    assert SHAPES["shipped"] == Shape(
        vision["depth"], vision["hidden_size"], text["num_hidden_layers"], text["hidden_size"]
    )


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_sees_and_embeds(name):
    processor = small_checkpoint.load_or_build_processor()
    model = small_checkpoint.build_model(processor.tokenizer, SHAPES[name])
    reader = small_checkpoint.Reader(model, processor.tokenizer, "cpu")
    out, grid = reader.see(np.full((2, 64, 96, 3), 255, np.uint8))
    embeddings, spoken = reader.embed_pages(out, grid, ["annual report", "notes"])
    assert embeddings.shape == (2, SHAPES[name].text_width)
    spoken.backward()
    assert all(layer.mlp.up_proj.weight.grad.abs().sum() > 0 for layer in reader.text.layers)


def test_shapes_keep_their_states_apart():
    files = {small_checkpoint.state_file(shape=name) for name in SHAPES}
    assert len(files) == len(SHAPES) and small_checkpoint.state_file() not in files
    assert small_checkpoint.log_file(shape="wide").parent == small_checkpoint.state_file(shape="wide").parent


def test_clear_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "FILE", tmp_path / "sizes.json")
    asked = {"pages": 100, "bf16": True}
    assert sizes.load(asked) == {"asked": asked, "shapes": {}}
    sizes.FILE.write_text(json.dumps({"asked": asked, "shapes": {"wide": {}}}))
    assert sizes.load(asked)["shapes"] == {"wide": {}}
    with pytest.raises(SystemExit, match="measured with pages = 100, and now it is 200"):
        sizes.load(asked | {"pages": 200})
    sizes.FILE.write_text("{")
    with pytest.raises(SystemExit, match="does not hold the figures of shapes.*Move or delete"):
        sizes.load(asked)
    monkeypatch.setattr(sys, "argv", ["sizes.py", "--pages", "0"])
    with pytest.raises(SystemExit, match="--pages must be above 0"):
        sizes.main()
