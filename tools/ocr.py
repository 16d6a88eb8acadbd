"""Read the pages of a collection that have no text layer, so that a search of words finds them too.

    pip install "rapidocr>=3,<4" "onnxruntime>=1.20,<2"
    python tools/ocr.py runs/collections/reports            every page without a text layer
    python tools/ocr.py data --split eval dev               only of these splits

The words are kept in the collection's `texts.jsonl`, a line a page, as soon as they are read: an interrupted
run goes on, and `Collection.texts` has them from then on. The packages are no part of requirements.txt: only
this needs them. Their wheel carries its models, so nothing else is downloaded.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.collection import Collection, pages_of, read_lines  # noqa: E402
from helpers.inputs import plain_page  # noqa: E402
from helpers.pages import render_page  # noqa: E402
from tools.own_process import told  # noqa: E402

PIXELS = 1_500_000  # of a page: some 125 dots an inch on A4
INSTALL = 'pip install "rapidocr>=3,<4" "onnxruntime>=1.20,<2"'


def reader() -> Callable[[object], str]:
    """A function from a page's picture to its words, a line of the page a line.

    Raises:
        RuntimeError: the packages are not installed.
    """
    missing = [name for name in ("rapidocr", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise RuntimeError(f"{' and '.join(missing)} not installed: run `{INSTALL}`.")
    import numpy as np
    from rapidocr import RapidOCR

    engine = RapidOCR(params={"Global.log_level": "error"})
    return lambda picture: "\n".join(engine(np.asarray(picture)[:, :, ::-1]).txts or ())  # it takes BGR


def read_pages(
    collection: Collection, splits: list[str] | None = None, read: Callable[[object], str] | None = None
) -> tuple[int, int]:
    """Read every page without a text layer that `texts.jsonl` lacks; return how many, and how many had words.

    Args:
        splits: only of these; None: of all documents.
        read: from a picture to words; None: `reader()`.
    """
    from tqdm.auto import tqdm

    file = collection.folder / "texts.jsonl"
    known = {line["page_id"] for line in read_lines(file)} if file.is_file() else set()
    wanted = [
        (document, page_id, page["number"])
        for document in collection.documents
        if splits is None or document.get("split") in splits
        for page_id, page in pages_of(document)
        if page.get("scanned") and page_id not in known
    ]
    read = read or (reader() if wanted else None)
    found = 0
    with file.open("a", encoding="utf-8") as kept:
        for document, page_id, number in tqdm(wanted, desc="Reading pages", unit="page"):
            source = collection.file(document)
            is_pdf = source.suffix.lower() == ".pdf"
            picture = render_page(source, number, PIXELS) if is_pdf else plain_page(source, PIXELS)
            text = read(picture)
            found += bool(text.strip())
            kept.write(
                json.dumps({"page_id": page_id, "text": text, "by": "rapidocr"}, ensure_ascii=False) + "\n"
            )
            kept.flush()
    return len(wanted), found


def main(arguments: list[str] | None = None) -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--split", nargs="+", help="only pages of these splits")
    options = parser.parse_args(arguments)
    try:
        read, found = read_pages(Collection.load(options.collection), options.split)
    except (ValueError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{read} pages read, {found} of them have words: {options.collection / 'texts.jsonl'}")
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
