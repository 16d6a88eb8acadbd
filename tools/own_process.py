"""Scripts: one run in a process of its own, so that memory, threads and random state start anew, and
how each ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable


def last_json(script: str, *arguments: object, threads: int | None = None) -> dict:
    """Run a Python script and return the JSON object on its last line.

    Args:
        script: path of the script, such as `__file__`.
        threads: that torch may use; None: as many as there are cores.

    Raises:
        RuntimeError: the script failed; the end of what it wrote to standard error.
    """
    command = [sys.executable, script, *map(str, arguments)]
    few = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)} if threads else {}
    shown = subprocess.run(command, capture_output=True, text=True, env=os.environ | few)
    if shown.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} failed:\n{shown.stderr[-3000:]}")
    return json.loads(shown.stdout.splitlines()[-1])


def told(main: Callable[[], int]) -> int:
    """What a tool's `main` returns; a fault of the disk is told in a line, and a sign that a console cannot
    print does not hide the rest of it.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    try:
        return main()
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
