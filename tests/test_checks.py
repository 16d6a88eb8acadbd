"""The checks around training: each stops a copy of notebook 04 into which its fault was planted."""

import json
import os
import subprocess
import sys

import datasets
import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers import checks
from helpers.course.profiles import ROOT
from tests.conftest import with_pages

NOTEBOOK = ROOT / "notebooks" / "04_train_embedding.ipynb"
# Few pages to be scored with, so that a copy of the notebook takes seconds.
SHORTER = {
    'eval_dataset = data["eval"]': 'eval_dataset = data["eval"].select(range(8))',
    'eval_corpus = load_corpus(profile, "eval")': 'eval_corpus = load_corpus(profile, "eval")\n'
    'answers = set().union(*eval_dataset["page_ids"])\n'
    'ids = eval_corpus["page_id"]\n'
    "eval_corpus = eval_corpus.select([i for i, page in enumerate(ids) if i < 12 or page in answers])",
}
TRAIN = 'train_dataset = data["train"].select_columns(columns)'
AS_TEXT = """
names = [f"page-{i}.png" for i in range(len(train_dataset))]
train_dataset = train_dataset.remove_columns("image").add_column("image", names).select_columns(columns)
"""
NO_WORDS = """
queries = [" ", *train_dataset["query"][1:]]
train_dataset = train_dataset.remove_columns("query").add_column("query", queries).select_columns(columns)
"""
CUT_OFF = """
def cut(row):
    return {name: row[name].crop((0, 0, row[name].width, 64)) for name in columns[1:]}


train_dataset = train_dataset.map(cut)
"""
COPIES = """
pages = data["eval"].select(range(8))
pages = pages.map(lambda row: {"image": row["image"].resize((150, 200))})
data["train"] = datasets.concatenate_datasets([pages, data["train"].select(range(24))])
data["train"] = data["train"].remove_columns(["page_id", "negative_ids"])
"""
LOAD = "data = load_dataset(profile)"
#: name -> ({text in the notebook: what stands there instead}, the message that the notebook stops with)
FAULTS = {
    "an id column is left in": (
        {TRAIN: 'train_dataset = data["train"].select_columns([*columns, "page_id"])'},
        "columns that a loss would take for inputs",
    ),
    "columns in another order": (
        {TRAIN: 'train_dataset = data["train"].select_columns(columns[::-1])'},
        "columns are in the wrong order",
    ),
    "a query of no words": (
        {TRAIN: f"{TRAIN}{NO_WORDS}"},
        "Row 0 has a query of no words",
    ),
    "pages as file names": (
        {"trainer = SentenceTransformerTrainer(": f"{AS_TEXT}trainer = SentenceTransformerTrainer("},
        "without a single visual token",
    ),
    "pages cut off": (
        {TRAIN: f"{TRAIN}{CUT_OFF}"},
        "cut off or made smaller on the way",
    ),
    "evaluation pages in training": (
        {LOAD: f'{LOAD}\ndata["train"] = data["eval"]'},
        "Trained on pages that the model is scored with: ",
    ),
    "evaluation pages in training, under other names": (
        {LOAD: f"import datasets\n\n{LOAD}{COPIES}"},
        "look like pages trained on",
    ),
    "a row twice in a batch": (
        {
            TRAIN: TRAIN.replace(".select_columns", ".select([0] * 8).select_columns"),
            "BatchSamplers.NO_DUPLICATES": "BatchSamplers.BATCH_SAMPLER",
        },
        "each counts as wrong for the other",
    ),
    "a frozen model": (
        {"trainable = checks": "model.requires_grad_(False)\ntrainable = checks"},
        "No weight is trainable",
    ),
    "no prompts in training": (
        {"    prompts=prompts,\n": ""},
        "is trained as",
    ),
    "a learning rate far too high": (
        {"learning_rate=profile.learning_rate": "learning_rate=3.0"},
        "The loss ",
    ),
    "a learning rate of zero": (
        {"learning_rate=profile.learning_rate": "learning_rate=0.0"},
        "No weight has changed",
    ),
    "another model scored": (
        {
            "finetuned_embeddings = evaluate(model)": "finetuned_embeddings = evaluate("
            "SentenceTransformer(profile.path(profile.embedding_model), device=device(), "
            'model_kwargs={"dtype": "float32", "attn_implementation": training_attention()}))'
        },
        "those of the model before training",
    ),
}


