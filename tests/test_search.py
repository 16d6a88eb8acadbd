"""helpers.search: a store in a folder, on a server over HTTP, killed at any moment, and what it refuses."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from qdrant_client import models

from helpers import evaluation
from helpers.course.profiles import ROOT
from helpers.search import PageStore, connect, made_by
from tests.qdrant_server import Server

DIMENSIONS, TOKENS = 16, 8
MADE_BY = {
    "weights": "a1",
    "prompts": {"query": "q", "document": None},
    "max_pixels": 1,
    "dimensions": DIMENSIONS,
}
PAGES = [
    {
        "page_id": f"report-{document}-p{number:02d}",
        "document_id": f"report-{document}",
        "number": number,
        "text": f"Turnover of {'Harbour' if number % 2 else 'Mill'} Works, part {number}",
        "date": f"20{document:02d}-0{1 + document % 9}-15" if document else None,
    }
    for document in range(12)
    for number in range(1, 6)
]
IDS = [page["page_id"] for page in PAGES]


@pytest.fixture(scope="module")
def vectors():
    """Pages' vectors, dense and late, and of three queries: (dense, late, queries, queries' tokens)."""
    draw = np.random.default_rng(0)
    dense = draw.standard_normal((len(PAGES), DIMENSIONS), dtype=np.float32)
    late = [
        draw.standard_normal((int(tokens), TOKENS), dtype=np.float32)
        for tokens in draw.integers(3, 9, len(PAGES))
    ]
    near = [2, 17, 41]
    queries = dense[near] + 0.3 * draw.standard_normal((3, DIMENSIONS), dtype=np.float32)
    return dense, late, queries, [late[place][:2] for place in near]


@pytest.fixture
def server(tmp_path):
    served = Server(tmp_path / "server")
    yield served
    served.close()


@pytest.fixture(params=["folder", "server"])
def client(request, tmp_path):
    """A folder's store and a server's are one test: the same calls, the same answers."""
    if request.param == "folder":
        opened = connect(tmp_path / "store")
    else:
        opened = connect(url=request.getfixturevalue("server").url)
    yield opened
    opened.close()


@pytest.fixture
def store(client, vectors):
    made = PageStore.build(client, MADE_BY, late=TOKENS)
    made.add(PAGES, *vectors[:2])
    return made


def found(hits) -> dict[str, float]:
    return {hit.page_id: hit.score for hit in hits}


def maxsim(query, page) -> float:
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (query, page)]
    return float((unit[0] @ unit[1].T).max(axis=1).sum())


def test_ids_and_scores_are_those_of_rank(store, vectors):
    dense, _, queries, _ = vectors
    run = evaluation.rank(queries, dense, ["a", "b", "c"], IDS, k=10)
    for name, query in zip(run, queries):
        assert found(store.search(query)) == pytest.approx(run[name], abs=1e-5)
        assert [hit.page_id for hit in store.search(query)] == list(run[name])


def test_maxsim_over_all_pages_and_over_candidates(store, vectors):
    dense, late, queries, asked = vectors
    scores = {page: maxsim(asked[0], rows) for page, rows in zip(IDS, late)}
    best = sorted(scores, key=lambda page: -scores[page])[:5]
    hits = store.search(late=asked[0], top_k=5)
    assert [hit.page_id for hit in hits] == best
    assert found(hits) == pytest.approx({page: scores[page] for page in best}, abs=1e-5)
    ahead = [hit.page_id for hit in store.search(queries[0], top_k=8)]
    second = store.search(queries[0], asked[0], top_k=3, candidates=8)
    assert [hit.page_id for hit in second] == sorted(ahead, key=lambda page: -scores[page])[:3]


def test_a_filter_returns_every_match_and_no_other(store, vectors):
    query, tokens = vectors[2][0], vectors[3][0]
    of_3 = {page["page_id"] for page in PAGES if page["document_id"] == "report-3"}
    of_5 = {page["page_id"] for page in PAGES if page["document_id"] == "report-5"}
    dated = {page["page_id"] for page in PAGES if "2004-01-01" <= (page["date"] or "") <= "2006-07-15"}
    harbour = {page["page_id"] for page in PAGES if "Harbour" in page["text"]}
    for only, wanted in (
        ({"document": "report-3"}, of_3),
        ({"document": ["report-3", "report-5"]}, of_3 | of_5),
        ({"since": "2004-01-01", "until": "2006-07-15"}, dated),
        ({"contains": "harbour works"}, harbour),
        ({"document": "report-3", "contains": "Harbour"}, of_3 & harbour),
        ({"contains": "nothing"}, set()),
    ):
        for late in (None, tokens):
            assert set(found(store.search(query, late, top_k=100, **only))) == wanted, only
    assert 0 < len(dated) < len(PAGES) and of_3 & harbour
    (hit,) = store.search(query, top_k=1, document="report-3")
    kept = next(page for page in PAGES if page["page_id"] == hit.page_id)
    assert hit._asdict() == kept | {"score": hit.score}


def test_more_than_there_is_gives_all(store, vectors):
    assert len(store.search(vectors[2][0], top_k=10_000)) == len(PAGES) == len(store)
    assert store.documents() == {f"report-{number}": 5 for number in range(12)}


def test_a_document_is_replaced_and_deleted(store, vectors):
    dense, late, queries, _ = vectors
    old = [place for place, page in enumerate(PAGES) if page["document_id"] == "report-3"]
    shorter = [PAGES[place] | {"text": "written anew"} for place in old[:2]]
    store.replace(shorter, dense[old[:2]], [late[place] for place in old[:2]])
    assert len(store) == len(PAGES) - 3 and store.documents()["report-3"] == 2
    hits = store.search(queries[0], document="report-3")
    assert {hit.text for hit in hits} == {"written anew"} and len(hits) == 2
    store.delete("report-3")
    assert "report-3" not in store.documents() and not store.search(queries[0], document="report-3")
    with pytest.raises(KeyError, match="no document 'report-3'"):
        store.delete("report-3")
    assert store.client.count("pages").count == len(PAGES) - 5  # nothing hidden is left behind


def test_a_write_that_was_cut_off_is_not_seen_and_is_cleared_away(store, vectors, monkeypatch):
    dense, late, queries, _ = vectors
    monkeypatch.setattr("helpers.search._NUMBERS", 2 * (DIMENSIONS + 8 * TOKENS))
    old = [place for place, page in enumerate(PAGES) if page["document_id"] == "report-3"]
    rows = [PAGES[place] | {"text": "new"} for place in old], dense[old], [late[place] for place in old]
    upsert, calls = store.client.upsert, []

    def cut_off(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return upsert(*args, **kwargs)

    monkeypatch.setattr(store.client, "upsert", cut_off)
    with pytest.raises(KeyboardInterrupt):
        store.replace(*rows)
    monkeypatch.setattr(store.client, "upsert", upsert)
    hits = store.search(queries[0], document="report-3", top_k=50)
    assert len(hits) == 5 and "new" not in {hit.text for hit in hits}
    assert store.client.count("pages").count > len(PAGES) == len(store)
    store.replace(*rows)
    assert {hit.text for hit in store.search(queries[0], document="report-3", top_k=50)} == {"new"}
    assert store.client.count("pages").count == len(PAGES) == len(store)


def test_another_models_store_is_refused(store, client):
    for change, words in (
        ({"weights": "b2"}, "weights 'a1', not 'b2'"),
        ({"max_pixels": 2}, "max_pixels 1, not 2"),
        ({"prompts": {}}, "prompts .*, not {}"),
        ({"dimensions": 8}, "dimensions 16, not 8"),
    ):
        with pytest.raises(ValueError, match=f"Another model made the store 'pages': {words}"):
            PageStore(client, MADE_BY | change)
    with pytest.raises(FileNotFoundError, match="no collection 'other' here: PageStore.build makes it"):
        PageStore(client, MADE_BY, "other")
    with pytest.raises(ValueError, match="a collection 'pages' already"):
        PageStore.build(client, MADE_BY)
    assert len(PageStore(client, MADE_BY)) == len(PAGES)


def test_what_cannot_be_stored_or_searched_is_said(store, vectors):
    dense, late, queries, _ = vectors
    page, one, some = {"page_id": "x-p01", "document_id": "x", "number": np.int64(1)}, dense[:1], late[:1]
    nan, zero = one.copy(), np.zeros_like(one)
    nan[0, 3] = np.nan
    for rows, message in (
        (([page, page], dense[:2], late[:2]), "page 'x-p01' comes 2 times"),
        (([PAGES[0]], one, some), "the document 'report-0' already: replace"),
        (([page], dense[:2], late[:2]), "2 dense and 2 late vectors for 1 pages"),
        (([page], one), "1 dense vectors for 1 pages: each needs dense and late"),
        (([page], one[:, :8], some), "dense has shape .8,., where the store has 16 dimensions"),
        (([page], one, [some[0][0]]), "late has shape .8,., where the store has 8"),
        (([page], nan, some), "dense has NaN"),
        (([page], zero, some), "a vector of length 0"),
    ):
        with pytest.raises(ValueError, match=message):
            store.add(*rows)
    assert len(store) == len(PAGES)
    with pytest.raises(ValueError, match="pages of one document, not of 2"):
        store.replace([page, PAGES[0]], dense[:2], late[:2])
    for asked, message in (
        ({"dense": queries[0], "top_k": 0}, "top_k is 0 .*: ask for one page at least"),
        ({}, "needs a query's vectors"),
        ({"dense": queries[0][:8]}, "dense has shape .8,."),
        ({"dense": queries[0] * np.nan}, "dense has NaN"),
        ({"late": np.zeros((0, TOKENS))}, "late has shape .0, 8."),
    ):
        with pytest.raises(ValueError, match=message):
            store.search(**asked)
    store.add([page], one, some)  # numpy's numbers are made plain
    assert store.search(one[0], document="x")[0].number == 1


def test_a_store_without_late_vectors_says_how_to_have_them(tmp_path, vectors):
    store = PageStore.build(connect(tmp_path), MADE_BY)
    with pytest.raises(ValueError, match=r"no late vectors: PageStore.build\(late=...\)"):
        store.search(late=vectors[3][0])
    assert store.search(vectors[2][0]) == [] and len(store) == 0
    store.client.close()


@pytest.mark.parametrize("kind", ["scalar", "binary"])
def test_a_server_keeps_fewer_bits_and_orders_by_all(kind, server, vectors):
    dense, _, queries, _ = vectors
    bits = {
        "scalar": models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type="int8")),
        "binary": models.BinaryQuantization(binary=models.BinaryQuantizationConfig()),
    }[kind]
    store = PageStore.build(connect(url=server.url), MADE_BY, quantization_config=bits)
    store.add(PAGES, dense)
    exact = evaluation.rank(queries, dense, ["a", "b", "c"], IDS, k=5)
    for name, query in zip(exact, queries):
        hits = found(store.search(query, top_k=5))
        assert max(exact[name], key=exact[name].get) in hits
        assert all(
            hits[page] == pytest.approx(exact[name][page], abs=1e-5) for page in hits if page in exact[name]
        )


def test_a_folders_store_migrates_to_a_server(tmp_path, server, vectors):
    dense, late, queries, asked = vectors
    folder = PageStore.build(connect(tmp_path / "store"), MADE_BY, late=TOKENS)
    folder.add(PAGES, dense, late)
    remote = connect(url=server.url)
    folder.client.migrate(remote, collection_names=["pages"])
    moved = PageStore(remote, MADE_BY)
    moved.index_fields()
    for query, tokens in zip(queries, asked):
        for given in ((query, None), (None, tokens), (query, tokens)):
            ours, theirs = folder.search(*given), moved.search(*given)
            assert [hit.page_id for hit in ours] == [hit.page_id for hit in theirs]
            assert found(ours) == pytest.approx(found(theirs), abs=1e-5)
    folder.client.close()


def test_requests_stay_below_what_a_server_takes(server, monkeypatch):
    monkeypatch.setattr("tests.qdrant_server.LARGEST", 400_000)
    monkeypatch.setattr("helpers.search._NUMBERS", 5_000)
    draw = np.random.default_rng(1)
    store = PageStore.build(connect(url=server.url), MADE_BY, late=TOKENS)
    late = [draw.standard_normal((400, TOKENS), dtype=np.float32) for _ in PAGES]
    store.add(PAGES, draw.standard_normal((len(PAGES), DIMENSIONS), dtype=np.float32), late)
    assert len(store) == len(PAGES)
    assert max(size for _, path, size in server.requests if path.endswith("/points")) > 50_000


def test_a_server_that_is_down_slow_or_refuses_the_key(tmp_path):
    with pytest.raises(
        ConnectionError, match="Nothing answers at http://127.0.0.1:9.*docker run -p 6333:6333"
    ):
        connect(url="http://127.0.0.1:9")
    slow = Server(tmp_path / "slow", delay=3)
    with pytest.raises(TimeoutError, match=f"{slow.url} did not answer in time"):
        connect(url=slow.url, timeout=1)
    slow.delay = 0
    store = PageStore.build(connect(url=slow.url, timeout=1), MADE_BY)
    slow.delay = 3
    with pytest.raises(TimeoutError, match="server of 'pages' did not answer in time"):
        len(store)
    slow.close()
    closed = Server(tmp_path / "closed", key="secret")
    with pytest.raises(PermissionError, match=f"{closed.url} refuses the key: give it as api_key"):
        connect(url=closed.url)
    with pytest.warns(UserWarning, match="insecure connection"):
        PageStore.build(connect(url=closed.url, api_key="secret"), MADE_BY)
    closed.close()


def test_a_store_is_open_once(tmp_path):
    first = connect(tmp_path / "store")
    with pytest.raises(
        RuntimeError, match=r"is open in another process or kernel. Close it there with client.close"
    ):
        connect(tmp_path / "store")
    first.close()
    connect(tmp_path / "store").close()


def test_what_is_no_store_is_said(tmp_path, vectors):
    with pytest.raises(ValueError, match="Name either path, a folder, or url"):
        connect()
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("x")
    for name in ("file", "other"):
        with pytest.raises(
            ValueError, match=f"{name} is no store: name the folder of one, or one that is new"
        ):
            connect(tmp_path / name)
    assert (tmp_path / "other" / "notes.txt").read_text() == "x"
    opened = connect(tmp_path / "store")
    PageStore.build(opened, MADE_BY).add(PAGES[:5], vectors[0][:5])
    opened.close()
    (tmp_path / "store" / "meta.json").write_text('{"collec')
    with pytest.raises(ValueError, match="store is no store, or a damaged one: build it anew"):
        connect(tmp_path / "store")


KILLED = f"""
import sys
import numpy as np
from helpers.search import PageStore, connect
from tests.test_search import MADE_BY, PAGES
draw = np.random.default_rng(0)
client = connect(sys.argv[1])
store = PageStore(client, MADE_BY) if client.collection_exists("pages") else PageStore.build(client, MADE_BY)
while True:
    for number in range(12):
        pages = [page | {{"number": 100 * part + page["number"], "page_id": page["page_id"] + str(part)}}
                 for part in range(20) for page in PAGES if page["document_id"] == f"report-{{number}}"]
        rows = draw.standard_normal((len(pages), {DIMENSIONS}), dtype=np.float32)
        if sys.argv[2] == "add" and f"report-{{number}}" in store.documents():
            store.delete(f"report-{{number}}")
            print("deleted", number, flush=True)
        store.replace(pages, rows)
        print("written", number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["replace", "add"])
