"""README and docs/ are in step with the committed measurements, and their claims about files hold."""

import json
import re
from urllib.parse import unquote

import pytest

from helpers.course import ledger
from helpers.course.profiles import ROOT, get_profile
from helpers.files import write_json
from tests.conftest import NOTEBOOKS
from tools import readme
from tools.fine_tune import weights_id

TEXT = readme.README.read_text(encoding="utf-8")
#: Every page that a reader is led to, and each notebook's text.
PAGES = [readme.README, *sorted(readme.DOCS.glob("*.md")), ROOT / "data" / "README.md"]
QUESTIONS = ROOT / "tests" / "reading_questions.md"
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
MOST_WORDS = 250  # before the first command


def page(path) -> str:
    """What a page shows: comments and code left out. Of a notebook, its Markdown."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```", "", COMMENT.sub("", text), flags=re.MULTILINE | re.DOTALL)


def anchors(path) -> set[str]:
    """What a link to a page may name behind #: GitHub's form for a page, JupyterLab's for a notebook."""
    headings = [
        re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading).strip()
        for heading in re.findall(r"^#{1,6} (.+)$", page(path), flags=re.MULTILINE)
    ]
    if path.suffix == ".ipynb":
        return {heading.replace(" ", "-") for heading in headings}
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str) -> list[str]:
    """The lines of a page's indented code, in order."""
    return re.findall(r"(?<=\n)    (\S.*)", text)


@pytest.mark.parametrize("path", readme.pages(), ids=lambda path: path.name)
def test_generated_parts_are_in_step(path):
    text = path.read_text(encoding="utf-8")
    assert readme.generated(path, text) == text, "run `make readme`"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_generated_part_is_written_by_the_tool(path):
    named = set(re.findall(r"<!-- (\w+):begin -->", path.read_text(encoding="utf-8")))
    of_others = {"picture"}  # made by hand
    assert named - of_others == {name for name, (where, _) in readme.PARTS.items() if where == path}


@pytest.mark.parametrize(
    "path", [*PAGES, QUESTIONS, *NOTEBOOKS], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_links_to_files_and_their_sections_hold(path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page(path)):
        file, _, anchor = unquote(target).partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_readme_leads_to_every_page():
    for path in PAGES[1:]:
        assert f"]({path.relative_to(ROOT).as_posix()})" in TEXT, path
        if path.parent == readme.DOCS:
            assert "](../README.md)" in page(path), path


def test_a_reader_sees_what_it_is_and_then_a_command():
    first, second = (line for line in commands(TEXT) if re.match(r"make (lab|course)$", line))
    assert (first, second) == ("make lab", "make course")
    before = TEXT[: TEXT.index(f"    {commands(TEXT)[0]}")]
    assert len(before.split()) <= MOST_WORDS
    assert "No run at full scale has been measured yet." in " ".join(before.split())
    rows = [TEXT.index(f"<!-- {name}:begin -->") for name in ("picture", "headline", "map")]
    assert rows[0] < TEXT.index("    make lab") < rows[1] < TEXT.index("    make course") < rows[2]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_make_targets_it_names_exist(path):
    rules, text = (ROOT / "Makefile").read_text(encoding="utf-8"), path.read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:PROFILE=\w+ )?make (\w+)", text))
    named |= set(re.findall(r"^(?:PROFILE=\w+ )?make (\w+)", "\n".join(commands(text)), flags=re.MULTILINE))
    for target in named:
        assert re.search(rf"^{target}:", rules, flags=re.MULTILINE), target


def test_what_the_pages_say_of_the_scores_holds():
    """README and docs/results.md say in words what these figures show."""
    results = ledger.load(readme.MEASURED)
    scores, reranked = results["05_evaluate"]["ndcg@10"], results["06_train_reranker"]["ndcg@10"]
    tuned = results["04_train_embedding"]["ndcg@10"]["finetuned"]
    mixed = max(value for name, value in reranked.items() if name.endswith("_mixed"))
    assert min(scores["fused by ranks"], scores["fused by scores"]) > mixed > tuned > scores["bm25, ocr"]
    low, high = results["appendix_ablations"]["ci95"]["other"][-2:]
    assert low < 0 < high
    for name in ("any_to_any", "feature_extraction"):
        assert reranked[name]["finetuned"] < reranked["retriever"]


