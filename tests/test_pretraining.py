"""data/make/small_checkpoint.py: a training that is killed goes on, and what it cannot do it says at once."""

import json
import subprocess
import sys

import numpy as np
import pytest

from helpers.course.profiles import ROOT
from tests import tiny_pretraining
from tests.tiny_pretraining import asked

sys.path.insert(0, str(ROOT / "data" / "make"))
from pretraining import assets, pages, places, train  # noqa: E402
from pretraining.batches import SLOTS, dense_targets  # noqa: E402
from pretraining.model import build_model, load_or_build_processor  # noqa: E402
from pretraining.reader import Reader  # noqa: E402
from pretraining.state import HEADS, STAGES, load_shipped, log_file, state_file, take_eyes  # noqa: E402
from pretraining.train import start  # noqa: E402


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty working folder, with a few words and one of matplotlib's typefaces."""
    tiny_pretraining.prepare(tmp_path, monkeypatch.setattr)
    return tmp_path


def test_the_command_line_reaches_the_package():
    command = [sys.executable, str(ROOT / "data" / "make" / "small_checkpoint.py")]
    told = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert told.returncode == 0 and "{gather,export,reading,train}" in told.stdout
    told = subprocess.run([*command, "train", "--minutes", "0"], capture_output=True, text=True)
    assert told.returncode == 1 and told.stderr == "--minutes must be above 0: nothing would be trained\n"


def test_a_killed_stage_goes_on_and_a_finished_one_has_more(work, capsys):
    import torch

    start(asked(fresh=True))
    file = state_file()
    saved = torch.load(file, weights_only=False)
    assert saved["state"]["spent"]["see"] == pytest.approx(0.04) and saved["state"]["unfinished"] is None
    saved["state"]["unfinished"] = {"stage": "see", "minutes": 0.1, "done": 0.03}  # killed in a longer run
    torch.save(saved, file)
    start(asked(minutes=0.1))
    state = json.loads(log_file().read_text())
    assert state["spent"]["see"] == pytest.approx(0.04 - 0.03 + 0.1)
    assert "resumed" in capsys.readouterr().out
    start(asked())
    state = json.loads(log_file().read_text())
    assert state["spent"]["see"] == pytest.approx(0.04 - 0.03 + 0.1 + 0.04)
    assert len(state["settings"]) == 3 and {row["stage"] for row in state["log"]} == {"see", "end"}


def test_a_budget_in_pages(work):
    """Stages take their shares of it; a killed run goes on, and a stage of its own too."""
    import torch

    start(asked(fresh=True, stage=None, pages=100))
    state = json.loads(log_file().read_text())
    least = {stage: 100 * share for stage, (share, *_) in STAGES.items()}
    assert all(least[stage] <= state["pages"][stage] < least[stage] + 21 for stage in least)
    assert all(state["spent"][stage] > 0 for stage in ("see", "match", "read"))
    with pytest.raises(SystemExit, match="share of 100 pages: give more than 2"):
        start(asked(stage=None, pages=100))
    saved = torch.load(state_file(), weights_only=False)
    saved["state"]["unfinished"] = {"stage": "see", "pages": 60, "done": 50}
    torch.save(saved, state_file())
    start(asked(pages=60))
    now = json.loads(log_file().read_text())
    assert 10 <= now["pages"]["see"] - state["pages"]["see"] < 10 + 21


def test_each_model_of_its_own_starts_from_the_one_before(work, monkeypatch, capsys):
    """The one that speaks from the first stages, the reranker from the one that speaks."""
    start(asked(fresh=True, minutes=0.02))
    for before, stage in ((None, "speak"), ("speak", "judge")):
        start(asked(stage=stage, fresh=True, minutes=0.02))
        assert f"starts from {state_file(before)}" in capsys.readouterr().out
    state = json.loads(log_file("judge").read_text())
    assert all(state["spent"][stage] > 0 for stage in ("see", "speak", "judge"))
    monkeypatch.setattr(places, "OUT", work)
    for before, stage in (("read", "speak"), ("speak", "judge")):
        state_file(before).unlink()
        with pytest.raises(SystemExit, match=f"--stage {stage} starts from what `{before}` left"):
            start(asked(stage=stage, fresh=True))


def test_a_reranker_leaves_the_eyes_as_they_are(work):
    import torch

    start(asked(fresh=True, minutes=0.02))
    for stage in ("speak", "judge"):
        start(asked(stage=stage, fresh=True, minutes=0.02))
    spoken, judged = (
        torch.load(state_file(stage), weights_only=False)["model"] for stage in ("speak", "judge")
    )
    for key, weight in judged.items():
        assert "visual" not in key or weight.equal(spoken[key]), key
    assert not judged["model.language_model.norm.weight"].equal(spoken["model.language_model.norm.weight"])


