"""helpers.files: a file is there whole or not at all."""

import json
import os

import pytest

from helpers.files import replacing, write_json


def test_the_folder_is_made_and_nothing_else_is_left(tmp_path):
    file = tmp_path / "new" / "figures.json"
    write_json(file, {"größe": [1, 2.5]})
    assert json.loads(file.read_text(encoding="utf-8")) == {"größe": [1, 2.5]}
    assert os.listdir(file.parent) == ["figures.json"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_old_content(error, tmp_path):
    file = tmp_path / "page.png"
    file.write_text("old")
    with pytest.raises(error), replacing(file) as partial:
        partial.write_text("ne")
        assert file.read_text() == "old"
        raise error
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["page.png"]


def test_what_json_has_no_form_for_is_refused_before_anything_is_written(tmp_path):
    for value, error in ((float("nan"), ValueError), (object(), TypeError)):
        with pytest.raises(error):
            write_json(tmp_path / "figures.json", {"value": value})
    assert not os.listdir(tmp_path)