@pytest.fixture
def measured(tmp_path):
    section = {
        "seconds": 65.0,
        "peak_memory_mb": 1234.0,
        "device": "cpu (2 cores)",
        "versions": {"torch": "2"},
        "seed": 1,
    }
    results = {"04_train_embedding": section | {"ndcg@10": {"base": 0.5, "finetuned": 0.8}}}
    file = tmp_path / "small.json"
    write_json(file, {"schema": ledger._SCHEMA, "profile": "small"} | results)
    return file


def test_parts_come_from_the_ledger_and_the_notebooks(measured, tmp_path):
    part = readme.results_part(measured, tmp_path / "none.json")
    assert "| Retrieve | retriever, fine-tuned | 0.800 |" in part
    assert part.endswith("Profile `small`, cpu (2 cores), seed 1; torch 2.")
    cells = [
        {
            "cell_type": "markdown",
            "source": ["# 4 · Fine-tune a retriever\n", "\n", "Train *it* in\n", "minutes.\n"],
        }
    ]
    (tmp_path / "04_train_embedding.ipynb").write_text(json.dumps({"cells": cells}))
    table = readme.map_part(measured, tmp_path)
    assert "| **Fine-tune a retriever.** Train it in minutes. | 65 s | 1.2 GB |" in table


def test_speed_comes_from_the_benchmarks(tmp_path):
    way = {"pages_per_second": 10.0, "dev_ndcg@10": 0.5, "peak_memory_mb": 2000.0}
    course = way | {"pages_per_second": 40.0}
    slower = way | {"pages_per_second": 20.0}
    found = {
        "ratio": 4.0,
        "rows": 960,
        "device": "cpu",
        "article": way,
        "course": course,
        "with less": slower,
    }
    write_json(tmp_path / "training_speed.json", found)
    part = readme.speed_part(tmp_path)
    assert "40.0 pages a second against 10.0" in part and "**4.0 times**" in part
    assert "| with less | 20.0 | 50% | 2.0 GB |" in part and "Evaluating" not in part
    step = {"batch": 8, "seconds": {"reading pages": 0.5, "the rest": 1.5}, "operations": {"products": 1.0}}
    write_json(tmp_path / "step_time.json", step)
    part = readme.speed_part(tmp_path)
    assert "of 8 pages takes 2.0 s: reading pages 25%, the rest 75%. Of its operations, products 100%" in part


@pytest.mark.parametrize("name", ["training_speed", "evaluation_speed"])
def test_speed_was_measured_on_the_shipped_checkpoint(name):
    found = json.loads((readme.MEASURED.parent / f"{name}.json").read_text(encoding="utf-8"))
    assert found["checkpoint"] == weights_id(get_profile("small"))


def test_without_measurements_it_says_so(tmp_path):
    assert readme.speed_part(tmp_path) == readme.NOT_MEASURED
    assert readme.results_part(tmp_path / "none.json") == readme.NOT_MEASURED
    assert readme.map_part(tmp_path / "none.json", tmp_path) == readme.NOT_MEASURED


def test_markers_must_be_there():
    with pytest.raises(ValueError, match="results.md has no part between <!-- results:begin"):
        readme.generated(readme.DOCS / "results.md", "# no markers")


def test_parts_go_where_they_stand():
    others = "<!-- results:begin -->\nkept\n<!-- results:end -->"
    text = f"# x\n<!-- speed:begin -->\nold\n<!-- speed:end -->\n{others}"
    new = readme.generated(readme.DOCS / "speed.md", text)
    assert "old" not in new and "kept" in new
    empty = "<!-- speed:begin -->\n<!-- speed:end -->"
    assert readme.speed_part() in readme.generated(readme.DOCS / "speed.md", empty)