def test_speak_goes_on_with_newer_eyes(work, capsys):
    """Its vision tower becomes the one that `see` has come to since; its log says so."""
    import torch

    def weights(stage=None):
        return torch.load(state_file(stage), weights_only=False)["model"]

    start(asked(fresh=True, minutes=0.02))
    start(asked(stage="speak", fresh=True, minutes=0.02))
    old = weights()
    start(asked(minutes=0.02))
    eyes = "model.visual.merger.linear_fc2.weight"
    assert not weights()[eyes].equal(old[eyes])
    start(asked(stage="speak", eyes=True, minutes=0.02))
    assert "the vision tower is that of" in capsys.readouterr().out
    spent = json.loads(log_file("speak").read_text())["spent"]
    assert spent["see"] == pytest.approx(0.04) and spent["speak"] == pytest.approx(0.04)
    tokenizer = load_or_build_processor().tokenizer
    reader = Reader(build_model(tokenizer), tokenizer, "cpu")
    before = {key: weight.clone() for key, weight in reader.text.state_dict().items()}
    take_eyes(reader, {"spent": {}, "pages": {}}, "cpu", quiet=True)
    assert all(weight.equal(before[key]) for key, weight in reader.text.state_dict().items())
    assert reader.vision.merger.linear_fc2.weight.equal(weights()[eyes])


def test_what_cannot_be_is_said_at_once(work, monkeypatch):
    for changes, message in (
        ({"minutes": 0}, "--minutes must be above 0"),
        ({"pages": 0}, "--pages must be above 0"),
        ({"eyes": True}, "--eyes is for --stage speak without --fresh"),
        ({"eyes": True, "stage": "judge"}, "--eyes is for --stage speak without --fresh"),
        ({"eyes": True, "stage": "speak", "fresh": True}, "--eyes is for --stage speak without --fresh"),
        ({"shape": "wide", "stage": "judge"}, "--shape and --stage judge do not go together"),
    ):
        with pytest.raises(SystemExit, match=message):
            start(asked(**changes))
    monkeypatch.setenv("CXX", "no-compiler")
    with pytest.raises(SystemExit, match="--compile: there is no no-compiler"):
        start(asked(compile=True))
    monkeypatch.setattr(train.hardware, "use_bf16", lambda kind: False)
    with pytest.raises(SystemExit, match="does not compute in bfloat16"):
        start(asked(bf16=True))
    state_file().write_bytes(b"not a state")
    with pytest.raises(SystemExit, match="state.pt cannot be read"):
        start(asked())
    monkeypatch.setitem(assets.FONTS, "garamond", ("/nowhere/G.otf", None, "fonts-ebgaramond"))
    with pytest.raises(SystemExit, match="apt-get install fonts-ebgaramond"):
        start(asked())
    (places.ASSETS / "words.txt").unlink()
    with pytest.raises(SystemExit, match="small_checkpoint.py gather"):
        start(asked())


def test_stages_that_had_their_share_are_not_run_in_silence(work):
    import torch

    start(asked(fresh=True, minutes=0.02))
    saved = torch.load(state_file(), weights_only=False)
    saved["state"]["spent"] |= {"see": 30.0, "match": 6.0, "read": 64.0}
    torch.save(saved, state_file())
    with pytest.raises(SystemExit, match="share of 90 minutes: give more than 100"):
        start(asked(stage=None, minutes=90))


def test_a_damaged_shipped_file_is_named(tmp_path, monkeypatch):
    import shutil

    processor = load_or_build_processor()
    reader = Reader(build_model(processor.tokenizer), processor.tokenizer, "cpu")
    shutil.copytree(places.OUT / "small-embedding", tmp_path / "small-embedding")
    monkeypatch.setattr(places, "OUT", tmp_path)
    assert "reading" not in load_shipped(reader)
    for name in ("training_log.json", HEADS, "model.safetensors"):
        (tmp_path / "small-embedding" / name).write_bytes(b"{")
        with pytest.raises(SystemExit, match=f"{name} cannot be read.*git checkout"):
            load_shipped(reader)


def test_aligned_visual_tokens_are_read_as_before():
    import torch

    torch.manual_seed(0)
    tokenizer = load_or_build_processor().tokenizer
    reader = Reader(build_model(tokenizer), tokenizer, "cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)

    def said() -> dict:
        with torch.no_grad():
            tokens = reader.see(pixels)[0].pooler_output
            return {name: reader.heads[name](tokens) for name in ("slots", "pieces")} | {"tokens": tokens}

    before = said()
    reader.align(norm=4.0)
    after = said()
    assert after["tokens"].norm(dim=-1).mean() == pytest.approx(4.0, rel=1e-3)
    for name in ("slots", "pieces"):
        assert torch.allclose(after[name], before[name], atol=1e-3 * float(before[name].abs().max()))


def test_a_slot_holds_the_character_that_is_drawn_there():
    written = [
        tuple(map(np.array, ([1.0, 5.0, 33.0], [2.0, 2.0, 30.0], [3, 4, 5], [9, 9, 8], [0.5, 0.5, 1.0])))
    ]
    targets = dense_targets(written, (64, 32))
    columns, rows = SLOTS
    assert targets["sc"].tolist() == [0, 1, columns * rows + (rows - 1) * columns]
    assert targets["si"].tolist() == [3, 4, 5]


def test_a_turned_page_takes_its_targets_along():
    from PIL import Image

    picture = Image.new("L", (224, 320))
    picture.putpixel((180, 60), 255)
    for angle in (-2.0, 2.0):
        turned = np.asarray(picture.rotate(angle, Image.Resampling.BILINEAR))
        y, x = np.unravel_index(turned.argmax(), turned.shape)
        found = pages.turned(np.array([[180.5, 60.5]]), angle, picture.size)
        assert np.abs(found - (x + 0.5, y + 0.5)).max() < 1
    assert pages.compressed(Image.new("RGB", (40, 30), "white"), 60).size == (40, 30)