def planted(faults: dict[str, str]) -> dict:
    """Notebook 04 with each text in `faults` replaced, once."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    for old, new in (SHORTER | faults).items():
        found = [cell for cell in notebook["cells"] if old in "".join(cell["source"])]
        assert len(found) == 1, f"{old!r} stands in {len(found)} cells of notebook 04"
        found[0]["source"] = "".join(found[0]["source"]).replace(old, new)
    return notebook


@pytest.fixture(scope="module")
def runs(tmp_path_factory, small_pages):
    return with_pages(tmp_path_factory.mktemp("faults") / "runs", small_pages)


def papermill(file, runs, **parameters) -> str:
    """What papermill prints while it runs the notebook in place, the error at the end included."""
    command = [sys.executable, "-m", "papermill", str(file), str(file), "--cwd", str(ROOT / "notebooks")]
    command += [part for name, value in parameters.items() for part in ("-p", name, str(value))]
    environment = os.environ | {"VDR_COURSE_RUNS": str(runs)}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True)
    return shown.stdout + shown.stderr


def run(notebook: dict, runs, **parameters) -> str:
    """Run a copy of notebook 04 for a few steps."""
    file = runs / "copy.ipynb"
    file.write_text(json.dumps(notebook), encoding="utf-8")
    settings = {"TRAIN_ROWS": 32, "BATCH_SIZE": 4, "MINI_BATCH_SIZE": 4, "MAX_STEPS": 2} | parameters
    return papermill(file, runs, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_stops_the_notebook(name, runs):
    faults, message = FAULTS[name]
    steps = 20 if "too high" in name else 2
    shown = run(planted(faults), runs, MAX_STEPS=steps)
    error = shown[shown.find("Traceback") :]
    assert message in error, shown[-3000:]


def page(words: str, size=(224, 320)) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    ImageDraw.Draw(picture).text((20, 30), words, fill="black", font_size=24)
    return picture


def rows(*pictures: Image.Image) -> datasets.Dataset:
    columns = {"page_id": [f"p{i}" for i in range(len(pictures))], "image": list(pictures)}
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())


def saved(picture: Image.Image, folder, **options) -> str:
    file = folder / f"page-{len(list(folder.iterdir()))}.{options.pop('ending', 'png')}"
    picture.save(file, **options)
    return str(file)


def pairs(queries, files) -> datasets.Dataset:
    made = datasets.Dataset.from_dict({"query": queries, "image": files})
    return made.cast_column("image", datasets.Image())


def test_readable_rows(tmp_path):
    good = saved(page("a page"), tmp_path)
    assert checks.readable_rows(pairs(["where?", "4711"], [good, good])) == 2
    for words in ("", "  ", "?!"):
        with pytest.raises(ValueError, match="Row 1 has a query of no words in column 'query'"):
            checks.readable_rows(pairs(["where?", words], [good, good]))
    clear = page("a page").convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 0))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG and no more")
    wrong = {
        "1 x 1 pixels": saved(Image.new("RGB", (1, 1)), tmp_path),
        "10,000 x 10,000 pixels": saved(Image.new("1", (10_000, 10_000)), tmp_path),
        "far more pixels than a page": saved(Image.new("1", (20_000, 20_000)), tmp_path),
        "the colours CMYK.*flatten": saved(Image.new("CMYK", (64, 64)), tmp_path, ending="jpg"),
        "is transparent.*flatten": saved(clear, tmp_path),
        "does not open.*broken.png": str(broken),
        "is missing": None,
    }
    for message, file in wrong.items():
        with pytest.raises(ValueError, match=f"Row 1 has a page in column 'image' that .*{message}"):
            checks.readable_rows(pairs(["where?", "there"], [good, file]))


def test_flatten_puts_transparent_pages_on_white():
    from helpers.pages import flatten

    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    clear.paste((255, 0, 0, 255), (0, 0, 20, 20))
    flat = flatten(clear)
    assert (flat.mode, flat.getpixel((5, 5)), flat.getpixel((30, 30))) == (
        "RGB",
        (255, 0, 0),
        (255, 255, 255),
    )
    assert flatten(Image.new("CMYK", (40, 40))).mode == "RGB"


def test_no_shared_pages_finds_copies_by_their_pixels():
    train = rows(page("first page\nof a report"), page("second page\nof it"))
    other = rows(page("another one\nwith other words"))
    assert checks.no_shared_pages(train.remove_columns("page_id"), other, ["image"]) == (2, 1)
    larger = rows(page("second page\nof it").resize((336, 480)))
    with pytest.raises(ValueError, match="such as p0, 0.*Split by document"):
        checks.no_shared_pages(train.remove_columns("page_id"), larger, ["image"])
    with pytest.raises(ValueError, match="such as p0"):
        checks.no_shared_pages(train, other, ["image"])


def test_loss_fell():
    log = [{"loss": "3.0"}, {"eval_loss": 9.0}, {"loss": 2.0}]
    assert checks.loss_fell(log) == (3.0, 2.0)
    with pytest.raises(RuntimeError, match="did not fall"):
        checks.loss_fell(log[::-1])
    assert checks.loss_fell(log[::-1], must_fall=False) == (2.0, 3.0)
    guess = checks.guessing_loss(8, weight=2)
    assert guess == pytest.approx(2 * np.log(8))
    assert checks.loss_fell(log, guess=guess) == (3.0, 2.0)
    with pytest.raises(RuntimeError, match="a guess costs 2.079"):
        checks.loss_fell(log, guess=checks.guessing_loss(8))
    with pytest.raises(RuntimeError, match="not finite"):
        checks.loss_fell([{"loss": float("nan")}], must_fall=False)
    with pytest.raises(RuntimeError, match="logging_steps"):
        checks.loss_fell([{"eval_loss": 1.0}])


def test_weights_and_embeddings_moved():
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    assert checks.trainable_parameters(model) == 4 * 3 + 3 + 3 * 2 + 2
    before = checks.sample_weights(model)
    with pytest.raises(RuntimeError, match="No weight has changed"):
        checks.weights_moved(before, model)
    with torch.no_grad():
        model[0].weight += 1
    assert checks.weights_moved(before, model) == 1
    with pytest.raises(ValueError, match="No weight is trainable"):
        checks.trainable_parameters(model.requires_grad_(False))

    vectors = np.eye(3, 5)
    with pytest.raises(RuntimeError, match="before training"):
        checks.embeddings_moved(vectors, 2 * vectors)
    assert checks.embeddings_moved(vectors, vectors + 1e-4) == pytest.approx(1)
    assert checks.embeddings_moved(vectors, vectors + 1) == pytest.approx(2 / np.sqrt(8))
