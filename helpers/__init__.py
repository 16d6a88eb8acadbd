"""The thin module that the course's notebooks import: what would distract from the Sentence Transformers
calls.

One file per stage: `profiles`, `pages`, `dataset`, `hardware`, `evaluation`, `ledger`, `plots`. Heavy imports
(torch, datasets, matplotlib) are inside functions, so `import helpers` costs next to nothing.
"""

__version__ = "0.1.0"
