"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a path beside `file` to write to; at the end of the `with` block it takes the place of `file`.

    So a reader sees the old content or the new, never a part, and a write that fails leaves nothing behind.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def write_json(file: Path, value) -> None:
    """Write `value` as JSON, whole or not at all.

    Raises:
        ValueError: a number that is not finite. TypeError: a type that JSON has no form for.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(file) as partial:
        partial.write_text(text, encoding="utf-8")
