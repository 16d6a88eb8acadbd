"""What the pretraining computes, held: batches to the bit, the losses of every stage, and what is exported.

Losses are those of float32 and one thread; they differ a little from CPU to CPU.
"""

import hashlib
import json
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import AutoModelForImageTextToText

from helpers.course.profiles import ROOT
from tests import tiny_pretraining

sys.path.insert(0, str(ROOT / "data" / "make"))
from pretraining import batches, places  # noqa: E402
from pretraining.bank import WordBank  # noqa: E402
from pretraining.batches import make_batch  # noqa: E402
from pretraining.canvas import FORMATS  # noqa: E402
from pretraining.export import export  # noqa: E402
from pretraining.held_out import HeldOutMaker  # noqa: E402
from pretraining.model import load_or_build_processor  # noqa: E402
from pretraining.pages import PageMaker, make_query  # noqa: E402
from pretraining.state import OWN, STAGES, log_file, state_file  # noqa: E402
from pretraining.train import start  # noqa: E402

SHIPPED = places.OUT
GOLDENS = json.loads(Path(__file__).with_name("goldens_pretraining.json").read_text())
#: Figures of a step that are losses; the others, how often something is right, jump from one CPU to another.
LOSSES = ("chars", "pieces", "slots", "contrast", "spoken", "query", "passage", "pair", "list", "token")
#: Trains in two processes, each of which works where this script says.
TWO_PROCESSES = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests import tiny_pretraining
tiny_pretraining.prepare(Path({folder!r}))
from pretraining.train import start
if __name__ == "__main__":
    start(tiny_pretraining.asked(pages=24, batch=24, processes=2, report=-1, fresh=True))
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty working folder with assets."""
    tiny_pretraining.prepare(tmp_path, monkeypatch.setattr)
    return tmp_path


def page_maker(kind=PageMaker, seed: int = 11):
    """A maker of pages in two typefaces of matplotlib's."""
    sans = [tiny_pretraining.typeface("DejaVuSans"), tiny_pretraining.typeface("DejaVuSans-Bold")]
    fonts = [sans, [tiny_pretraining.typeface("DejaVuSerif")]]
    return kind(tiny_pretraining.WORDS * 20, fonts, seed)