def test_the_check_says_which_page_is_out_of_step(monkeypatch, tmp_path, capsys):
    page = tmp_path / "speed.md"
    page.write_text("<!-- speed:begin -->\nold\n<!-- speed:end -->\n", encoding="utf-8")
    monkeypatch.setattr(readme, "PARTS", {"speed": (page, lambda: "new")})
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    assert readme.main(["--check"]) == 1
    assert "Out of step: speed.md. Run `make readme`." in capsys.readouterr().out
    assert readme.main([]) == 0 and "\nnew\n" in page.read_text(encoding="utf-8")
    assert readme.main(["--check"]) == 0


def test_the_headline_has_the_better_reranker(tmp_path):
    section = {
        "seconds": 60.0, "peak_memory_mb": 1.0, "device": "cpu (2 cores)", "versions": {}, "seed": 1,
    }  # fmt: skip
    results = {name: section | figures for name, figures in RESULTS.items() if name[:2] in ("04", "05", "06")}
    results["05_evaluate"] |= {"queries": 300, "pages": 1500}
    more = {"ndcg@10": RESULTS["06_train_reranker"]["ndcg@10"] | {"feature_extraction_mixed": 0.84}}
    results["06_train_reranker"] |= more
    write_json(tmp_path / "small.json", {"schema": ledger._SCHEMA, "profile": "small"} | results)
    part = readme.headline_part(tmp_path / "small.json")
    assert "| BM25, a search of the words that a file holds | 0.500 |  |" in part
    assert "| retriever, base → fine-tuned | 0.610 → 0.830 | gain, 95 % interval +0.180 to +0.260 |" in part
    assert "rerankers) | 0.850 | against the retriever alone, 95 % interval +0.005 to +0.035 |" in part
    assert part.endswith(
        "300 queries over 1,500 pages. Notebooks 00 to 06, which measure this, take 3 min on cpu (2 cores)."
    )
    assert readme.headline_part(tmp_path / "none.json") == readme.NOT_MEASURED


RESULTS = {
    "04_train_embedding": {"ndcg@10": {"base": 0.61, "finetuned": 0.83}, "train_seconds": 200.4},
    "05_evaluate": {
        "ndcg@10": {"base": {"256": 0.61}, "finetuned": {"256": 0.83, "64": 0.8, "16": 0.7}, "bm25": 0.5},
        "ci95": {"gain": [0.22, 0.18, 0.26]},
    },
    "06_train_reranker": {
        "ndcg@10": {
            "retriever": 0.83,
            "any_to_any": {"base": 0.4, "finetuned": 0.81},
            "feature_extraction": {"base": 0.3, "finetuned": 0.79},
            "any_to_any_mixed": 0.85,
        },
        "ci95": {"any_to_any": [-0.02, -0.05, 0.01], "any_to_any_mixed": [0.005, 0.035]},
    },
    "appendix_ablations": {
        "ndcg@10_other": {"base": 0.6, "finetuned": 0.58}, "ci95": {"other": [-0.02, -0.07, 0.03]},
    },
}  # fmt: skip


def test_results_table_shows_before_and_after():
    table = readme.results_table(RESULTS, {"finetuned": [0.82, 0.84]})
    assert "| Retrieve | retriever, base | 0.610 |" in table
    assert "retriever, fine-tuned | 0.830 | trained in 200 s; gain, 95 % interval +0.180 to +0.260 |" in table
    assert "mean of 2 seeds | 0.830 | standard deviation 0.014 |" in table
    several = readme.results_table(RESULTS, {"base": [0.6, 0.62], "finetuned": [0.82, 0.84]})
    assert "standard deviation 0.014; 56% of the base's error, 1 - NDCG@10, is gone |" in several
    assert "first 16 of 256 dimensions | 0.700 | 84.3% of the score of all |" in table
    assert "base, on pages of other kinds | 0.600 |  |" in table
    assert "fine-tuned, on pages of other kinds | 0.580 | change, 95 % interval -0.070 to +0.030 |" in table
    assert "| Rerank | any-to-any reranker, before fine-tuning | 0.400 |" in table
    assert (
        "any-to-any reranker, fine-tuned | 0.810 | against the retriever's order, 95 % interval -0.050 to"
        in table
    )
    added = (
        "| Rerank | any-to-any reranker + retriever's similarity | 0.850 | against the retriever's order, "
    )
    assert f"{added}95 % interval +0.005 to +0.035 |" in table
    adapter = {
        "ndcg@10": {"LoRA": 0.84}, "share_of_gain": 1.05, "passes": 4,
        "passes_of_all_weights": 1, "ci95": {"against": [0.01, -0.02, 0.04]},
    }  # fmt: skip
    assert (
        "LoRA adapter only | 0.840 | 105% of the gain, in 4 passes over the rows (all weights: 1); against "
        "all weights, 95 % interval -0.020 to +0.040 |"
    ) in readme.results_table(RESULTS | {"appendix_lora": adapter})
    assert "feature-extraction reranker + " not in table, "what was not measured is not shown"
    assert all(line.count("|") == 5 for line in table.splitlines())


