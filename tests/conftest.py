"""What several test files need: the notebooks, and a stand-in for the hub's cache that needs no network."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import datasets
import pytest
from PIL import Image

from helpers.copies import undecoded
from helpers.course import data, ledger
from helpers.course.profiles import PROFILES, ROOT, run_dir
from helpers.dataset import COLUMNS
from tests.wrong_answers import WRONG, proof

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL, FULL = PROFILES["small"], PROFILES["full"]
COURSE = {"num_train_epochs": 1, "train_rows": 2600}  # of 04, where the tests run the whole course
STANDIN_PAGE = (1240, 1754)  # pixels: a page of A4 at 150 dots an inch, as those of the public data set
INSTRUCTION = "Judge whether the page answers."  # the stand-in's own, which is not the course's
WITHOUT_ROLES = (
    "{% for message in messages if message.role in ('system', 'user', 'assistant') %}"
    "<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
)
STANDIN_ROWS = {"train": 24, "eval": 4}
YOUR_TURN = re.compile(r"^(\s*).*# your turn.*$", re.MULTILINE)
SOLUTION = re.compile(
    r"<details><summary>Solution</summary>\s*(?:```python\n(.*?)\n```|`([^`]+)`)\s*</details>", re.DOTALL
)


def run_course(*arguments: str, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Run tools/run_course.py as `make course` does, with what it prints as `stdout`."""
    command = [sys.executable, str(root / "tools" / "run_course.py"), *arguments]
    inherited = {name: value for name, value in os.environ.items() if name != "PROFILE"}
    return subprocess.run(
        command,
        cwd=root,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def filled(source: str, answer: str) -> str:
    """An exercise's cell with an answer in the place that says "your turn"."""
    place = YOUR_TURN.search(source)
    lines = "\n".join(place[1] + line for line in answer.split("\n"))
    return source[: place.start()] + lines + source[place.end() :]


def solved(file, wrong: dict | None = None) -> tuple[dict, int]:
    """The notebook with every solution in its exercise's place, and their number.

    With `wrong`, notebook -> wrong answers of each exercise, a cell below each exercise proves that its check
    rejects them.
    """
    notebook = json.loads(file.read_text(encoding="utf-8"))
    count, cells, proofs = 0, notebook["cells"], []
    for place, (cell, following) in enumerate(zip(cells, cells[1:])):
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or not YOUR_TURN.search(source):
            continue
        found = SOLUTION.findall("".join(following["source"]))
        assert len(found) == 1, f"{file.name}: no solution below exercise {count + 1}"
        cell["source"] = filled(source, found[0][0] or found[0][1])
        count += 1
        if wrong:
            checks = [filled(source, answer) for answer in wrong[file.stem][count - 1]]
            proofs.append((place, count, proof(count, checks)))
    for place, number, source in reversed(proofs):
        cell = {"cell_type": "code", "id": f"proof-{number}", "metadata": {"tags": []}, "source": source}
        cells.insert(place + 1, cell | {"execution_count": None, "outputs": []})
    return notebook, count


def solved_course(tmp_path_factory) -> Path:
    """A copy of the course in which all exercises are solved, and wrong answers are tried."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("data", "helpers", "notebooks", "tools"):
        shutil.copytree(ROOT / name, copy / name)
    for file in NOTEBOOKS:
        notebook = json.dumps(solved(file, WRONG)[0])
        (copy / "notebooks" / file.name).write_text(notebook, encoding="utf-8")
    return copy


class Course(NamedTuple):
    """A headless run: what it printed, its ledger, the folder with its notebooks and models."""

    shown: str
    results: dict
    folder: Path


#: Files whose tests share the course's own run, then those that take longest: they begin first.
WITH_COURSE = ("test_notebooks", "test_exercises", "test_fine_tune")
FIRST = (*WITH_COURSE, "test_full_profile", "test_own_pdfs", "test_checks", "test_small_checkpoint")


def pytest_collection_modifyitems(items) -> None:
    """Long files first."""
    order = {stem: place for place, stem in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests of one file run in one process, and so do those that share the course's own run."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "course" if Path(file).stem in WITH_COURSE else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def course(tmp_path_factory) -> Course:
    """One headless run of the whole course on the small profile, in a copy where all exercises are solved.

    The retriever is trained for a quarter of its steps or so, rerankers on a tenth of the queries, and scored
    on fewer candidates, to save minutes: no test asks how good these became, only that fine-tuning gains. No
    row of 03's table is measured again.
    """
    copy, runs = solved_course(tmp_path_factory), tmp_path_factory.mktemp("runs")
    given = {name.upper(): str(value) for name, value in COURSE.items()}
    given |= {"RERANKER_TRAIN_QUERIES": "120", "CANDIDATES": "6", "LIVE": "False"}
    words = [word for name, value in given.items() for word in ("-p", name, value)]
    shown = run_course(*words, root=copy, VDR_COURSE_RUNS=str(runs))
    assert shown.returncode == 0, shown.stdout[-6000:]
    return Course(shown.stdout, ledger.load(runs / "small" / "results.json"), runs / "small")


@pytest.fixture(scope="session")
def small_pages() -> Path:
    """The folder with all bundled pages as the small profile renders them; made once, a minute."""
    data.load_dataset(SMALL)
    return run_dir(SMALL) / "dataset"


def with_pages(runs: Path, pages: Path) -> Path:
    """Make `runs` a folder of runs in which the small profile's pages are rendered already; return it."""
    (runs / "small").mkdir(parents=True)
    (runs / "small" / "dataset").symlink_to(pages)
    return runs


@pytest.fixture(scope="session")
def standin_hub(tmp_path_factory) -> dict[str, str]:
    """Environment variables under which the hub ids of the full profile load the small checkpoints and pages.

    The embedding model gets a projection to the real one's 2048 dimensions, so that the full profile's
    Matryoshka dimensions hold; the reranker is the small one, with templates and an instruction like those of
    the real one.
    """
    home = tmp_path_factory.mktemp("hub")
    environment = {
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_DATASETS_CACHE": str(home / "datasets"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    _save_embedding_model(_snapshot(home / "hub", FULL.embedding_model))
    shutil.copytree(ROOT / SMALL.vlm_model, _snapshot(home / "hub", FULL.vlm_model), dirs_exist_ok=True)
    _save_reranker(_snapshot(home / "hub", FULL.reranker_model))
    for config, rows in STANDIN_ROWS.items():
        _save_dataset(home / "datasets", FULL.dataset, config, rows)
    return environment


def _snapshot(cache: Path, repo_id: str) -> Path:
    """Return the folder of the hub's cache for a repository's only revision, made known as main."""
    revision = "0" * 40
    repo = cache / f"models--{repo_id.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(revision)
    folder = repo / "snapshots" / revision
    folder.mkdir(parents=True)
    return folder


def _save_embedding_model(folder: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense

    small = SentenceTransformer(str(ROOT / SMALL.embedding_model), device="cpu")
    torch.manual_seed(0)
    size = FULL.matryoshka_dims[0]
    projection = Dense(
        small.get_embedding_dimension(), size, bias=False, activation_function=torch.nn.Identity()
    )
    *before, normalize = list(small)
    small[0].processor.chat_template = WITHOUT_ROLES  # as published: no turns for a query and a page
    SentenceTransformer(
        modules=[*before, projection, normalize],
        prompts=small.prompts,
        default_prompt_name=small.default_prompt_name,
        device="cpu",
    ).save_pretrained(str(folder), create_model_card=False)


def _save_reranker(folder: Path) -> None:
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    # As published: the default template knows no query and no document, the one that is named does.
    transformer = Transformer(
        str(ROOT / SMALL.reranker_model),
        transformer_task="any-to-any",
        processing_kwargs={"chat_template": {"chat_template": "reranker", "add_generation_prompt": True}},
    )
    processor = transformer.processor
    processor.chat_template = {"default": WITHOUT_ROLES, "reranker": processor.chat_template}
    ids = [transformer.tokenizer.convert_tokens_to_ids(token) for token in ("yes", "no")]
    head = LogitScore(true_token_id=ids[0], false_token_id=ids[1])
    prompts = {"prompts": {"instruct": INSTRUCTION}, "default_prompt_name": "instruct"}
    CrossEncoder(modules=[transformer, head], device="cpu", **prompts).save_pretrained(
        str(folder), create_model_card=False
    )


def _save_dataset(cache: Path, repo_id: str, config: str, rows: int) -> None:
    """Write bundled pages, as JPEG files of STANDIN_PAGE, into the data set cache as if the hub's data set
    had been prepared there.
    """
    folder = cache.parent / "pages"
    bundled = data.bundled(SMALL.max_pixels, folder)
    split = bundled.split(config, limit=rows).select_columns(COLUMNS)
    table = {name: undecoded(split, name)[name][:] for name in COLUMNS[1:]}
    if config == "train":  # as expected of the published one, it holds pages that are scored
        scored = bundled.split("eval", limit=3)
        table["negative_0"][:3] = undecoded(scored, "image")["image"][:]
    table = {name: [_jpeg(page["path"]) for page in pages] for name, pages in table.items()}
    split = datasets.Dataset.from_dict({"query": split["query"][:]} | table)
    for name in COLUMNS[1:]:
        split = split.cast_column(name, datasets.Image())
    name = repo_id.split("/")[1]
    folder = cache / repo_id.replace("/", "___") / config / "0.0.0" / ("0" * 16)
    split.save_to_disk(str(folder))
    (folder / "data-00000-of-00001.arrow").rename(folder / f"{name}-train.arrow")
    (folder / "state.json").unlink()
    info = json.loads((folder / "dataset_info.json").read_text())
    info |= {
        "builder_name": "parquet",
        "dataset_name": name,
        "config_name": config,
        "version": {"version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0},
        "splits": {"train": {"name": "train", "num_examples": rows, "dataset_name": name}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))


@cache
def _jpeg(path: str) -> dict:
    """A page as the public data set holds it: the bytes of a file that has no name."""
    file = BytesIO()
    Image.open(path).convert("RGB").resize(STANDIN_PAGE).save(file, "JPEG", quality=85)
    return {"bytes": file.getvalue(), "path": None}
