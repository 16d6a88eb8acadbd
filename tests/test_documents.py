"""The bundled documents and queries: counts, splits, answers, negatives, and that they can be made again."""

import json
import re
import sys
from collections import Counter, defaultdict

import pytest

from helpers import pages
from helpers.course import data
from helpers.course.profiles import PROFILES, ROOT

sys.path.insert(0, str(ROOT / "data" / "make"))
import documents as maker  # noqa: E402
from course_domain import KINDS, dictionary, make_organizations  # noqa: E402
from course_queries import Facts, QueryMaker  # noqa: E402

PDFS = ROOT / "data" / "pdfs"
DOCUMENTS = data.load_documents()
QUERIES = data.load_queries()
PAGES = {
    pages.page_id(d["document_id"], p["number"]): (d, p) for d in DOCUMENTS for p in d["pages"]
}  # page id -> (document, page)


@pytest.fixture(scope="module")
def planned():
    return maker.plan()


@pytest.fixture(scope="module")
def made(planned):
    return maker.make_queries(planned)


def test_counts():
    assert len(DOCUMENTS) >= 600 and len(PAGES) == 4800
    assert all(4 <= len(d["pages"]) <= 12 for d in DOCUMENTS)
    per_split = Counter(d["split"] for d, _ in PAGES.values())
    assert per_split["dev"] == 600 and per_split["eval"] == 1500
    queries = Counter(q["split"] for q in QUERIES)
    assert queries["train"] >= 4000 and queries["dev"] == 150 and queries["eval"] == 300
    assert len({p["kind"] for _, p in PAGES.values()}) >= 10
    for split in data.SPLITS:
        scans = [p["scanned"] for d, p in PAGES.values() if d["split"] == split]
        assert sum(scans) == len(scans) // 6
        styles = Counter(q["style"] for q in QUERIES if q["split"] == split)
        assert set(styles) == {"question", "keywords", "paraphrase", "lookup"}
        assert min(styles.values()) > 0.2 * queries[split]


def test_files_are_those_listed_and_small():
    assert {file.name for file in PDFS.glob("*.pdf")} == {d["file"] for d in DOCUMENTS}
    assert sum(file.stat().st_size for file in PDFS.glob("*.pdf")) < 18e6


def test_no_organization_in_two_splits():
    splits = defaultdict(set)
    for d in DOCUMENTS:
        splits[d["organization"].split()[0]].add(d["split"])
    assert len(splits) >= 150 and all(len(found) == 1 for found in splits.values())


def test_queries_stay_in_their_split():
    assert len({q["query_id"] for q in QUERIES}) == len(QUERIES)
    for split in data.SPLITS:
        texts = [q["query"].lower() for q in QUERIES if q["split"] == split]
        assert len(set(texts)) == len(texts)
    for q in QUERIES:
        used = [*q["page_ids"], *q["negative_ids"]]
        assert {PAGES[page][0]["split"] for page in used} == {q["split"]}
        assert len(set(used)) == len(used) == len(q["page_ids"]) + 4
        assert 1 <= len(q["page_ids"]) <= 3
        assert PAGES[q["page_ids"][0]][0]["document_id"] == q["document_id"]


def test_exactly_the_listed_pages_answer(planned, made):
    """Against every page of the split, not only those that the generator looked at."""
    for split, queries in made.items():
        all_pages = [(d, p) for d in planned if d.split == split for p in d.pages]
        for query in queries[:150]:
            answers = {p.page_id for d, p in all_pages if query.facts.met_by(d, p)}
            assert answers == set(query.answers), query.text
            assert not answers & set(query.negatives)


def test_the_check_of_answers_sees_a_double(planned):
    """A query without its period fits every document of the series, and the check says so."""
    maker_of_queries = QueryMaker("dev", [d for d in planned if d.split == "dev"])
    document = next(d for d in planned if d.split == "dev" and d.kind.cover)
    facts = Facts(organization=document.organization.first, topic="Cover")
    assert len(maker_of_queries.answers(facts)) > 1
    facts.kind, facts.period = document.kind.name, document.period
    assert maker_of_queries.answers(facts) == [document.pages[0].page_id]


def test_negatives_are_hard():
    """Most are of the same organization or the same topic; other years of the same page are among them."""
    kinds = Counter()
    for q in QUERIES:
        document, page = PAGES[q["page_ids"][0]]
        for negative in q["negative_ids"]:
            other, that = PAGES[negative]
            topic, own = that["heading"] == page["heading"], other["organization"] == document["organization"]
            kinds[
                "other period"
                if topic and own
                else "other organization"
                if topic
                else "other topic"
                if own
                else "far"
            ] += 1
    total = 4 * len(QUERIES)
    assert kinds["other period"] > 0.15 * total and kinds["other organization"] > 0.2 * total
    assert kinds["other topic"] > 0.3 * total and kinds["far"] < 0.05 * total


