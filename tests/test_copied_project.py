"""A project made as README's section *Copy* says: the carried room, notebook 04, pages of one's own."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from helpers.course.data import load_documents, load_queries, pdf_path
from helpers.course.profiles import ROOT
from helpers.pages import page_id, render_page, split_page_id

MOST_LINES = 10
#: What the project's settings say beyond README's: the small checkpoint, so that it trains on this machine.
SMALL = """embedding_model="model", hard_negatives=0, max_pixels=128 * 160, matryoshka_dims=(256, 64),
    batch_size=8, cached_loss=False, learning_rate=5e-4, num_train_epochs=2"""


def section() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(r"^\*\*Copy\.\*\*.*?(?=^### )", text, flags=re.MULTILINE | re.DOTALL)[0]


def edits() -> list[tuple[str, str]]:
    """README's table: what stands in notebook 04, and the line or lines that it becomes."""
    rows = re.findall(r"^\| `([^|]+)` \| (`[^|]+`) \|$", section(), flags=re.MULTILINE)
    assert rows
    return [(old, "\n".join(re.findall(r"`([^`]+)`", new))) for old, new in rows]


def cells() -> list[str]:
    """The code of notebook 04 up to its recap, without the cell that README leaves out."""
    kept = []
    for cell in json.loads((ROOT / "notebooks" / "04_train_embedding.ipynb").read_text())["cells"]:
        source = "".join(cell["source"])
        if source.startswith("## Recap"):
            return kept
        if cell["cell_type"] == "code" and not source.startswith("section.record("):
            kept.append(source)
    raise AssertionError("no recap")


def edited(code: str) -> tuple[str, int]:
    """The code with README's edits, and how many lines of it are new."""
    lines = 0
    for old, new in edits():
        pattern = re.escape(old).replace(re.escape("(...)"), r"\((?:[^()]|\([^()]*\))*\)")
        new = re.sub(r'embedding_model="[^"]+", hard_negatives=0', SMALL, new)
        code, count = re.subn(rf"^{pattern}", lambda _, new=new: new, code, flags=re.MULTILINE)
        assert count, f"notebook 04 has no line {old!r}"
        lines += count * len(new.splitlines())
    return code, lines


@pytest.mark.slow
def test_a_copied_project_trains_evaluates_saves_and_reloads(tmp_path):
    ignored = shutil.ignore_patterns("course", "__pycache__")
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers", ignore=ignored)
    (tmp_path / "tools").mkdir()
    for name in ("planning", "fast_vision"):
        assert f"`tools/{name}.py`" in section()
        shutil.copy2(ROOT / "tools" / f"{name}.py", tmp_path / "tools")
    shutil.copytree(ROOT / "data" / "checkpoints" / "small-embedding", tmp_path / "model")
    rows, files = [], {document["document_id"]: pdf_path(document) for document in load_documents()}
    (tmp_path / "pages").mkdir()
    for split, wanted in (("train", 24), ("dev", 8), ("eval", 10)):
        for query in load_queries(split)[:wanted]:
            document, number = split_page_id(query["page_ids"][0])
            name = f"pages/{page_id(document, number)}.png"
            render_page(files[document], number, 128 * 160).save(tmp_path / name)
            rows.append((query["query"], name, split))
    others, rows = [row[1:] for row in rows[-2:]], rows[:-2]
    assert len(rows) == 40 and len({name for _, name, _ in rows} | {name for name, _ in others}) == 42
    (own,) = re.findall(r"```python\n(.*?)```", section(), flags=re.DOTALL)
    start, end = own.index("ROWS = ["), own.index("\n]\n") + 3
    own = f"{own[:start]}ROWS = {rows!r}\n{own[end:]}"
    own = re.sub(r"^OTHERS = .*$", f"OTHERS = {others!r}", own, flags=re.MULTILINE)
    (tmp_path / "make_collection.py").write_text(own, encoding="utf-8")
    subprocess.run([sys.executable, "make_collection.py"], cwd=tmp_path, check=True)
    code, lines = edited("\n\n".join(cells()))
    assert lines <= MOST_LINES
    assert "helpers.course" not in code
    (tmp_path / "train.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "train.py"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=offline())
    assert shown.returncode == 0, shown.stdout[-2000:] + shown.stderr[-4000:]
    assert (tmp_path / "runs" / "final" / "model.safetensors").is_file()
    assert re.search(r"NDCG@10 0\.\d+ -> [01]\.\d+", shown.stdout)
    assert re.search(r"8 queries over 10 pages: here [01]\.\d+, in a fresh process [01]\.\d+", shown.stdout)
    assert not (tmp_path / "vdr-course").exists()  # the setup cell has left the project alone


def offline() -> dict[str, str]:
    return os.environ | {"HF_HUB_OFFLINE": "1", "VDR_COURSE_HEADLESS": "1"}
