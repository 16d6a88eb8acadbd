"""tools/teacher.py goes on where it was and refuses what others made; tools/merging.py takes means."""

import json

import pytest
import torch

from tools import teacher
from tools.merging import interpolate, weights_of

MADE = {"retriever": "a1", "reranker": "b2", "split": "c3", "first": 2, "candidates": 4}
QUERIES = {f"q{i}": f"text {i}" for i in range(40)}
FOUND = {query: {f"p{(i + k) % 7}": 0.9 - 0.1234567 * k for k in range(4)} for i, query in enumerate(QUERIES)}


def score(pairs):
    """A stand-in for a reranker: the number in the query plus a tenth of the page's."""
    return [int(text.split()[1]) + int(page[1:]) / 10 for text, page in pairs]


def scored(file, **changed):
    return teacher.write(file, MADE | changed, QUERIES, FOUND, score)


def test_scores_are_written_once_and_read_back(tmp_path):
    file = tmp_path / "teacher.jsonl"
    first = scored(file)
    assert list(first.scores) == list(QUERIES)
    assert first.scores["q3"] == {"p3": 3.3, "p4": 3.4, "p5": 3.5, "p6": 3.6}
    assert first.similarities["q3"]["p4"] == 0.7765
    text = file.read_text()
    again = teacher.write(file, MADE, QUERIES, FOUND, lambda pairs: pytest.fail("scored twice"))
    assert again == first and file.read_text() == text
    assert text.count('"p3"') == 1  # page ids once


@pytest.mark.parametrize("cut", ["in a line", "in the header", "after a line", "nothing"])
def test_an_interrupted_run_goes_on(tmp_path, cut):
    file = tmp_path / "teacher.jsonl"
    whole = scored(file)
    text = file.read_text()
    lines = text.splitlines(keepends=True)
    left = {"in a line": "".join(lines[:18]) + lines[18][:9], "in the header": lines[0][:20],
            "after a line": "".join(lines[:18]), "nothing": ""}[cut]  # fmt: skip
    file.write_text(left)
    asked = []
    resumed = teacher.write(file, MADE, QUERIES, FOUND, lambda pairs: asked.extend(pairs) or score(pairs))
    assert resumed == whole and file.read_text() == text
    there = 17 if "line" in cut else 0
    assert len(asked) == 4 * (len(QUERIES) - there)


def test_a_scorer_that_stops_leaves_whole_lines(tmp_path):
    file, calls = tmp_path / "teacher.jsonl", []

    def stops(pairs):
        calls.append(len(pairs))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(pairs)

    with pytest.raises(KeyboardInterrupt):
        teacher.write(file, MADE, QUERIES, FOUND, stops)
    assert len(teacher.read(file, MADE).scores) == 16
    assert len(scored(file).scores) == len(QUERIES)


@pytest.mark.parametrize(
    ("name", "value"), [("reranker", "ff"), ("retriever", "ff"), ("split", "ff"), ("first", 0)]
)
def test_scores_of_another_model_or_split_are_refused(tmp_path, name, value):
    file = tmp_path / "teacher.jsonl"
    scored(file)
    with pytest.raises(
        ValueError, match=rf"made with {name} {MADE[name]}, and now it is {value}.*Move or delete"
    ):
        scored(file, **{name: value})
    with pytest.raises(ValueError, match="another model or other data"):
        teacher.read(file, {name: value})
    assert teacher.read(file).made_with == MADE
    assert teacher.read(file, {"candidates": 4}).made_with == MADE


@pytest.mark.parametrize("text", ["[]\n", "{}\n", "no JSON\n", ""])
def test_a_file_of_another_kind_is_refused(tmp_path, text):
    file = tmp_path / "teacher.jsonl"
    file.write_text(text)
    with pytest.raises(ValueError, match="does not hold a teacher's scores.*Move or delete"):
        teacher.read(file)


def test_rows_that_are_not_whole_are_refused(tmp_path):
    file = tmp_path / "teacher.jsonl"
    header = json.dumps({"made_with": MADE, "pages": ["p0", "p1"]})
    file.write_text(f'{header}\n["q0", [0, 1], [0.5], [1, 2]]\n')
    with pytest.raises(ValueError, match="query q0 differ in length"):
        teacher.read(file)


