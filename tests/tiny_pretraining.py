"""A pretraining of seconds, in a folder of its own, with a few words and one of matplotlib's typefaces."""

import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from helpers.course.profiles import ROOT

sys.path.insert(0, str(ROOT / "data" / "make"))
from pretraining import assets, places, train  # noqa: E402

WORDS = "total market river winter office paper growth energy street number health music garden".split()


def typeface(name: str = "DejaVuSans") -> str:
    """A font file that matplotlib brings, so that no font package is needed."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf")


def prepare(folder: Path, replace: Callable = setattr) -> None:
    """Fills ``folder`` with words and a typeface, once, and has the pretraining work there.

    ``replace`` sets an attribute, as ``setattr`` or ``monkeypatch.setattr`` do.
    """
    held = folder / "assets"
    if not held.is_dir():
        (held / "fonts").mkdir(parents=True)
        (held / "fonts" / "dejavu__a.ttf").write_bytes(Path(typeface()).read_bytes())
        (held / "words.txt").write_text("\n".join(WORDS * 20))
    replace(places, "WORK", folder)
    replace(places, "ASSETS", held)
    replace(assets, "FONTS", {"dejavu": (typeface(), None, "fonts-dejavu-core")})
    replace(train, "evaluate", lambda reader, **_: {"ndcg@10": 0.5})


def asked(**changes) -> Namespace:
    """What the command line gives for seconds of ``see``."""
    given = {
        "stage": "see", "minutes": 0.04, "pages": None, "device": "cpu", "batch": 21, "processes": 1,
        "workers": 0, "replay": 1, "threads": 1, "lr": 0, "bf16": False, "shape": None, "fresh": False,
        "eyes": False, "compile": False, "seed": 7, "report": 0.5, "evaluate_every": 300,
    }  # fmt: skip
    return Namespace(**(given | changes))