def test_jargon_is_taught_and_never_printed(planned):
    counts = Counter(term for q in QUERIES if q["split"] == "train" for term in q["jargon"])
    assert 30 <= len(dictionary()) <= 120
    assert not {term: counts[term] for term in dictionary() if counts[term] < 15}
    for split in ("dev", "eval"):
        used = {term for q in QUERIES if q["split"] == split for term in q["jargon"]}
        assert used <= set(counts) | {term for term in used if re.search(r"\d", term)}
    titles = {topic.title.lower() for kind in KINDS for topic in kind.topics}
    assert not titles & {term.lower() for term in dictionary()}


def test_paraphrases_avoid_the_headings_words():
    for q in QUERIES:
        if q["style"] == "paraphrase":
            document, page = PAGES[q["page_ids"][0]]
            names = set(re.findall(r"\w+", f"{document['organization']} {document['topic']}".lower()))
            words = set(re.findall(r"[a-z]+", q["query"].lower())) - names
            shared = words & set(re.findall(r"[a-z]+", page["heading"].lower())) - {"of"}
            assert not shared or page["kind"] == "title", (q["query"], page["heading"])


def test_text_layer_of_drawn_pages_only():
    """Drawn pages say whose they are and what they are about; scans say nothing."""
    for d in DOCUMENTS[::16]:
        texts = pages.pdf_texts(PDFS / d["file"])
        assert len(texts) == len(d["pages"])
        for text, page in zip(texts, d["pages"], strict=True):
            if page["scanned"]:
                assert text == ""
                continue
            flat = " ".join(text.split())
            assert d["organization"] in flat and d["period"] in flat
            assert page["kind"] == "title" or page["heading"] in flat


def test_lookups_print_their_value(made):
    """The row's label and value stand on the page that a look-up asks for."""
    scanned = {page for page, (_, p) in PAGES.items() if p["scanned"]}
    for query in made["dev"]:
        if query.style == "lookup" and query.page.page_id not in scanned:
            text = pages.pdf_texts(PDFS / query.document.file)[query.page.number - 1]
            assert query.facts.row in text
            assert dict(query.page.rows)[query.facts.row] in text


def test_pages_differ():
    seen = {}
    for d in DOCUMENTS[::8]:
        for number, image in enumerate(pages.render_pdf(PDFS / d["file"], PROFILES["small"].max_pixels), 1):
            name = pages.page_id(d["document_id"], number)
            assert seen.setdefault(image.tobytes(), name) == name


def test_organizations_do_not_depend_on_how_many_there_are():
    assert make_organizations(40) == make_organizations(160)[:40]


def test_the_committed_records_are_those_of_the_seed(planned, made):
    assert maker.document_records(planned) == list(DOCUMENTS)
    assert maker.query_records(made) == list(QUERIES)


def test_makes_the_same_bytes_again(tmp_path, planned):
    """Two runs agree to the byte; and with the committed files, in bytes or else in what the pages show.

    Bytes may differ from the committed ones where another zlib or libjpeg compresses.
    """
    for name in ("first", "second"):
        maker.write_all(tmp_path / name, 6)
    files = sorted(p.relative_to(tmp_path / "first") for p in (tmp_path / "first").rglob("*") if p.is_file())
    assert len(files) == 6 + 3
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes(), file
    for document in planned[:6]:
        new, old = tmp_path / "first" / "pdfs" / document.file, PDFS / document.file
        if new.read_bytes() != old.read_bytes():
            assert pages.pdf_texts(new) == pages.pdf_texts(old)
            for page, a, b in zip(
                document.pages, pages.render_pdf(new, 71_680), pages.render_pdf(old, 71_680)
            ):
                assert page.scanned or a.tobytes() == b.tobytes()
    listed = [json.loads(line) for line in (tmp_path / "first" / "documents.jsonl").read_text().splitlines()]
    assert listed == list(DOCUMENTS[:6])
    glossary = json.loads((tmp_path / "first" / "jargon.json").read_text())
    assert glossary == dictionary()


def test_an_interrupted_run_keeps_the_old_files(tmp_path, monkeypatch):
    maker.write_all(tmp_path, 2)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    monkeypatch.setattr(maker, "write_lines", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        maker.write_all(tmp_path, 3)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_the_datasheet_holds_the_measured_numbers():
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    numbers = maker.datasheet_numbers(list(DOCUMENTS), list(QUERIES), PDFS)
    assert numbers in text and maker.jargon_table() in text
    with pytest.raises(ValueError, match="no markers <!-- numbers -->"):
        maker.update_between("", "numbers", "")
