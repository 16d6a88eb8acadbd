"""What a reader sees after `make lab`: JupyterLab in Chromium, driven by Playwright.

Screenshots, JupyterLab's log and the executed copies stay in runs/browser. A test of a widget runs a notebook
and looks into the output of the cell that shows the widget:

    panel = open_notebook(page, lab, "00_start_here")
    run_all(page, panel)
    box = widget(panel, "Your query")
    box.locator("input").fill("heating costs")
    box.locator("input").press("Enter")  # where the widget waits for it
    wait_idle(page, panel)
    expect(output_of(box).locator("img")).to_have_count(3)
    screenshot(page, "00_search")
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from helpers.course.profiles import ROOT
from tools import lab as copies

BROWSERS = ("chromium", "google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
FOUND = [found for found in map(shutil.which, BROWSERS) if found]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not FOUND, reason="no chromium or google-chrome here"),
]
RUNS = ROOT / "runs" / "browser"
WIDTHS = (1400, 900)  # pixels
SECONDS = 300  # that a notebook may take to run: the machine may be busy with other tests


class Lab(NamedTuple):
    """A running JupyterLab."""

    address: str
    folder: Path  # of the copies
    home: Path  # where Jupyter keeps a user's settings, empty at the start


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab as `make lab` starts it, on a free port, for a user who never used it."""
    shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    environment |= {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    environment |= {"VDR_COURSE_RUNS": str(RUNS), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "tools/lab.py", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token="]
    with open(RUNS / "jupyterlab.log", "w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(f"{address}/api/status", process)
            yield Lab(address, RUNS / "lab", home)
            process.send_signal(signal.SIGINT)  # Ctrl-C
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def _wait_for(address: str, process: subprocess.Popen) -> None:
    """Wait until a server answers."""
    for _ in range(300):
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            assert process.poll() is None, (RUNS / "jupyterlab.log").read_text()
            time.sleep(0.2)
    raise TimeoutError(f"{address} does not answer:\n{(RUNS / 'jupyterlab.log').read_text()}")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=FOUND[0], args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page(browser):
    """One window for all tests of this file: a page of JupyterLab takes seconds to load."""
    page = browser.new_page(viewport={"width": WIDTHS[0], "height": 900})
    page.set_default_timeout(60_000)
    return page


def open_notebook(page, lab: Lab, name: str, folder: str | None = None):
    """Open a notebook in a browser's window and return its panel, when its kernel is ready.

    Args:
        name: without the ending. folder: from the course's folder; None: that of the copies.
    """
    folder = folder or lab.folder.relative_to(ROOT).as_posix()
    page.goto(f"{lab.address}/lab/tree/{folder}/{name}.ipynb")
    panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    panel.locator(".jp-Cell").first.wait_for()
    wait_idle(page, panel)
    return panel


def choose(page, *names: str) -> None:
    """Choose from JupyterLab's menus, such as `choose(page, "Run", "Run All Cells")`."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{names[0]}$")).click()
    for name in names[1:]:
        page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{re.escape(name)}$")).click()


def run_all(page, panel) -> None:
    """Run all cells by the menu, wait until the last one has run and nothing else is going on."""
    choose(page, "Edit", "Clear Outputs of All Cells")
    last = panel.locator(".jp-CodeCell .jp-InputPrompt").last
    choose(page, "Run", "Run All Cells")
    deadline = time.monotonic() + SECONDS
    while not re.fullmatch(r"\[\d+\]:", last.text_content().strip()):
        assert time.monotonic() < deadline, f"the last cell has not run after {SECONDS} s"
        assert not errors(panel), errors(panel)
        page.wait_for_timeout(250)
    wait_idle(page, panel)


def wait_idle(page, panel) -> None:
    """Wait until the notebook's kernel is idle, and stays so: a widget's callback begins a moment later."""
    idle = panel.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    for _ in range(2):
        idle.wait_for(timeout=SECONDS * 1000)
        page.wait_for_timeout(300)
    idle.wait_for(timeout=SECONDS * 1000)


def widget(panel, text: str):
    """Return the first widget, boxes left out, that shows a text: its label, a button's, a placeholder.

    Then, say, `.locator("input").fill(...)`, `.locator(".noUi-handle").press("ArrowRight")` for a slider,
    `.get_by_role("button", name=...).click()` for toggles, `.locator("select").select_option(...)`.
    """
    every = panel.locator(
        ":is(.jupyter-widgets, .widget-toggle-buttons):not(.widget-container, .jp-OutputArea)"
    )
    placeholder = panel.page.locator(f'input[placeholder*="{text}"]')
    return every.filter(has_text=re.compile(re.escape(text))).or_(every.filter(has=placeholder)).first


def output_of(widget):
    """Return the whole output area of the cell that shows a widget: what its callbacks show is in there."""
    return widget.locator("xpath=ancestor::*[contains(@class, 'jp-Cell-outputWrapper')]")


def errors(panel) -> list[str]:
    """Return what stands in red boxes: tracebacks and what went to standard error."""
    red = panel.locator(".jp-RenderedText[data-mime-type*=stderr], .jp-RenderedText[data-mime-type*='error']")
    return red.all_text_contents()


def popups(page) -> list[str]:
    """Return the texts of dialogs and of notices in the corner."""
    return page.locator(".jp-Dialog, .Toastify__toast").all_text_contents()


def screenshot(page, name: str, of=None) -> None:
    """Write runs/browser/<name>-<width>.png for each width of the window, with `of` in sight."""
    for width in reversed(WIDTHS):  # the widest last, for what follows
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(500)  # JupyterLab lays out once more
        for _ in range(2 if of else 0):  # cells above get their height when they are first seen
            of.evaluate("element => element.scrollIntoView({block: 'center'})")
            page.wait_for_timeout(500)
        page.screenshot(path=RUNS / f"{name}-{width}.png")


def test_the_first_notebook_runs_by_the_menu(page, lab):
    panel = open_notebook(page, lab, "00_start_here")
    screenshot(page, "opened")
    names = page.locator(".jp-DirListing-itemText")
    assert names.count() >= len(list(copies.NOTEBOOKS.glob("*.ipynb")))
    cut = "names => names.filter(n => n.scrollWidth > n.clientWidth).map(n => n.textContent)"
    assert names.evaluate_all(cut) == [], "file names are shown whole"
    run_all(page, panel)
    assert errors(panel) == []
    assert popups(page) == [], "no news, no question"
    assert panel.locator(".jp-OutputArea-output img").count() > 0
    screenshot(page, "run", of=panel.locator(".jp-OutputArea-output img").last)
    own = [file for file in lab.home.glob("config/lab/**/*") if file.is_file()]
    assert own == [], "a reader's own settings and layout are left alone"


def is_whole(file: Path) -> bool:
    """Whether a notebook is there to its end: JupyterLab writes it in place."""
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")))
    except ValueError:
        return False


def test_a_saved_run_is_a_copy_that_the_next_pull_renews(page, lab):
    before = {file: file.read_bytes() for file in copies.NOTEBOOKS.glob("*.ipynb")}
    panel = open_notebook(page, lab, "00_start_here")
    panel.locator(".jp-CodeCell .jp-InputArea").nth(1).click()  # the parameters
    page.keyboard.press("Control+Enter")
    wait_idle(page, panel)
    copy = lab.folder / "00_start_here.ipynb"
    unsaved = copy.stat().st_mtime_ns
    choose(page, "File", "Save Notebook")
    deadline = time.monotonic() + 60
    while copy.stat().st_mtime_ns == unsaved or not is_whole(copy):
        assert time.monotonic() < deadline, "not saved"
        page.wait_for_timeout(250)
    saved = copies.read_notebook(copy, "")
    assert copies.state(saved) == saved["metadata"][copies.MADE_FROM], "a run is no change"
    assert {file: file.read_bytes() for file in copies.NOTEBOOKS.glob("*.ipynb")} == before
    page.goto(f"{lab.address}/lab/tree/README.md")
    shown = page.locator(".jp-MarkdownViewer:not(.lm-mod-hidden)")
    shown.locator("a[href*='01_load_models.ipynb']").first.click()
    panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    panel.locator(".jp-Toolbar", has_text="read-only").wait_for()
    screenshot(page, "read_only")


#: What a reader may touch, together in one notebook: two searches, sizes, two models, a short training.
PIECES = {
    "search": """
from helpers.course import begin
from helpers.course.data import load_collection, load_queries
from helpers.widgets import READABLE, SearchBox, by_embedding
from tools.page_lens import PageLens
from tools import page_vectors
from sentence_transformers import SentenceTransformer

profile, *_ = begin("00_start_here", "small")
pixels = {"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels}
model = SentenceTransformer(profile.path(profile.embedding_model), processor_kwargs=pixels,
                            model_kwargs={"dtype": "float32"}, device="cpu")
collection, (ids, vectors) = load_collection(profile), page_vectors.load(profile)
dense = by_embedding(model, vectors)
some = load_queries("eval")[:3]
SearchBox({"base": dense, "turned round": lambda query, size: -dense(query, size)}, ids,
          lambda page: collection.page(page, READABLE), {one["query"]: set(one["page_ids"]) for one in some},
          collection.source, dimensions=profile.matryoshka_dims).show()
""",
    "lens": """
page = collection.page(some[0]["page_ids"][0], 1_000_000)
PageLens({"base": model, "same": model}, page, [one["query"] for one in some], (12, 24, 48)).show()
""",
    "training": """
import warnings
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from helpers.progress import report

warnings.simplefilter("ignore")
rows = collection.split("dev", limit=16)
task = ({row["query_id"]: row["query"] for row in rows}, dict(zip(rows["page_id"], rows["image"])),
        {row["query_id"]: set(row["page_ids"]) for row in rows})
args = SentenceTransformerTrainingArguments(
    output_dir="checkpoints", max_steps=6, per_device_train_batch_size=4, eval_strategy="steps", eval_steps=3,
    eval_on_start=True, logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True,
    use_cpu=True)
trainer = SentenceTransformerTrainer(
    model=model, args=args, train_dataset=rows.select_columns(["query", "image"]),
    loss=MultipleNegativesRankingLoss(model),
    evaluator=InformationRetrievalEvaluator(*task, name="dev", write_csv=False))
report(trainer, "eval_dev_cosine_ndcg@10")
trainer.train();
""",
}


@pytest.fixture(scope="module")
def pieces(page, lab):
    """The notebook of PIECES, run by the menu."""
    cells = [
        {"cell_type": "code", "execution_count": None, "id": name, "metadata": {}, "outputs": [],
         "source": source.strip()}
        for name, source in PIECES.items()
    ]  # fmt: skip
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (lab.folder / "pieces.ipynb").write_text(json.dumps(whole))
    panel = open_notebook(page, lab, "pieces")
    run_all(page, panel)
    return panel


def shown_in(area) -> str:
    """What an output area shows, to be compared: times left out."""
    return re.sub(r"in \d+ ms", "", area.evaluate("element => element.innerHTML"))


def changes(page, panel, area, action) -> None:
    """Do something and wait until the output has changed."""
    before = shown_in(area)
    action()
    deadline = time.monotonic() + 90
    while shown_in(area) == before:
        assert time.monotonic() < deadline, "nothing has changed"
        page.wait_for_timeout(200)
    wait_idle(page, panel)


def test_the_search_box_answers(page, pieces):
    from playwright.sync_api import expect

    box = widget(pieces, "Type a query")
    area = output_of(box)
    expect(area.locator(".vdr-page img")).to_have_count(4)

    def ask():
        box.locator("input").fill("annual report with a chart of revenue")
        box.locator("input").press("Enter")

    changes(page, pieces, area, ask)
    expect(area).to_contain_text("1,500 pages searched")
    changes(page, pieces, area, lambda: widget(pieces, "turned round").get_by_role("button").last.click())
    changes(page, pieces, area, lambda: area.locator(".noUi-handle").press("ArrowLeft"))
    expect(area).to_contain_text("768 bytes a page")
    changes(page, pieces, area, lambda: area.locator(".jupyter-button").last.click())
    expect(area).to_contain_text("The right page is at place")
    picture = area.locator(".vdr-page img").first
    small = picture.bounding_box()["width"]
    picture.click()
    assert picture.bounding_box()["width"] > 1.5 * small, "a click makes a page readable"
    link = area.locator(".vdr-page a").first.get_attribute("href")
    assert re.match(r"/files/data/pdfs/.*\.pdf#page=\d+$", link)
    assert page.evaluate("async link => (await fetch(link)).status", link) == 200
    assert errors(pieces) == []
    screenshot(page, "search_box", of=box)


def test_the_page_lens_looks(page, pieces):
    from playwright.sync_api import expect

    heat = widget(pieces, "where does it look?")
    area = output_of(heat)
    expect(area.locator(".vdr-page img")).to_have_count(2)
    changes(page, pieces, area, lambda: area.locator(".noUi-handle").press("ArrowRight"))
    changes(page, pieces, area, lambda: area.locator("select").select_option(index=1))
    changes(page, pieces, area, lambda: widget(pieces, "same").get_by_role("button").last.click())
    screenshot(page, "page_lens", of=heat)
    changes(page, pieces, area, lambda: area.locator("input[type=checkbox]").click())
    expect(area.locator(".vdr-page img")).to_have_count(1)
    assert errors(pieces) == []


def test_the_panel_of_a_training_stays_in_the_saved_notebook(page, lab, pieces):
    from playwright.sync_api import expect

    area = pieces.locator(".jp-CodeCell .jp-Cell-outputWrapper").last
    area.scroll_into_view_if_needed()
    expect(area).to_contain_text("6 steps")
    expect(area.locator("img")).to_have_count(1)
    screenshot(page, "training", of=area)
    choose(page, "File", "Save Notebook")
    copy, deadline = lab.folder / "pieces.ipynb", time.monotonic() + 60
    while "image/png" not in copy.read_text(encoding="utf-8") or not is_whole(copy):
        assert time.monotonic() < deadline, "not saved"
        page.wait_for_timeout(250)
    saved = json.loads(copy.read_text(encoding="utf-8"))
    kinds = [set(output["data"]) for output in saved["cells"][-1]["outputs"] if "data" in output]
    assert {"image/png", "text/plain"} <= kinds[-1]
    for cell in saved["cells"][:2]:  # whoever reads it without a kernel sees a picture
        last = [set(output["data"]) for output in cell["outputs"] if "data" in output][-1]
        assert {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"} <= last