def test_results_table_of_a_part_or_of_nothing():
    assert readme.results_table({}) == "No results yet: run `make course`."
    part = readme.results_table({"06_train_reranker": RESULTS["06_train_reranker"]})
    assert "retriever, base" not in part
    assert "own order | 0.830" in part


def test_an_interval_that_touches_0_shows_its_sign():
    assert readme._interval([-0.0004, 0.0312]) == "-0.0004 to +0.031"
    assert readme._interval([0.5, 0.0005, 0.0312]) == "+0.001 to +0.031"


def test_a_training_on_labels_stands_beside_that_on_written_queries():
    own = {
        "ndcg@10": {"base": 0.6, "finetuned": 0.9},
        "ndcg@10_labelled": {"base": 0.6, "finetuned": 0.65, "finetuned on labels": 0.8},
        "ci95": {"base": [0.5, 0.7], "labelled_gain": [0.1, 0.3], "written_gain": [-0.01, 0.1]},
    }
    table = readme.results_table({"10_your_own_pdfs": own})
    assert "finetuned on labelled queries, on labelled queries | 0.800 | gain over the base" in table
    assert "trained on written ones -0.010 to +0.100" in table


def test_a_base_model_that_stands_in_is_not_shown_as_fine_tuned():
    scores = {"bm25": 0.4, "finetuned": {"256": 0.3, "32": 0.2}, "fused by ranks": 0.5}
    table = readme.results_table({"05_evaluate": {"ndcg@10": scores, "stand_in": True}})
    assert "BM25" in table and "fine-tuned" not in table
    assert "fine-tuned" in readme.results_table({"05_evaluate": {"ndcg@10": scores}})


def test_the_comparison_says_what_each_way_costs(tmp_path):
    ways = {
        "dense": {"ndcg@10": 0.7, "ci95": [0, 0], "bytes_per_page": 1024, "query_ms": 9.0,
                  "train_minutes": 4.5},
        "late": {"ndcg@10": 0.65, "ci95": [-0.1, 0.0], "bytes_per_page": 45_056, "query_ms": 61.2,
                 "train_minutes": 2},
    }  # fmt: skip
    write_json(tmp_path / "small.json", {"schema": 1, "08_late_interaction": {"comparison": ways}})
    lines = readme.comparison_part(tmp_path / "small.json").splitlines()
    assert lines[2] == "| dense | 0.700 |  | 1,024 | 9.0 | 4.5 |"
    assert lines[3] == "| late | 0.650 | -0.100 to +0.0000 | 45,056 | 61.2 | 2.0 |"
    assert readme.comparison_part(tmp_path / "none.json") == readme.NOT_MEASURED
    table = readme.results_table({
        "07_distill": {"ndcg@10": {"finetuned": 0.7, "longer": 0.72, "distilled": 0.71},
                       "ci95": {"distilled": [-0.01, 0.03]}},
        "08_late_interaction": {"ndcg@10": {"dense": 0.6, "late": 0.62}, "train_seconds": {"late": 118.4}},
        "09_search": {"ndcg@10": {"hybrid, by scores": 0.84}, "query_ms": {"hybrid, by scores": 20.2}},
    })  # fmt: skip
    assert "| Serve | hybrid with BM25, by scores | 0.840 | 20 ms a query |" in table
    assert "| Distil | retriever, distilled from the reranker's sum | 0.710 | against the fine-tuned" in table
    assert "| Many vectors | late interaction | 0.620 | trained in 118 s |" in table