def test_a_list_has_the_right_page_first_and_sums_on_the_students_scale(tmp_path):
    lesson = scored(tmp_path / "teacher.jsonl")
    relevant = {query: {list(order)[2]} for query, order in FOUND.items()}
    rows, left_out = teacher.lists(lesson, relevant, weight=20, wrong=3)
    assert len(rows) == len(QUERIES) and left_out == 0
    for row in rows:
        assert row.page_ids[0] in relevant[row.query_id] and len(set(row.page_ids)) == 4
        assert not relevant[row.query_id] & set(row.page_ids[1:])
        for near, given, total in zip(row.similarities, row.scores, row.sums):
            assert total == pytest.approx(20 * near + given)
        margins = [(row.sums[0] - other) / 20 for other in row.sums[1:]]
        wanted = [row.similarities[0] + row.scores[0] / 20 - near - given / 20
                  for near, given in zip(row.similarities[1:], row.scores[1:])]  # fmt: skip
        assert margins == pytest.approx(wanted) and max(map(abs, margins)) <= 2
    assert rows == teacher.lists(lesson, relevant, weight=20, wrong=3)[0]
    assert len(teacher.lists(lesson, relevant, weight=20, limit=5)[0]) == 5


def test_queries_without_their_right_page_are_left_out_and_counted(tmp_path):
    lesson = scored(tmp_path / "teacher.jsonl")
    relevant = {query: {next(iter(order))} for query, order in FOUND.items()}
    relevant["q4"], relevant["q7"] = {"elsewhere"}, set(FOUND["q7"])  # q7: no wrong page is left
    rows, left_out = teacher.lists(lesson, relevant, weight=20)
    assert left_out == 2
    assert not {"q4", "q7"} & {row.query_id for row in rows}


def test_the_bundled_scores_fit_the_bundled_queries():
    from helpers.course.data import load_queries

    lesson = teacher.read(teacher.FILE)
    asked = load_queries("train")
    relevant = {query["query_id"]: set(query["page_ids"]) for query in asked}
    numbers = {query["query_id"]: number for number, query in enumerate(asked)}
    assert min(numbers[query] for query in lesson.scores) >= lesson.made_with["first"]
    rows, _ = teacher.lists(lesson, relevant, weight=20)
    assert len(rows) >= 1000
    right = sum(max(row.sums) == row.sums[0] for row in rows) / len(rows)
    assert right > sum(max(row.similarities) == row.similarities[0] for row in rows) / len(rows)
    assert teacher.FILE.stat().st_size < 600_000


def test_digits_follow_the_weights(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = teacher.digits(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"others")
    assert len(before) == 10 and teacher.digits(tmp_path) != before
    assert teacher.digits("Qwen/Qwen3-VL-Reranker-2B") == "Qwen/Qwen3-VL-Reranker-2B"


def test_a_mean_of_weights():
    one = {"weight": torch.tensor([1.0, 2.0]), "count": torch.tensor(3)}
    other = {"weight": torch.tensor([3.0, 6.0]), "count": torch.tensor(3)}
    mixed = interpolate([one, other], [0.75, 0.25])
    assert mixed["weight"].tolist() == [1.5, 3.0] and mixed["count"] == 3
    half = {"weight": one["weight"].bfloat16()}
    assert interpolate([half, half], [0.5, 0.5])["weight"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("other", "shares", "message"),
    [
        ({"weight": torch.zeros(3)}, [0.5, 0.5], r"different shapes.*weight is \(2,\).*\(3,\) in model 2"),
        ({}, [0.5, 0.5], "weight is .* and missing in model 2. Merge models .* the same start"),
        ({"weight": torch.zeros(2), "lora_A": torch.zeros(1)}, [0.5, 0.5], "An adapter is still on"),
        ({"weight": torch.zeros(2)}, [0.5, 0.6], "a share for each, with a sum of 1"),
        ({"weight": torch.zeros(2)}, [1.0], "2 models and 1 shares"),
    ],
)
def test_models_that_have_no_mean_are_refused(other, shares, message):
    with pytest.raises(ValueError, match=message):
        interpolate([{"weight": torch.zeros(2)}, other], shares)


def test_weights_are_copies_and_not_those_beside_an_adapter():
    layer = torch.nn.Linear(2, 2)
    kept = weights_of(layer)
    with torch.no_grad():
        layer.weight.zero_()
    assert kept["weight"].any()
    layer.lora_A = torch.nn.Linear(2, 1)
    with pytest.raises(ValueError, match="An adapter is still on .*merge_and_unload"):
        weights_of(layer)
