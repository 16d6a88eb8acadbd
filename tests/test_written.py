"""tools.written and tools.text_search: written queries, their filter, negatives, searches of words."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import datasets
import pytest
from PIL import Image

from helpers import evaluation
from helpers.course import data
from tools import text_search, written

PIXELS = 64 * 96


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return data.bundled(PIXELS, tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def lines(collection):
    return written.from_text(collection, "dev")


def test_the_text_layer_gives_headings_with_their_documents_name(collection, lines):
    scans = {f"{one['document_id']}-p{page['number']:02d}" for one in data.load_documents("dev")
             for page in one["pages"] if page["scanned"]}  # fmt: skip
    asked = {line["page_ids"][0] for line in lines}
    assert not asked & scans and len(asked) > 0.9 * (600 - len(scans))
    by_page = {}
    for line in lines:
        by_page.setdefault(line["page_ids"][0], []).append(line["query"])
    assert max(map(len, by_page.values())) == 2
    named = headed = 0
    for one in data.load_documents("dev"):
        for page in one["pages"]:
            for query in by_page.get(f"{one['document_id']}-p{page['number']:02d}", []):
                named += one["organization"].split()[0].casefold() in query.casefold()
                headed += page["heading"].casefold() in query.casefold()
    # the first page of an invoice file names the form in larger type than its owner
    assert named > 0.8 * len(lines) and headed > 0.7 * len(lines)
    assert written.from_text(collection, "dev") == lines  # the same again


def test_a_search_of_words_finds_most_of_their_pages(collection, lines):
    run = text_search.bm25({line["query_id"]: line["query"] for line in lines}, collection.texts("dev"))
    relevant = {line["query_id"]: set(line["page_ids"]) for line in lines}
    assert evaluation.mean(evaluation.recall(run, relevant, k=10)) > 0.9
    kept, left_out = written.filtered(lines, {"bm25": run})
    assert 0.7 * len(lines) < len(kept) < len(lines) and sum(left_out.values()) == len(lines) - len(kept)


def line(number, query, page="a-p01"):
    return {"query_id": str(number), "query": query, "page_ids": [page]}


def test_each_reason_of_the_filter():
    many = {f"b-p{i:02d}": 1.0 for i in range(1, 9)}
    asked = [
        line(1, "water use"),
        line(2, "total"),
        line(3, "the same words"),
        line(4, "The same, words!", "a-p02"),
        line(5, "what does it show"),
        line(6, "not to be found"),
    ]
    runs = {
        "bm25": {"1": {"a-p01": 9.0, "b-p01": 1.0}, "5": {"a-p01": 1.0} | many, "6": many},
        "base": {str(i): {"a-p01": 0.5} for i in range(1, 6)},
    }
    kept, left_out = written.filtered(asked, runs)
    assert [one["query_id"] for one in kept] == ["1"]
    assert left_out == {"fewer than two words": 1, "the same words for another page": 2, "fits many pages": 1,
                        "no search finds its page": 1}  # fmt: skip
    assert len(written.filtered([line(1, "water use")], {})[0]) == 1  # nothing to find it with


def test_hard_negatives_leave_out_answers_copies_and_near_answers():
    asked = [line(1, "q") | {"page_ids": ["a-p01", "a-p02"]}]
    scores = {"c-p01": 0.99, "a-p01": 1.0, "a-p02": 0.9, "twin-p01": 0.8, "c-p02": 0.7, "c-p03": 0.6}
    scores |= {"c-p04": 0.5, "c-p05": 0.4, "c-p06": 0.3}
    written.hard_negatives(asked, {"1": scores}, [("a-p02", "twin-p01")], margin=0.05)
    assert asked[0]["negative_ids"] == ["c-p02", "c-p03", "c-p04", "c-p05"]
    written.hard_negatives(asked, {"1": scores}, margin=0.0)
    assert asked[0]["negative_ids"][:2] == ["c-p01", "twin-p01"]


def corpus_of(count):
    pictures = [Image.new("RGB", (64, 96), (i, i, i)) for i in range(count)]
    columns = {"page_id": [f"a-p{i:02d}" for i in range(1, count + 1)], "image": pictures}
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())


def test_what_a_model_writes_is_kept_and_gone_on_from(tmp_path):
    corpus, calls = corpus_of(6), []

    def write(picture):
        calls.append(picture)
        if len(calls) == 4:
            raise ConnectionError("reset by peer")
        return f'"query {len(calls)}"\nAnd more.'

    with pytest.raises(
        RuntimeError, match="No query for a-p04: ConnectionError: reset by peer. 3 are kept .* go on"
    ):
        written.by_model(corpus, write, tmp_path / "kept.jsonl", "vlm")
    lines = written.by_model(corpus, write, tmp_path / "kept.jsonl", "vlm")
    assert [one["query"] for one in lines] == [f"query {i}" for i in (1, 2, 3, 5, 6, 7)] and len(calls) == 7
    assert [one["page_ids"] for one in lines] == [[page] for page in corpus["page_id"]]
    assert (
        len(written.by_model(corpus, write, tmp_path / "kept.jsonl", "vlm", limit=3)) == 3 and len(calls) == 7
    )
    written.by_model(corpus, write, tmp_path / "kept.jsonl", "another model", limit=2)
    assert len(calls) == 9  # another's queries are not taken for its own


@pytest.fixture
def server():
    """An OpenAI-compatible endpoint that answers with what it was asked."""
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, request))
            message = {"role": "assistant", "content": "heating costs 2020\n"}
            body = json.dumps({
                "id": "1", "object": "chat.completion", "created": 0, "model": request["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }).encode()  # fmt: skip
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    served = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}/v1", asked
    served.shutdown()


def test_an_endpoint_is_asked_with_the_picture(server, tmp_path):
    url, asked = server
    write = written.endpoint(url, "some-vlm")
    (line,) = written.by_model(corpus_of(1), write, tmp_path / "kept.jsonl", "some-vlm")
    assert line["query"] == "heating costs 2020" and line["written_by"] == "some-vlm"
    ((path, request),) = asked
    assert path == "/v1/chat/completions" and request["model"] == "some-vlm"
    picture, text = request["messages"][0]["content"]
    assert (
        picture["image_url"]["url"].startswith("data:image/jpeg;base64,")
        and text["text"] == written.LARGE_REQUEST
    )


def test_an_endpoint_that_is_not_there_is_a_sentence(tmp_path):
    write = written.endpoint("http://127.0.0.1:9/v1", "some-vlm")
    with pytest.raises(RuntimeError, match="No query for a-p01: .*run this again to go on"):
        written.by_model(corpus_of(1), write, tmp_path / "kept.jsonl", "some-vlm")


def test_bm25_finds_words_and_nothing_where_there_are_none():
    texts = {"a": "water use in the year 2020", "b": "revenue and water", "c": ""}
    run = text_search.bm25({"1": "water use", "2": "zebra", "3": "the"}, texts)
    assert list(run["1"]) == ["a", "b"] and run["2"] == {} and run["3"] == {}
    assert text_search.bm25({"1": "water"}, {"a": "", "b": " "}) == {"1": {}}


def test_two_searches_added_up():
    one, other = {"1": {"a": 9.0, "b": 5.0}}, {"1": {"b": 0.7, "c": 0.2}, "2": {"a": 1.0}}
    fused = text_search.reciprocal_ranks(one, other)
    assert fused["1"] == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62}) and fused["2"] == {
        "a": 1 / 61
    }
    added = text_search.weighted_sum(one, other, 0.25)
    assert added["1"] == pytest.approx({"a": 0.25, "b": 0.75, "c": 0.0}) and added["2"] == {"a": 0.75}
