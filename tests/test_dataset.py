"""helpers.dataset: the form of rows and of a retrieval task, and what it says about wrong ones."""

import datasets
import pytest
from PIL import Image

from helpers import dataset


@pytest.fixture
def rows():
    columns = {name: ["x", "y"] for name in (*dataset.COLUMNS, "page_id")}
    return datasets.Dataset.from_dict(columns)


def test_check_columns_says_how_to_put_them_right(rows):
    mixed = rows.select_columns(["image", "query", *dataset.NEGATIVES])
    with pytest.raises(
        ValueError, match=r"wrong order: \['image', 'query'.*select_columns\(\['query', 'image'"
    ):
        dataset.check_columns(mixed)
    with pytest.raises(ValueError, match="no column 'negative_3'"):
        dataset.check_columns(rows.remove_columns("negative_3"))
    three = ("query", "image", "negative_0")
    dataset.check_columns(rows.select_columns(list(three)), three, exact=True)
    with pytest.raises(ValueError, match="take for inputs"):
        dataset.check_columns(rows, exact=True)


@pytest.mark.parametrize(
    ("queries", "pages", "message"),
    [
        ([("q", ["a"]), ("q", ["b"])], ["a", "b"], "query_id 'q' is there twice"),
        ([("q", ["a"])], ["a", "b", "a"], "page_id 'a' is there twice"),
        ([(None, ["a"])], ["a"], "query_id None is no id"),
        ([("q", [])], ["a"], "query 'q' has no page"),
        ([("q", ["z"])], ["a"], "Page 'z', which answers query 'q', is not in the corpus. Take the corpus"),
        ([("q", ["7"])], [7, 8], "Page '7'.* There it is 7: make both strings, or both integers"),
    ],
)
def test_a_retrieval_task_names_the_first_offender(queries, pages, message):
    names, answers = zip(*queries)
    rows = {"query_id": list(names), "query": ["where?"] * len(names), "page_ids": list(answers)}
    corpus = {"page_id": pages, "image": [Image.new("RGB", (32, 32))] * len(pages)}
    with pytest.raises(ValueError, match=message):
        dataset.retrieval_task(datasets.Dataset.from_dict(rows), datasets.Dataset.from_dict(corpus))
