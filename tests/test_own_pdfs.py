"""A reader's road: from a folder of PDF files to a verdict, and on to other notebooks with `DATA`."""

import csv
import json
import shutil

import pytest

from helpers import pages
from helpers.collection import Collection
from helpers.course import data, ledger
from helpers.course.profiles import ROOT
from tests.conftest import run_course, solved_course
from tests.test_exercises import said
from tests.wrong_answers import proven
from tools import intake

BROKEN = ("cut_tail.pdf", "encrypted_user_password.pdf", "zero_pages.pdf")
REAL = ROOT.parent / "shared" / "real_pages"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A folder with nine bundled PDF files and three that cannot be used; a file of questions."""
    folder = tmp_path_factory.mktemp("own") / "reports"
    folder.mkdir()
    documents = data.load_documents("dev")[:9]
    for one in documents:
        shutil.copy(data.pdf_path(one), folder)
    for name in BROKEN:
        shutil.copy(ROOT / "tests" / "inputs" / "pdf" / name, folder)
    questions = folder.parent / "questions.csv"
    with questions.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "pdf", "pages"])
        for one in documents:
            for page in one["pages"][:4]:
                words = f"{one['organization']} {one['period']}: {page['heading']}"
                writer.writerow([words, one["file"], page["number"]])
    return folder, questions


@pytest.fixture(scope="module")
def solved_copy(tmp_path_factory):
    """A copy of the course in which all exercises are solved, and wrong answers are tried."""
    return solved_course(tmp_path_factory)


@pytest.fixture(scope="module")
def verdict(reports, solved_copy, tmp_path_factory):
    """What notebook 10 prints, its exercises solved, and the folder of all runs."""
    folder, questions = reports
    runs = tmp_path_factory.mktemp("runs")
    given = ("-p", "PDFS", str(folder), "-p", "QUERIES", str(questions), "-p", "MAX_STEPS", "3")
    shown = run_course("10", *given, root=solved_copy, VDR_COURSE_RUNS=str(runs))
    assert shown.returncode == 0, shown.stdout[-6000:]
    return said(runs / "small-reports" / "10_your_own_pdfs.ipynb"), shown.stdout, runs


@pytest.mark.slow
def test_a_folder_of_pdfs_ends_in_a_verdict(verdict):
    text, shown, runs = verdict
    assert "9 documents, " in text and "; 3 files left out" in text
    assert all(f"   {name}: it " in text for name in BROKEN)
    assert "queries to judge by, so the verdict will be vague" in text
    assert "Exercise 1: right." in text and proven(1) in text
    section = ledger.load(runs / "small-reports" / "results.json")["10_your_own_pdfs"]
    assert section["documents"] == 9 and section["verdict"] in " ".join(text.split("\n"))
    assert {"random order", "bm25", "base", "finetuned", "fused by ranks", "fused by scores"} == set(
        section["ndcg@10"]
    )
    assert all(0 <= value <= 1 for value in section["ndcg@10"].values())
    assert "| Notebook 10, own PDFs | bm25, on queries that people asked | " in shown
    assert f"The verdict, on {section['queries']['eval']} queries: {section['verdict']}" in shown
    assert "To read: " in shown and "small-reports/10_your_own_pdfs.ipynb" in shown
    assert not (runs / "small").exists()  # the course's own results are not touched


@pytest.mark.slow
def test_the_model_and_its_card_hold_nothing_of_the_course_or_the_reader(verdict):
    _, _, runs = verdict
    final = runs / "small-reports" / "10_your_own_pdfs" / "final"
    card = (final / "README.md").read_text(encoding="utf-8")
    assert "license" not in card.split("---")[1]
    assert not [file for file in final.rglob("*") if file.suffix in (".png", ".jpg")]
    queries = Collection.load(runs / "collections" / "reports").queries
    assert len(queries) > 36 and not any(query["query"] in card for query in queries)


@pytest.mark.slow
def test_the_collection_goes_through_the_other_notebooks(verdict, solved_copy):
    """In 07 to 09, which no other test runs on `small`, the exercises are solved."""
    _, _, runs = verdict
    home = runs / "collections" / "reports"
    given = ("-p", "DATA", str(home), "-p", "MAX_STEPS", "2", "-p", "RERANKER_TRAIN_QUERIES", "24")
    shown = run_course("02", "04", "05", "06", *given, VDR_COURSE_RUNS=str(runs))
    assert shown.returncode == 0, shown.stdout[-6000:]
    shown = run_course("07", "08", "09", *given[:6], root=solved_copy, VDR_COURSE_RUNS=str(runs))
    assert shown.returncode == 0, shown.stdout[-6000:]
    results = ledger.load(runs / "small-reports" / "results.json")
    assert [name[:2] for name in results] == ["02", "04", "05", "06", "07", "08", "09", "10"]
    for name in ("07_distill", "08_late_interaction", "09_search"):
        text = said(runs / "small-reports" / f"{name}.ipynb")
        for number in (1, 2):
            assert f"Exercise {number}: right" in text and proven(number) in text, (name, number)
    assert {"dense", "late", "dense + reranker", "distilled"} <= set(
        results["08_late_interaction"]["comparison"]
    )
    asked = [query for query in Collection.load(home).queries if query["split"] == "eval"]
    assert results["05_evaluate"]["queries"] == len(asked)
    scores = (results[name]["ndcg@10"]["base"] for name in ("04_train_embedding", "10_your_own_pdfs"))
    assert next(scores) == pytest.approx(next(scores), abs=1e-3)  # the same queries, pages and model
    card = (runs / "small-reports" / "04_train_embedding" / "final" / "README.md").read_text(encoding="utf-8")
    assert "license" not in card.split("---")[1]
    assert not (runs / "small").exists()


@pytest.mark.slow
def test_three_real_pdfs(tmp_path):
    if not REAL.is_dir():
        pytest.skip("the real PDF files are not on this machine")
    questions = [json.loads(line) for line in (REAL / "questions.jsonl").read_text().splitlines()]
    files = sorted((REAL / "pdfs").glob("*.pdf"), key=lambda file: file.stat().st_size)[:3]
    (tmp_path / "real").mkdir()
    for file in files:
        shutil.copy(file, tmp_path / "real")
    kept = [question for question in questions if question["pdf"] in {file.name for file in files}]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, kept)))
    given = ("-p", "PDFS", str(tmp_path / "real"), "-p", "QUERIES", str(tmp_path / "asked.jsonl"))
    shown = run_course("10", *given, "-p", "MAX_STEPS", "2", VDR_COURSE_RUNS=str(tmp_path / "runs"))
    assert shown.returncode == 0, shown.stdout[-6000:]
    text = said(tmp_path / "runs" / "small-real" / "10_your_own_pdfs.ipynb")
    assert "too small to read" in text and "The small checkpoint cannot read real pages" in text


def test_the_sample_is_of_whole_organizations(tmp_path):
    folder = intake.sample_of_pdfs(tmp_path / "sample", organizations=2)
    names = {file.name for file in folder.iterdir()}
    documents = [one for one in data.load_documents("train") if one["file"] in names]
    assert len({one["organization"] for one in documents}) == 2 and len(names) == len(documents) == 8
    one = documents[0]  # so that the course's labels fit its pages
    (found,) = [
        each for each in intake.read_pdfs(folder).documents if each["document_id"] == one["document_id"]
    ]
    assert pages.page_id(found["document_id"], 1) == pages.page_id(one["document_id"], 1)
