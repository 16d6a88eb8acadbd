"""The pretraining of the small checkpoints: pages, model, stages, and what is exported."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # for helpers
