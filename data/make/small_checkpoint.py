"""Builds and pretrains the small Qwen3-VL checkpoints that the course ships.

    pip install "wordfreq>=3.1,<4"                # the word list; nothing else needs it
    python data/make/small_checkpoint.py gather   # words and fonts, once
    python data/make/small_checkpoint.py train --fresh --minutes 90 --processes 2 --bf16   # from nothing
    python data/make/small_checkpoint.py train --stage read --minutes 40 --processes 2 --bf16   # more of it
    python data/make/small_checkpoint.py train --fresh --device cuda --minutes 20 --batch 512 --workers 16
    python data/make/small_checkpoint.py train --fresh --stage speak --minutes 40 --processes 2 --bf16
    python data/make/small_checkpoint.py train --fresh --stage judge --minutes 60 --processes 2 --bf16
    python data/make/small_checkpoint.py export   # into data/checkpoints, what was trained
    python data/make/small_checkpoint.py reading  # measures how well they read, for their cards

A run that was killed goes on where it was: give the same command without ``--fresh``. ``--compile`` is worth
its minute in a long run.

Training has three stages. ``see``: every patch and every visual token predicts what is written in it, and
where in it (dense supervision; the vision tower alone). ``match``: queries against pages (contrastive) while
the model reads the heading aloud; the pages are laid out but not painted, and their visual tokens imitated.
``read``: the same with page pictures, while the dense supervision goes on. A language loss alone does not
leave its plateau from random weights: the text side learns to ignore the picture.

Two more make a model of their own. ``speak``, from the result: the model that reads aloud and writes a query
for a page. A heading has few tokens to learn from, so passages of the same page are read too, and the vision
tower goes on to learn what stands where. ``judge``, from that one, a reranker, with the vision tower as it
is: a page, a query, and "yes" or "no". Whether a page answers is one bit a pair; so each word of the query is
also asked whether it stands on the page, and the right page must come first among look-alikes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pretraining.assets import gather
from pretraining.model import SHAPES
from pretraining.state import STAGES


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sub = parser.add_subparsers(dest="command", required=True)
    sub.add_parser("gather", help="collect words and fonts")
    sub.add_parser("export", help="write the checkpoints")
    r = sub.add_parser("reading", help="measure how well the checkpoints read")
    r.add_argument("--pages", type=int, default=500, help="pages of each set")
    r.add_argument("--twins", type=int, default=250, help="pairs of each kind")
    r.add_argument("--real", type=Path, help="a folder with pdfs/ and questions.jsonl")
    t = sub.add_parser("train", help="pretrain, or go on")
    t.add_argument("--minutes", type=float, default=60, help="the whole budget, or that of --stage alone")
    t.add_argument(
        "--pages", type=int, help="the budget in pages instead, the same on a fast and a slow machine"
    )
    t.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    t.add_argument("--batch", type=int, default=40, help="pages a step")
    t.add_argument("--processes", type=int, default=1, help="processes that train side by side")
    t.add_argument(
        "--workers", type=int, default=0, help="further processes that draw pages, for each that trains"
    )
    t.add_argument(
        "--replay",
        type=int,
        default=1,
        help="times that a drawn batch is shown: more where drawing is what limits",
    )
    t.add_argument("--threads", type=int, default=0, help="CPU threads a process; 0: a fair share")
    t.add_argument("--lr", type=float, default=0, help="peak learning rate instead of the stage's own")
    t.add_argument("--bf16", action="store_true", help="bfloat16 autocast, where the machine has it")
    t.add_argument(
        "--compile",
        action="store_true",
        help="compile the layers first: up to a minute, then a fifth more pages; needs a C++ compiler",
    )
    t.add_argument(
        "--stage", choices=list(STAGES), help="this stage only, with a learning-rate schedule of its own"
    )
    t.add_argument("--shape", choices=list(SHAPES), help="other layers and widths, kept apart, from nothing")
    t.add_argument(
        "--fresh",
        action="store_true",
        help="start from random weights; `speak`: from what `read` left, `judge`: from what `speak` left",
    )
    t.add_argument(
        "--eyes",
        action="store_true",
        help="`speak` goes on with the vision tower of the first stages' state",
    )
    t.add_argument("--seed", type=int, default=7)
    t.add_argument("--report", type=float, default=30, help="seconds between log lines")
    t.add_argument(
        "--evaluate-every", type=float, default=300, help="seconds between evaluations in the last stage"
    )
    args = parser.parse_args()
    if args.command == "gather":
        gather()
    elif args.command == "train":
        from pretraining.train import start

        start(args)
    elif args.command == "export":
        from pretraining.export import export

        export()
    else:
        from pretraining.reading import read

        read(args.pages, args.twins, args.real)


if __name__ == "__main__":
    main()
