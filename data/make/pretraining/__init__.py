"""The pretraining of the small checkpoints: pages, model, stages, and what is exported.

Pages: ``words``, ``canvas``, ``headers``, ``text_layouts``, ``charts`` and ``layouts``, put together by
``pages`` and ``bank``; those of ``held_out`` no training may see. Training: ``model``, ``batches``,
``reader``, ``losses``, ``state``, ``train``. Then ``export`` writes checkpoints and ``reading`` measures
them. Files lie where ``places`` says; words and fonts come from ``assets``.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # for helpers
