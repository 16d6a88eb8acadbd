"""Where the pretraining finds and keeps things. Read as ``places.WORK``, so that a test can move them."""

from . import ROOT

WORK = ROOT / "runs" / "pretraining"
ASSETS = WORK / "assets"
OUT = ROOT / "data" / "checkpoints"