def digest(*values) -> str:
    """A short hash of arrays, texts, numbers, and of lists, sets and dicts of them."""
    found = hashlib.sha256()

    def add(value) -> None:
        if isinstance(value, np.ndarray):
            found.update(f"{value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
        elif isinstance(value, dict):
            add(list(value.items()))
        elif isinstance(value, (list, tuple, set)):
            found.update(f"[{len(value)}".encode())
            for part in sorted(value) if isinstance(value, set) else value:
                add(part)
        else:
            found.update(repr(value).encode() + b"\0")

    add(list(values))
    return found.hexdigest()[:16]


@pytest.mark.parametrize("stage", STAGES)
def test_a_batch_is_the_same_to_the_bit(stage):
    tokenizer, maker = load_or_build_processor().tokenizer, page_maker()
    bank = WordBank(maker.words, maker.fonts, tokenizer, size=300) if stage == "see" else None
    batch = make_batch(maker, bank, tokenizer, stage, 12)
    pixels = batch.pop("pixels")
    assert [digest(pixels), digest(batch)] == GOLDENS["batches"][stage]


@pytest.mark.parametrize("kind", [PageMaker, HeldOutMaker], ids=lambda kind: kind.__name__)
def test_pages_are_the_same_to_the_bit(kind):
    """Every layout four times, and so every heading too."""
    maker = page_maker(kind)
    samples = [maker.page(size=FORMATS[i], family=family) for family in maker.families for i in range(4)]
    said = [(sample.family, sample.runs, vars(sample.content)) for sample in samples]
    queries = [make_query(sample.content, maker.rng) for sample in samples]
    assert [digest([sample.pixels for sample in samples]), digest(said, queries)] == GOLDENS["pages"][
        kind.__name__
    ]


def test_a_replayed_batch_comes_back_in_its_turn(work, monkeypatch):
    """Which batch is shown when; a batch is named by its place among those drawn."""
    monkeypatch.setattr(batches, "POOL_BYTES", 0)  # as few as may be: eight are held
    tokenizer = load_or_build_processor().tokenizer
    shown = batches.draw_batches(tokenizer, "match", 4, seed=3, replay=3, plain_pages=0)
    names: dict[str, int] = {}
    order = [names.setdefault(digest(batch), len(names)) for batch in islice(shown, 60)]
    assert order == GOLDENS["replayed"]


def trained(stage: str, **changes) -> list[dict]:
    """The rows that a few steps of a stage logged, without what depends on the machine."""
    start(tiny_pretraining.asked(stage=stage, pages=12, batch=12, report=-1, **changes))
    log = json.loads(log_file(stage).read_text())["log"]
    kept = ("pages", "lr", "loss", *LOSSES)
    return [{key: row[key] for key in kept if key in row} for row in log if row["stage"] == stage]


def test_losses_and_exports_of_all_stages(work, monkeypatch, capsys):
    """Each stage goes on from what the one before left, as in the real training; then all is exported."""
    for stage in STAGES:
        rows = trained(stage, fresh=stage in ("see", *OWN))
        assert rows == [pytest.approx(row, rel=1e-3) for row in GOLDENS["losses"][stage]], stage
    load_or_build_processor().save_pretrained(work / "processor")
    out = work / "checkpoints"
    out.mkdir()
    monkeypatch.setattr(places, "OUT", out)
    monkeypatch.setattr(places, "ROOT", work)
    export()
    assert "small-reranker: " in capsys.readouterr().out
    for stage, name in ((None, "small-embedding"), *OWN.items()):
        assert files_of(out / name) == files_of(SHIPPED / name)
        saved = torch.load(state_file(stage), weights_only=False)
        weights = load(name, out / name).state_dict()
        assert len(weights) >= len(saved["model"]) - 1  # the language head is the embeddings' matrix
        for key, weight in weights.items():
            assert weight.equal(saved["model"][key].to(torch.bfloat16)), f"{name}: {key}"
        log = json.loads((out / name / "training_log.json").read_text())
        assert log == json.loads(log_file(stage).read_text())
        card = (out / name / "README.md").read_text()
        for given in ("see", *([stage] if stage else [])):
            assert re.search(rf"`{given}` \d+ min and {log['pages'][given]} pages", card)
        if name != "small-reranker":
            heads = load_file(out / name / "pretraining_heads.safetensors")
            assert heads.pop("scale").equal(saved["scale"])
            assert heads.keys() == saved["heads"].keys()
            assert all(heads[key].equal(weight) for key, weight in saved["heads"].items())


def files_of(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def load(name: str, folder: Path):
    """A checkpoint as a user loads it: a module that holds the Qwen3-VL."""
    if name == "small-embedding":
        return torch.nn.ModuleDict({"model": SentenceTransformer(str(folder), device="cpu")[0].model})
    if name == "small-reranker":
        return CrossEncoder(str(folder), device="cpu")[0].model
    return AutoModelForImageTextToText.from_pretrained(folder)


def test_two_processes_average_their_gradients(work):
    """Adam's first moments tell the gradients of all steps; the loss is that of the first process."""
    script = work / "train.py"
    script.write_text(TWO_PROCESSES.format(root=str(ROOT), folder=str(work)))
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert not list(work.glob("store-*"))
    saved, wanted = torch.load(state_file(), weights_only=False), GOLDENS["two processes"]
    rows = [row for row in saved["state"]["log"] if row["stage"] == "see"]
    assert [row["pages"] for row in rows] == wanted["pages"]
    assert [row["loss"] for row in rows] == pytest.approx(wanted["loss"], rel=1e-3)
    moments = [moment["exp_avg"].norm() for moment in saved["optimizer"]["state"].values()]
    assert float(torch.stack(moments).norm()) == pytest.approx(wanted["moments"], rel=1e-3)
