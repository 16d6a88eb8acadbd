"""tools/embed_many.py: Ray's actors give the embeddings of plain `encode`; a run goes on where it stopped."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest

from helpers.course import data
from helpers.course.profiles import ROOT, get_profile
from helpers.pages import page_id, render_page
from helpers.search import PageStore, connect
from tools import embed_many

SMALL = get_profile("small")
SCRIPT = str(ROOT / "tools" / "embed_many.py")
without_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: it is an extra")
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
MADE_BY = {"weights": "some", "prompts": {}, "max_pixels": 1024, "dimensions": 4}


def run(collection, out, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, SCRIPT, str(collection), "--out", str(out), *options]
    return subprocess.run(command, cwd=out, env=ENVIRONMENT, capture_output=True, text=True)


def times(folder) -> dict[str, int]:
    """Document id -> when its file was written."""
    return {file.stem: file.stat().st_mtime_ns for file in folder.glob("*.npz")}


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Four bundled documents, two more that cannot be read: no PDF, and one that lacks its last page."""
    folder = tmp_path_factory.mktemp("collection")
    documents = [dict(document) for document in data.load_documents("dev")[:5]]
    (folder / "pdfs").mkdir()
    for document in documents:
        shutil.copy(data.pdf_path(document), folder / "pdfs")
    longer = documents[1]
    longer["pages"] = [*longer["pages"], longer["pages"][-1] | {"number": 99}]
    (folder / "pdfs" / "broken.pdf").write_text("no PDF")
    documents.append({"document_id": "broken", "file": "broken.pdf", "pages": documents[0]["pages"][:2]})
    (folder / "documents.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    (folder / "queries.jsonl").write_text("")
    return folder, documents


@pytest.fixture(scope="module")
def first(collection, tmp_path_factory):
    pytest.importorskip("ray")
    out = tmp_path_factory.mktemp("vectors")
    return out, run(collection[0], out, "--actors", "2")


@pytest.fixture(scope="module")
def model():
    from sentence_transformers import SentenceTransformer

    pixels = {"min_pixels": SMALL.min_pixels, "max_pixels": SMALL.max_pixels}
    path = SMALL.path(SMALL.embedding_model)
    return SentenceTransformer(path, device="cpu", processor_kwargs=pixels, model_kwargs={"dtype": "float32"})


@pytest.mark.slow
@without_ray
def test_two_actors_embed_as_one_process_does(collection, first, model):
    folder, documents = collection
    out, shown = first
    good = [documents[place] for place in (0, 2, 3, 4)]
    assert times(out).keys() == {document["document_id"] for document in good}, shown.stderr
    for document in good:
        file, numbers = folder / "pdfs" / document["file"], [page["number"] for page in document["pages"]]
        pages = [render_page(file, number, SMALL.max_pixels) for number in numbers]
        ids, embeddings = embed_many.read(out, document["document_id"])
        assert ids == [page_id(document["document_id"], number) for number in numbers]
        expected = model.encode_document(pages, batch_size=4, show_progress_bar=False)
        assert embeddings.dtype == np.float32
        assert embeddings == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@without_ray
def test_a_document_that_cannot_be_read_is_named_and_the_others_go_on(collection, first):
    _, shown = first
    longer = collection[1][1]["document_id"]
    assert shown.returncode == 1
    assert "0 of 6 documents are skipped" in shown.stdout and "Traceback" not in shown.stderr
    said = [line for line in shown.stderr.splitlines() if line.startswith("left out ")]
    assert sorted(line.split()[2] for line in said) == sorted([f"{longer}:", "broken:"])
    assert "does not open as a PDF" in shown.stderr and "99" in shown.stderr


@pytest.mark.slow
@without_ray
def test_only_what_is_missing_is_embedded_again(collection, first):
    folder, documents = collection
    out, _ = first
    before = times(out)
    name = documents[3]["document_id"]
    (out / f"{name}.npz").unlink()
    shown = run(folder, out, "--first", "5")
    left = len(documents[1]["pages"]) + len(documents[3]["pages"])  # one of them cannot be read
    assert f"3 of 5 documents are skipped: they have their file. To embed: 2, {left} pages." in shown.stdout
    after = times(out)
    assert after.keys() == before.keys() and {key for key in after if after[key] != before[key]} == {name}


@pytest.mark.slow
@without_ray
def test_what_is_written_goes_into_a_store(collection, first, tmp_path):
    out, _ = first
    made_by = json.loads((out / "made_by.json").read_text())
    store = PageStore.build(connect(path=tmp_path / "store"), made_by)
    for name in times(out):
        ids, embeddings = embed_many.read(out, name)
        rows = [{"page_id": page, "document_id": name, "number": int(page[-2:])} for page in ids]
        store.add(rows, embeddings)
    assert store.documents() == {
        document["document_id"]: len(document["pages"])
        for place, document in enumerate(collection[1])
        if place in (0, 2, 3, 4)
    }


@pytest.mark.slow
@without_ray
def test_a_run_that_is_killed_goes_on_where_it_stopped(tmp_path):
    pytest.importorskip("ray")
    command = [sys.executable, SCRIPT, str(data.DATA), "--out", str(tmp_path), "--first", "20"]
    killed = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(6000):
            if times(tmp_path):
                break
            assert killed.poll() is None, "it ended before it wrote a file"
            time.sleep(0.02)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    before = times(tmp_path)
    assert 0 < len(before) < 20
    for name in before:
        embed_many.read(tmp_path, name)  # whole
    shown = run(data.DATA, tmp_path, "--first", "20")
    assert shown.returncode == 0, shown.stderr
    assert f"{len(before)} of 20 documents are skipped" in shown.stdout
    after = times(tmp_path)
    assert len(after) == 20 and before.items() <= after.items()


@pytest.mark.slow
@without_ray
def test_a_model_that_an_actor_cannot_load_ends_it_with_a_sentence(tmp_path):
    pytest.importorskip("ray")
    document = data.load_documents("dev")[0]
    code = (
        "import pathlib\nfrom tools import embed_many\n"
        f"documents = {{'one': (pathlib.Path({str(data.pdf_path(document))!r}), [1])}}\n"
        f"embed_many.embed(documents, pathlib.Path({str(tmp_path)!r}), '/nowhere', {MADE_BY}, {{}})"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    (said,) = re.findall("^RuntimeError: Embedding stopped, .*", shown.stderr, re.MULTILINE)
    assert "/nowhere" in said and not times(tmp_path)


@pytest.mark.slow
@without_ray
def test_actors_with_a_gpu_leave_the_cores_to_those_who_draw_and_a_ray_that_runs_goes_on(first, collection):
    """No GPU is needed: Ray only counts them."""
    folder, documents = collection
    made, _ = first
    code = (
        "import pathlib, sys, json\nfrom tools import embed_many\nray = embed_many._ray()\n"
        "quiet = {'configure_logging': False, 'log_to_driver': False, 'include_dashboard': False}\n"
        "ray.init(num_cpus=2, num_gpus=2, object_store_memory=300_000_000, **quiet)\n"
        "documents, out, model, fingerprint, loading = json.loads(sys.argv[1])\n"
        "documents = {name: (pathlib.Path(file), pages) for name, (file, pages) in documents.items()}\n"
        "embed_many.embed(documents, pathlib.Path(out), model, fingerprint, loading, actors=2, gpus=1)\n"
        "assert ray.is_initialized()"
    )
    good = [documents[place] for place in (0, 2, 3, 4)]
    pages = {one["document_id"]: [page["number"] for page in one["pages"]] for one in good}
    given = {
        one["document_id"]: (str(folder / "pdfs" / one["file"]), pages[one["document_id"]]) for one in good
    }
    pixels = {"min_pixels": SMALL.min_pixels, "max_pixels": SMALL.max_pixels}
    loading = {"model_kwargs": {"dtype": "float32"}, "processor_kwargs": pixels}
    out = folder / "by_gpus"
    model, made_by = SMALL.path(SMALL.embedding_model), json.loads((made / "made_by.json").read_text())
    command = [sys.executable, "-c", code, json.dumps([given, str(out), model, made_by, loading])]
    shown = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert shown.returncode == 0, shown.stderr
    for name in given:
        expected = embed_many.read(made, name)[1]
        assert embed_many.read(out, name)[1] == pytest.approx(expected, abs=1e-5)


class Started(Exception):
    """Ray would be started now."""


class Ray:
    @staticmethod
    def is_initialized():
        raise Started


@pytest.fixture
def documents(tmp_path, monkeypatch):
    """Two documents, one of which has its file, and a Ray that cannot be started."""
    monkeypatch.setattr(embed_many, "_ray", lambda: Ray)
    found = {name: (tmp_path / f"{name}.pdf", [1, 2]) for name in ("one", "two.v2")}
    for file, _ in found.values():
        file.write_text("")
        os.utime(file, (1000, 1000))
    np.savez(tmp_path / "one.npz", numbers=[1, 2], embeddings=np.ones((2, 4)))
    os.utime(tmp_path / "one.npz", (2000, 2000))
    return found


def test_a_document_that_is_newer_than_its_file_is_embedded_anew(documents, tmp_path, capsys):
    with pytest.raises(Started):
        embed_many.embed(documents, tmp_path, "model", MADE_BY, {})
    assert capsys.readouterr().out.startswith("1 of 2 documents are skipped")
    shutil.copy(tmp_path / "one.npz", tmp_path / "two.v2.npz")
    assert embed_many.embed(documents, tmp_path, "model", MADE_BY, {}) == {}
    assert "2 of 2 documents are skipped: they have their file. To embed: 0, 0" in capsys.readouterr().out
    os.utime(documents["one"][0], (3000, 3000))
    with pytest.raises(Started):
        embed_many.embed(documents, tmp_path, "model", MADE_BY, {})
    assert capsys.readouterr().out.startswith("1 of 2 documents are skipped")


def test_another_models_folder_is_refused(documents, tmp_path):
    (tmp_path / "made_by.json").write_text(json.dumps(MADE_BY))
    with pytest.raises(ValueError, match="has another model's embeddings: name a new folder"):
        embed_many.embed(documents, tmp_path, "model", MADE_BY | {"dimensions": 8}, {})


@pytest.mark.parametrize("gpus, words", [(0, "2 CPUs, and Ray has 1"), (0.5, "1 GPUs, and Ray has 0")])
def test_more_actors_than_fit_are_refused_and_not_waited_for(gpus, words, documents, tmp_path, monkeypatch):
    class Small:
        exceptions = type("exceptions", (), {"RayError": RuntimeError})
        is_initialized = staticmethod(lambda: True)
        cluster_resources = staticmethod(lambda: {"CPU": 1.0})

    monkeypatch.setattr(embed_many, "_ray", lambda: Small)
    with pytest.raises(ValueError, match=f"Actors ask for {words}: take fewer"):
        embed_many.embed(documents, tmp_path, "model", MADE_BY, {}, actors=2, gpus=gpus, batch_size=1)


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(embed_many, "find_spec", lambda name: None)
    assert embed_many.main([str(data.DATA), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and 'pip install "ray[data]>=2.51,<3"' in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["data", "--actors", "0"], "--actors must be at least 1"),
        (["nowhere"], "nowhere is no collection"),
        (["data", "--profile", "large"], "large"),
    ],
)
def test_wrong_arguments_are_named(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(embed_many, "_ray", lambda: Ray)
    try:
        code = embed_many.main([*arguments, "--out", str(tmp_path / "out")])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert words in capsys.readouterr().err
