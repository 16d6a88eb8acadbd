"""Each remedy that a message names, applied as it stands: what was refused then passes."""

import re

import datasets
import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers import checkpoints, checks, copies, dataset
from helpers.course import ledger
from helpers.course.profiles import PROFILES, ROOT, get_profile
from tools.planning import plan
from tools.readiness import check_profile

MODEL = str(ROOT / "data" / "checkpoints" / "small-embedding")


def said(kind, call, *arguments, **options) -> str:
    """The message that a call stops with."""
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    return str(caught.value)


def model(dtype="float32"):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(MODEL, device="cpu", model_kwargs={"dtype": dtype})


def trainer(tmp_path, rows, trained=None, **options):
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments, losses

    trained = trained or model()
    given = {
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "logging_steps": 1,
        "learning_rate": 1e-4,
    } | options
    args = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "out"),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        **given,
    )
    loss = losses.MultipleNegativesRankingLoss(trained)
    return SentenceTransformerTrainer(model=trained, args=args, train_dataset=rows, loss=loss)


def texts(queries=None) -> datasets.Dataset:
    queries = queries or [f"query {i}" for i in range(8)]
    return datasets.Dataset.from_dict({"query": queries, "image": [f"page {i}" for i in range(len(queries))]})


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    """Eight pages, as PNG files."""
    folder, paths = tmp_path_factory.mktemp("pages"), []
    for number in range(8):
        page = Image.new("RGB", (96, 128), "white")
        ImageDraw.Draw(page).text((10, 10 + 12 * number), f"page {number}", fill="black", font_size=20)
        paths.append(str(folder / f"{number}.png"))
        page.save(paths[-1])
    return paths


def test_weights_that_are_frozen():
    frozen = model().requires_grad_(False)
    message = said(ValueError, checks.trainable_parameters, frozen)
    exec(re.search(r"model\.requires_grad_\(True\)", message)[0], {"model": frozen})
    assert checks.trainable_parameters(frozen)


@pytest.mark.parametrize(
    "names", [["image", "query"], ["query", "image", "page_id"], ["image", "query", "style"]]
)
def test_columns(names):
    rows = datasets.Dataset.from_dict({name: ["x"] for name in names})
    message = said(ValueError, dataset.check_columns, rows, ["query", "image"], exact=True)
    rows = eval("rows" + re.search(r"\.select_columns\(\[.*?\]\)", message)[0], {"rows": rows})
    dataset.check_columns(rows, ["query", "image"], exact=True)


def test_a_column_of_another_name():
    rows = datasets.Dataset.from_dict({"question": ["x"], "image": ["y"]})
    message = said(ValueError, dataset.check_columns, rows, ["query", "image"])
    assert "Rename its columns" in message
    rows = rows.rename_column("question", "query")
    rows = eval("rows" + re.search(r"\.select_columns\(\[.*?\]\)", message)[0], {"rows": rows})
    dataset.check_columns(rows, ["query", "image"])


def test_pages_that_are_read_as_text(files, tmp_path):
    names = [f"no-such-{i}.png" for i in range(8)]
    rows = datasets.Dataset.from_dict({"query": texts()["query"], "image": names})
    message = said(ValueError, checks.page_tokens, trainer(tmp_path, rows))
    rows = rows.remove_columns("image").add_column("image", files)
    code = re.search(r"dataset\.cast_column\(.*\)", message)[0]
    rows = eval(code, {"dataset": rows, "datasets": datasets})
    assert checks.page_tokens(trainer(tmp_path, rows))["image"]


def test_queries_and_pages_in_the_wrong_order(files, tmp_path):
    rows = datasets.Dataset.from_dict({"image": files, "query": texts()["query"]})
    rows = rows.cast_column("image", datasets.Image())
    message = said(ValueError, checks.page_tokens, trainer(tmp_path, rows))
    assert "Put the columns in the loss's order: the query, its page" in message
    assert checks.page_tokens(trainer(tmp_path, rows.select_columns(["query", "image"])))


def test_prompts(tmp_path):
    message = said(ValueError, checks.same_prompts, trainer(tmp_path, texts()))
    assert (
        "Pass the model's prompts to the training arguments: prompts={'query': model.prompts[...]" in message
    )
    ours = model()
    prompts = {"query": ours.prompts["query"], "image": ours.prompts["document"]}
    assert checks.same_prompts(trainer(tmp_path, texts(), ours, prompts=prompts))


def test_repeats_in_a_batch(tmp_path):
    rows = texts(["the same", "query"] * 2 + [f"query {i}" for i in range(4)])
    made = trainer(tmp_path, rows, batch_sampler="batch_sampler", per_device_train_batch_size=8)
    message = said(ValueError, checks.no_repeats_in_a_batch, made)
    sampler = eval(re.search(r"batch_sampler=(copies\.\w+)", message)[1], {"copies": copies})
    assert checks.no_repeats_in_a_batch(trainer(tmp_path, rows, batch_sampler=sampler))


def test_a_text_on_too_many_rows(tmp_path):
    queries = ["the same"] * 6 + [f"query {i}" for i in range(6)]
    message = said(
        ValueError,
        checks.no_repeats_in_a_batch,
        trainer(tmp_path, texts(queries), batch_sampler="no_duplicates"),
    )
    most = int(re.search(r"Keep at most (\d+) of these", message)[1])
    assert checks.no_repeats_in_a_batch(
        trainer(tmp_path, texts(queries[6 - most :]), batch_sampler="no_duplicates")
    )


