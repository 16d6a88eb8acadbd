"""The checks around training: each stops a copy of notebook 04 into which its fault was planted."""

import json
import os
import subprocess
import sys

import datasets
import numpy as np
import pytest
from PIL import Image, ImageDraw
from sentence_transformers.base.modality import infer_modality

from helpers import checks, inputs
from helpers.course.profiles import ROOT
from tests.conftest import with_pages

INPUTS = ROOT / "tests" / "inputs"
NOTEBOOK = ROOT / "notebooks" / "04_train_embedding.ipynb"
# Few pages to be scored with, so that a copy of the notebook takes seconds.
SHORTER = {
    "dev_rows.select(range(min(64, len(dev_rows))))": "dev_rows.select(range(8))",
    "negatives = [": "eval_dataset = eval_dataset.select(range(8))\nnegatives = [",
    'eval_corpus = collection.corpus("eval")': 'eval_corpus = collection.corpus("eval")\n'
    'answers = set().union(*eval_dataset["page_ids"])\n'
    'ids = eval_corpus["page_id"]\n'
    "eval_corpus = eval_corpus.select([i for i, page in enumerate(ids) if i < 12 or page in answers])",
}
TRAIN = "train_dataset = train_rows.select_columns(columns)"
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
pages = eval_dataset.select(range(8))
pages = pages.map(lambda row: {"image": row["image"].resize((150, 200))})
train_rows = datasets.concatenate_datasets([pages, train_rows.select(range(24))])
train_rows = train_rows.remove_columns(["page_id", "negative_ids"])
"""
LOAD = 'train_rows, dev_rows, eval_dataset = (collection.split(split) for split in ("train", "dev", "eval"))'
#: name -> ({text in the notebook: what stands there instead}, the message that the notebook stops with)
FAULTS = {
    "an id column is left in": (
        {TRAIN: 'train_dataset = train_rows.select_columns([*columns, "page_id"])'},
        "columns that a loss would take for inputs",
    ),
    "columns in another order": (
        {TRAIN: "train_dataset = train_rows.select_columns(columns[::-1])"},
        "columns are in the wrong order",
    ),
    "a query of no words": (
        {TRAIN: f"{TRAIN}{NO_WORDS}"},
        "The query of row 0 has no words",
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
        {LOAD: f"{LOAD}\ntrain_rows = eval_dataset"},
        "Trained on pages that the model is scored with: ",
    ),
    "evaluation pages in training, under other names": (
        {LOAD: f"import datasets\n\n{LOAD}{COPIES}"},
        "look like pages trained on",
    ),
    "a row twice in a batch": (
        {
            TRAIN: TRAIN.replace(".select_columns", ".select([0] * 8).select_columns"),
            "batch_sampler=copies.no_duplicates": 'batch_sampler="batch_sampler"',
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
    settings = {"TRAIN_ROWS": 32, "BATCH_SIZE": 4, "MAX_STEPS": 2} | parameters
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
    wrong = {
        "1 x 1 pixels": saved(Image.new("RGB", (1, 1)), tmp_path),
        "40 x 9000 pixels": saved(Image.new("1", (40, 9000)), tmp_path),
        "10,000 x 10,000 pixels": saved(Image.new("1", (10_000, 10_000)), tmp_path),
        "does not open.*exceeds limit": saved(Image.new("1", (20_000, 20_000)), tmp_path),
        "html_saved_as.png.* does not open": str(INPUTS / "img" / "html_saved_as.png"),
        "zero.png.* does not open": str(INPUTS / "img" / "zero.png"),
        "cut.png.* does not open.*truncated": str(INPUTS / "img" / "cut.png"),
        "cut.jpg.* does not open.*truncated": str(INPUTS / "img" / "cut.jpg"),
        "is missing": None,
    }
    for message, file in wrong.items():
        with pytest.raises(ValueError, match=f"The page of row 1 in column 'image' .*{message}.*1 are like"):
            checks.readable_rows(pairs(["where?", "there"], [good, file]))
    for words in ("", "  ", "?!", "\N{AUTOMOBILE}", None):
        with pytest.raises(ValueError, match="The query of row 1 has no words"):
            checks.readable_rows(pairs(["where?", words], [good, good]))


def remedy(call, **names):
    """What the code in the error that `call` raises makes of the data set, when it is run as it stands."""
    with pytest.raises(ValueError) as error:
        call(names["dataset"])
    code = str(error.value)
    exec(code[code.rindex(": ") + 2 :].rstrip("."), names)
    return names["dataset"]


def test_the_remedies_for_rows_are_the_remedies(tmp_path):
    good = saved(page("a page"), tmp_path)
    cut, clear, grey = (str(INPUTS / "img" / name) for name in ("cut.png", "transparent.png", "grey16.png"))
    media = saved(page("a picture"), tmp_path)
    asked = ["where?", "there", None, "when?", media, "what is <|image_pad|>?", "https://example.com/a.png"]
    made = pairs(asked, [good, cut, good, clear, grey, None, good])
    left = remedy(checks.readable_rows, dataset=made, checks=checks)
    assert len(left) == 4
    plain = remedy(checks.readable_rows, dataset=left, inputs=inputs)
    assert checks.readable_rows(plain) == 4
    assert [infer_modality(query) for query in plain["query"]] == ["text"] * 4
    assert "<|" not in "".join(plain["query"])
    for row, file in enumerate((good, clear, grey, good)):
        assert plain[row]["image"].tobytes() == inputs.plain_page(file).tobytes()


def test_the_processor_is_asked_for_its_limits(tmp_path):
    class Model:
        class processor:
            class image_processor:
                @staticmethod
                def get_number_of_image_patches(height, width):
                    assert (height, width) == (320, 224)
                    raise ValueError("no pages here")

    made = pairs(["where?"], [saved(page("a page"), tmp_path)])
    with pytest.raises(ValueError, match="The page of row 0 in column 'image' is refused: no pages here"):
        checks.readable_rows(made, Model)


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
    assert checks.loss_fell(log, guess=2 * np.log(8)) == (3.0, 2.0)
    with pytest.raises(RuntimeError, match="a guess costs 2.079"):
        checks.loss_fell(log, guess=np.log(8))
    with pytest.raises(RuntimeError, match="not finite"):
        checks.loss_fell([{"loss": float("nan")}], must_fall=False)
    with pytest.raises(RuntimeError, match="logging_steps"):
        checks.loss_fell([{"eval_loss": 1.0}])


def trained(tmp_path, queries, pages, **options):
    """A trainer that has trained the small checkpoint on pairs of texts, and what was noted on the way."""
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, losses
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments

    model = SentenceTransformer(
        str(ROOT / "data" / "checkpoints" / "small-embedding"),
        device="cpu",
        model_kwargs={"dtype": "float32"},
    )
    args = Arguments(
        output_dir=str(tmp_path), use_cpu=True, report_to="none", disable_tqdm=True, save_strategy="no",
        logging_steps=1, batch_sampler="no_duplicates", **options,
    )  # fmt: skip
    rows = datasets.Dataset.from_dict({"query": queries, "image": pages})
    loss = losses.MultipleNegativesRankingLoss(model)
    trainer = SentenceTransformerTrainer(model=model, args=args, train_dataset=rows, loss=loss)
    before, sizes = checks.sample_weights(model), checks.batch_sizes(trainer)
    trainer.train()
    return trainer, before, sizes


@pytest.mark.parametrize("filtered", [True, False])
def test_a_training_that_broke_is_no_success(filtered, tmp_path):
    texts = [f"page {i}" for i in range(8)]
    options = {"learning_rate": 1e38, "max_steps": 4, "per_device_train_batch_size": 4, "max_grad_norm": 0.0}
    trainer, before, _ = trained(tmp_path, texts, texts, logging_nan_inf_filter=filtered, **options)
    with pytest.raises(RuntimeError, match="The loss is not finite"):
        checks.loss_fell(trainer.state.log_history, must_fall=False)
    with pytest.raises(RuntimeError, match="weight tensors are not finite"):
        checks.weights_moved(before, trainer.model)


def test_batches_that_are_not_full_are_no_learning(tmp_path):
    """Nothing is learned, and the loss falls all the same: the last batches have one wrong page or none."""
    queries = [f"query {i}" for i in range(24)] + ["the same"] * 12
    options = {"learning_rate": 0.0, "num_train_epochs": 1, "per_device_train_batch_size": 8}
    trainer, _, sizes = trained(tmp_path, queries, [f"page {i}" for i in range(36)], **options)
    history = trainer.state.log_history
    assert sizes[0] == 8 and sizes[-1] == 1 and len(sizes) == trainer.state.global_step
    kept = [float(entry["loss"]) for entry, size in zip(history, sizes) if size >= 4]
    assert checks.loss_fell(history, must_fall=False, sizes=sizes) == (kept[0], kept[-1])
    assert checks.loss_fell(history[:-2], must_fall=False, sizes=sizes[:4]) == (kept[0], kept[-1])
    with pytest.raises(RuntimeError, match="of batches of one row: 0 at the end"):
        checks.loss_fell(history)
    with pytest.raises(ValueError, match="Row 24 and 11 more of 36 rows are the same.*'query'.*at most 5"):
        checks.no_repeats_in_a_batch(trainer)


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


def test_rows_of_another_form_are_named_with_their_remedy(tmp_path):
    made = pairs(["where?", "there"], [saved(page("Rent"), tmp_path)] * 2)
    for wrong, message in (
        (datasets.DatasetDict(train=made), "no rows to train on.*data.'train'."),
        (made.select([]), "no rows to train on"),
        (made.select_columns(["image", "query"]), "first column, 'image', holds no texts.*select_columns"),
        (made.add_column("label", [1.0, 0.0]), "Column 'label' is not of pictures.*leave it out"),
        (made.add_column("ids", [["a"], ["b"]]), "Column 'ids' is not of pictures"),
    ):
        with pytest.raises(ValueError, match=message):
            checks.readable_rows(wrong)
    names = datasets.Dataset.from_dict({"query": ["where?"], "image": [saved(page("Rent"), tmp_path)]})
    with pytest.raises(ValueError, match="Column 'image' is not of pictures.*cast_column") as error:
        checks.readable_rows(names)
    assert ".cast_column('image', datasets.Image())" in str(error.value)
    assert checks.readable_rows(names.cast_column("image", datasets.Image())) == 1


def test_pages_and_negatives_that_are_not_there():
    made = rows(page("Rent"), page("Heating"))
    corpus = datasets.Dataset.from_dict({"page_id": ["p"], "image": [page("Other")]})
    corpus = corpus.cast_column("image", datasets.Image())
    with pytest.raises(ValueError, match="row 0 in column 'image' is missing"):
        checks.no_shared_pages(pairs(["where?"], [None]), corpus, ["image"])
    assert checks.no_shared_pages(made.select([]), corpus, ["image"]) == (0, 1)
    some = made.add_column("negative_ids", [["a"], None])
    assert checks.no_shared_pages(some, corpus, ["image"])[1] == 1