def test_a_killed_process_loses_no_document_and_leaves_none_half(way, tmp_path):
    """SIGKILL at a random moment of an insert, a replacement or a deletion, six times."""
    draw, whole = np.random.default_rng(len(way)), 100
    acknowledged: set[str] = set()
    for _ in range(6):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "store"), way]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        lines = [process.stdout.readline().split() for _ in range(3)]
        time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        doubtful = set()
        for word, number in [*lines, *map(str.split, rest.splitlines())]:
            document = f"report-{number}"
            (acknowledged.add if word == "written" else acknowledged.discard)(document)
            doubtful = {document, f"report-{(int(number) + 1) % 12}"}
        client = connect(tmp_path / "store")
        store = PageStore(client, MADE_BY)
        there = store.documents()
        assert set(there.values()) == {whole}, there  # none is half
        assert acknowledged - doubtful <= set(there) <= acknowledged | doubtful
        acknowledged = set(there)
        query = draw.standard_normal(DIMENSIONS, dtype=np.float32)
        assert len(store.search(query, top_k=10_000)) == whole * len(there) == len(store)
        client.close()


def test_what_a_store_hangs_on():
    import torch

    class Model(torch.nn.Linear):
        prompts = {"query": "q", "document": "d", "other": "o"}

        def get_embedding_dimension(self):
            return 8

    torch.manual_seed(0)
    model = Model(8, 8)
    told = made_by(model, 512, 4)
    assert told["dimensions"] == 4 and told["prompts"] == {"query": "q", "document": "d"}
    assert made_by(model, 512)["dimensions"] == 8
    assert made_by(model.to(torch.bfloat16), 512, 4) == told  # loaded in 16 bits it is the same model
    with torch.no_grad():
        model.weight[0, 0] += 1
    assert made_by(model, 512, 4)["weights"] != told["weights"]
    for dimensions in (0, 9):
        with pytest.raises(
            ValueError, match=f"dimensions is {dimensions}: an embedding of this model has 1 to 8"
        ):
            made_by(model, 512, dimensions)


@pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="no Qdrant server: QDRANT_URL is not set")
def test_a_real_server_answers_as_a_folder_does(tmp_path, vectors):
    dense, late, queries, asked = vectors
    stores = []
    for client in (
        connect(tmp_path),
        connect(url=os.environ["QDRANT_URL"], api_key=os.environ.get("QDRANT_KEY")),
    ):
        if client.collection_exists("course-test"):
            client.delete_collection("course-test")
        stores.append(PageStore.build(client, MADE_BY, late=TOKENS, name="course-test"))
        stores[-1].add(PAGES, dense, late)
        stores[-1].delete("report-4")
    for query, tokens in zip(queries, asked):
        for only in ({}, {"document": "report-3"}, {"since": "2004-01-01"}, {"contains": "mill"}):
            for given in ((query, None), (None, tokens), (query, tokens)):
                ours, theirs = (store.search(*given, top_k=60, **only) for store in stores)
                assert found(ours) == pytest.approx(found(theirs), abs=1e-5)
    stores[1].client.delete_collection("course-test")