def test_a_loss_that_is_not_logged_or_not_finite(tmp_path):
    made = trainer(tmp_path, texts(), logging_strategy="no")
    made.train()
    assert "Set logging_steps" in said(RuntimeError, checks.loss_fell, made.state.log_history)
    made = trainer(tmp_path, texts(), logging_steps=1, learning_rate=1e38)
    made.train()
    message = said(RuntimeError, checks.loss_fell, made.state.log_history, must_fall=False)
    assert "Lower the learning rate" in message
    made = trainer(tmp_path, texts(), learning_rate=1e-4)
    made.train()
    assert checks.loss_fell(made.state.log_history, must_fall=False)


def test_weights_that_do_not_move(tmp_path):
    ours = model("bfloat16")
    before = checks.sample_weights(ours)
    trainer(tmp_path, texts(), ours, learning_rate=1e-12).train()
    message = said(RuntimeError, checks.weights_moved, before, ours)
    assert "Load the model in float32 and set learning_rate" in message
    ours = model("float32")
    before = checks.sample_weights(ours)
    trainer(tmp_path, texts(), ours, learning_rate=1e-4).train()
    assert checks.weights_moved(before, ours)


def test_a_batch_larger_than_the_rows(tmp_path):
    message = said(ValueError, plan, trainer(tmp_path, texts(), per_device_train_batch_size=16))
    assert "Set a smaller per_device_train_batch_size" in message
    assert plan(trainer(tmp_path, texts(), per_device_train_batch_size=2), probes=2).steps == 2


def pages(files, names) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"page_id": names, "image": files}).cast_column(
        "image", datasets.Image()
    )


@pytest.mark.parametrize("known", [True, False])
def test_pages_in_both_splits(files, known):
    train, corpus = pages(files[:6], list("abcdef")), pages(files[5:], list("fgh"))
    if not known:
        train = train.remove_columns("page_id")
    message = said(ValueError, checks.no_shared_pages, train, corpus, ["image"])
    assert "take these pages out of the training rows" in message and "such as f" in message
    assert checks.no_shared_pages(train.select(range(5)), corpus, ["image"]) == (5, 3)
    if not known:
        checks.no_shared_pages(train, corpus, ["image"], near=0.0)  # "lower `near`"


def test_ids_of_two_kinds(files):
    asked = datasets.Dataset.from_dict({"query_id": ["q"], "query": ["what?"], "page_ids": [[1]]})
    corpus = pages(files[:2], ["1", "2"])
    message = said(ValueError, dataset.retrieval_task, asked, corpus)
    assert "make both strings" in message
    asked = asked.cast_column("page_ids", datasets.List(datasets.Value("string")))
    assert dataset.retrieval_task(asked, corpus)[2] == {"q": {"1"}}
    twice = pages(files[:2], ["1", "1"])
    assert "each query and page has one row" in said(ValueError, dataset.retrieval_task, asked, twice)
    renamed = corpus.rename_column("page_id", "id")
    assert "Rename the one that it is" in said(ValueError, dataset.retrieval_task, asked, renamed)
    assert dataset.retrieval_task(asked, renamed.rename_column("id", "page_id"))
    assert dataset.retrieval_task(asked, twice.select([0]))


def test_checkpoints_of_another_run(tmp_path):
    message = said(ValueError, checkpoints.begin, tmp_path, {"seed": 1}, resume=True)
    assert (
        checkpoints.begin(tmp_path, {"seed": 1}, resume=eval(re.search(r"RESUME = (None)", message)[1]))
        is None
    )
    (tmp_path / "checkpoint-5").mkdir()
    message = said(ValueError, checkpoints.begin, tmp_path, {"seed": 2})
    assert (
        checkpoints.begin(tmp_path, {"seed": 2}, resume=eval(re.search(r"RESUME = (False)", message)[1]))
        is None
    )
    assert not (tmp_path / "checkpoint-5").exists()


def test_a_profile_for_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    message = said(RuntimeError, check_profile, get_profile("full-dry"))
    cut = int(re.search(r"CUT_SIZES = (\d+)", message)[1])
    check_profile(get_profile("full-dry", cut_sizes=cut))
    message = said(RuntimeError, check_profile, get_profile("full"))
    assert "ALLOW_CPU = True with MAX_STEPS = 2" in message
    monkeypatch.setattr("tools.readiness._check_hub", lambda *arguments: None)
    check_profile(get_profile("full", max_steps=2), allow_cpu=True)


def test_a_ledger_of_another_form(monkeypatch, tmp_path):
    import shlex
    import subprocess

    monkeypatch.setenv("VDR_COURSE_RUNS", str(tmp_path))
    ledger.path("small").write_text("[]")
    message = said(ValueError, ledger.read, "small")
    subprocess.run(shlex.split(re.search(r"`(rm [^`]+)`", message)[1]), check=True)
    assert ledger.Section("00_start_here", PROFILES["small"]).finish()["seed"] == 12


def test_a_vision_tower_that_is_trained():
    from tools.visual_tokens import keep_visual_tokens

    ours = model()
    message = said(ValueError, keep_visual_tokens, ours)
    ending = re.search(r"name ends in '(\.\w+)'", message)[1]
    for name, module in ours.named_modules():
        if name.endswith(ending):
            module.requires_grad_(False)
    assert keep_visual_tokens(ours) is not None


def test_embeddings_of_the_model_before():
    before = np.eye(3)
    assert "Score the model that was trained" in said(RuntimeError, checks.embeddings_moved, before, before)
    assert checks.embeddings_moved(before, before + 0.1) < 1
    assert "not finite" in said(RuntimeError, checks.embeddings_moved, before, before * np.nan)
