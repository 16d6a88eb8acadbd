"""Training, in one process or in several that average their gradients."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import time
from argparse import Namespace

import numpy as np
import torch

from helpers import hardware

from . import places
from .assets import check_fonts, read_assets
from .batches import make_batch, stream
from .losses import LOSSES
from .model import SHAPES, build_model, load_or_build_processor
from .pages import PageMaker, group_batch
from .reader import Reader, cosines
from .state import OWN, STAGES, folder_of, log_file, resume, save, state_file, take_eyes


def evaluate(
    reader: Reader,
    n_pages: int = 400,
    n_queries: int = 150,
    maker: PageMaker | None = None,
    batch: int = 50,
) -> dict:
    """Retrieval on fresh pages with unseen names, most of them among their hard negatives."""
    maker = maker or PageMaker(*read_assets(places.ASSETS), 99)
    q, p = [], []
    with torch.no_grad():
        for _ in range(n_pages // batch):
            samples, queries = group_batch(maker, batch, groups=0.75)
            out, grid = reader.see(np.stack([s.pixels for s in samples]))
            p.append(reader.embed_pages(out, grid)[0])
            q.append(reader.embed_texts(queries))
        p, q = torch.cat(p), torch.cat(q)
        order = torch.randperm(len(p), generator=torch.Generator().manual_seed(0))[:n_queries].to(p.device)

        def ranks(size: int):
            """The right page's place, from 0, by the first `size` dimensions."""
            scores = cosines(q[order], p, size)
            return (scores > scores.gather(1, order[:, None])).sum(1).float()

        def ndcg(rank):
            return round(float(torch.where(rank < 10, 1 / torch.log2(rank + 2), torch.zeros(())).mean()), 4)

        rank = ranks(p.shape[1])
    return {
        "ndcg@10": ndcg(rank),
        "ndcg@10, 32 dimensions": ndcg(ranks(32)),
        "recall@1": round(float((rank == 0).float().mean()), 4),
        "pages": len(p),
        "queries": n_queries,
    }


def start(args) -> None:
    """Checks what training needs, then runs it in one process, or in several that average their gradients.

    On a CPU two processes of one thread beat one process of two: no barrier after every small product.
    """
    if args.minutes <= 0:
        raise SystemExit("--minutes must be above 0: nothing would be trained")
    if args.pages is not None and args.pages <= 0:
        raise SystemExit("--pages must be above 0: nothing would be trained")
    if args.shape and args.stage in OWN:
        raise SystemExit(f"--shape and --stage {args.stage} do not go together: that stage is for what ships")
    if args.eyes and (args.stage != "speak" or args.fresh):
        raise SystemExit("--eyes is for --stage speak without --fresh, which takes them anyway")
    if args.bf16 and not hardware.use_bf16(args.device):
        raise SystemExit("--bf16: this machine does not compute in bfloat16, leave it out")
    compiler = os.environ.get("CXX", "g++")
    if args.compile and args.device == "cpu" and not shutil.which(compiler):
        raise SystemExit(f"--compile: there is no {compiler}: apt-get install g++, or leave it out")
    check_fonts()
    folder_of(args.shape).mkdir(parents=True, exist_ok=True)
    load_or_build_processor()
    args.threads = args.threads or max(1, (os.cpu_count() or 1) // args.processes)
    if args.processes == 1:
        return train(0, args)
    store = places.WORK / f"store-{os.getpid()}"
    try:
        torch.multiprocessing.spawn(train, args=(args, str(store)), nprocs=args.processes)
    finally:
        store.unlink(missing_ok=True)


class Average:
    """Averages gradients over the processes; the schedule's position travels with them."""

    def __init__(self, parameters, rank: int, processes: int, store: str | None):
        import torch.distributed as dist

        self.parameters, self.processes = parameters, processes
        if processes > 1:
            dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)

    def __call__(self, share: float) -> float:
        """Replaces every ``.grad`` by its average; returns the average of ``share``."""
        import torch.distributed as dist

        if self.processes == 1:
            return share
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        flat = torch.cat([g.flatten() for g in grads] + [torch.tensor([share])])
        dist.all_reduce(flat)
        flat /= self.processes
        at = 0
        for p, g in zip(self.parameters, grads):
            if p.grad is not None:
                p.grad.copy_(flat[at : at + g.numel()].view_as(g))
            at += g.numel()
        return float(flat[-1])


def begin_stage(stage: str, reader: Reader, optimizer, state: dict, quiet: bool) -> None:
    """What a stage needs first: aligned towers after ``see``, imitated tokens for ``match``."""
    reader.vision.requires_grad_(stage not in ("match", "judge"))
    # The text side knows visual tokens as they are: ``see``, taken up again, may sharpen but not rename them.
    known = stage == "see" and bool(state.get("aligned"))
    reader.heads["pieces"].requires_grad_(not known)
    # The piece head leans on the embeddings, and nothing keeps the two together without pictures.
    reader.text.embed_tokens.requires_grad_(stage != "match" and not known)
    if stage == "see" or stage in OWN:
        return
    words, fonts = read_assets(places.ASSETS)
    if not state.get("aligned"):
        sample = group_batch(PageMaker(words, fonts, 5), 16)[0]
        with torch.no_grad():
            reader.see(np.stack([s.pixels for s in sample]))
        reader.align()
        optimizer.state.clear()  # its moments belong to the weights as they were
        state["aligned"] = True
    if stage == "match":
        maker = PageMaker(words, fonts, 6)
        batches = [make_batch(maker, None, reader.tokenizer, "read", 16) for _ in range(16)]
        fit = reader.learn_to_imitate(batches)
        quiet or print(f"visual tokens are imitated with R2 {fit:.2f}", flush=True)


def train(rank: int, args: Namespace, store: str | None = None) -> None:
    """Trains the stages that are left, in one of ``args.processes`` processes."""
    Run(rank, args, store).train()


class Run:
    """One process's training: the reader, and the state that a killed run goes on from.

    The first process, of rank 0, also prints, evaluates and saves.
    """

    def __init__(self, rank: int, args: Namespace, store: str | None = None):
        torch.manual_seed(args.seed)
        random.seed(args.seed + rank)
        torch.set_num_threads(args.threads)
        self.rank, self.args = rank, args
        tokenizer = load_or_build_processor().tokenizer
        self.reader = Reader(build_model(tokenizer, SHAPES[args.shape or "shipped"]), tokenizer, args.device)
        self.optimizer = optimizer_of(self.reader)
        self.state = resume(self.reader, self.optimizer, args, quiet=rank > 0)
        for figures in (self.state["spent"], self.state["pages"]):
            for stage in STAGES:
                figures.setdefault(stage, 0)
        settings = {k: str(v) for k, v in vars(args).items()}
        self.state["settings"].append(settings | {"torch": torch.__version__})
        self.unit, self.whole = ("pages", args.pages) if args.pages else ("minutes", args.minutes)
        self.budget, self.left = self.schedule()
        # A stage of its own that was killed goes on; one that ended has as much more.
        unfinished = self.state.get("unfinished") or {}
        self.asked = {"stage": args.stage, self.unit: self.whole}
        goes_on = not args.fresh and self.asked.items() <= unfinished.items()
        self.done = unfinished.get("done", 0.0) if goes_on else 0.0
        if args.eyes and not self.done:
            take_eyes(self.reader, self.state, args.device, quiet=rank > 0)
        self.average = Average(list(self.reader.parameters()), rank, args.processes, store)
        rank or print(
            f"{sum(p.numel() for p in self.reader.model.parameters()) / 1e6:.2f} M parameters on "
            f"{args.device}; {self.unit} a stage {self.budget}",
            flush=True,
        )
        self.amp = torch.autocast(args.device, torch.bfloat16, enabled=args.bf16)
        if args.bf16 and args.device == "cpu":  # the fused kernel is slower there at 32 dimensions a head
            self.reader.vision.set_attn_implementation("eager")
            if args.stage in OWN:  # and with a mask that is not plainly causal
                self.reader.text.set_attn_implementation("eager")
        if args.compile:
            for layer in [*self.reader.vision.blocks, *self.reader.text.layers]:
                layer.compile(dynamic=True)

    def schedule(self) -> tuple[dict[str, float], list[str]]:
        """What each stage is given, in minutes or pages, and the stages that are left to train.

        Raises:
            SystemExit: none is left.
        """
        only = self.args.stage
        budget = {s: self.whole * share for s, (share, *_) in STAGES.items()}
        if only:
            budget = {s: self.whole if s == only else 0.0 for s in STAGES}
        left = [s for s in STAGES if budget[s] > 0 and (only or self.had[s] < budget[s])]
        if not left:
            most = max(self.had[stage] / share for stage, (share, *_) in STAGES.items() if share)
            raise SystemExit(
                f"every stage has had its share of {self.whole:g} {self.unit}: give more than {most:.0f}, or "
                "--stage, or --fresh to start from random weights"
            )
        return budget, left

    @property
    def had(self) -> dict[str, float]:
        """What each stage has had so far, in the unit of the budget."""
        return self.state["pages" if self.args.pages else "spent"]

    def train(self) -> None:
        """Trains each stage that is left, then evaluates what the first three made."""
        for stage in self.left:
            self.train_stage(stage)
        if self.rank or self.args.stage in OWN:
            return
        final = evaluate(self.reader, n_pages=500, n_queries=500)
        self.state["log"].append({"stage": "end", **final})
        self.save()
        print("end:", final, flush=True)

    def train_stage(self, stage: str) -> None:
        """Trains one stage until its budget is spent, with a learning-rate schedule of its own."""
        args, state = self.args, self.state
        _, factor, peak = STAGES[stage]
        self.stage, self.peak = stage, args.lr or peak
        self.begin = self.done if args.stage else self.had[stage]
        self.minutes_before, self.pages_before = state["spent"][stage], state["pages"][stage]
        begin_stage(stage, self.reader, self.optimizer, state, quiet=self.rank > 0)
        self.size = max(4, int(args.batch * factor) // args.processes)
        seed = args.seed + len(state["log"]) + 7 * list(STAGES).index(stage) + 10_000 * self.rank
        drawing = args.processes * max(1, args.workers)
        plain = 5000 // drawing if state["pages"]["see"] == 0 else 0
        batches = stream(self.reader.tokenizer, stage, self.size, seed, args.workers, args.replay, plain)
        self.started = self.reported = self.evaluated = time.time()
        self.sums, self.steps, self.since = {}, 0, 0
        self.share = self.begin / self.budget[stage]
        while self.share < 1:
            self.step(next(batches))
            if self.rank == 0 and time.time() - self.reported > args.report:
                self.log()
        took = self.minutes() if args.pages else self.budget[stage] - self.begin
        state["spent"][stage] = self.minutes_before + took
        state["unfinished"] = None
        self.rank or self.save()

    def step(self, batch: dict) -> None:
        """One step of the optimizer, and how much of the stage's budget is spent after it."""
        args, pages = self.args, self.state["pages"]
        self.lr = self.peak * warmth(self.steps, self.share)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        # Aloud in one step of three: the language head kept, for a third of its price.
        aloud = self.stage in ("match", "read") and self.steps % 3 == 0
        with self.amp:
            loss, figures = LOSSES[self.stage](self.reader, batch, aloud)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.took = self.minutes()
        pages[self.stage] += self.size * args.processes
        spent = pages[self.stage] - self.pages_before if args.pages else self.took
        self.share = self.average((self.begin + spent) / self.budget[self.stage])
        torch.nn.utils.clip_grad_norm_(self.reader.parameters(), 1.0)
        self.optimizer.step()
        self.steps += 1
        self.since += 1
        for k, v in (figures | {"loss": loss}).items():
            self.sums[k] = self.sums.get(k, 0.0) + float(v.detach())

    def log(self) -> None:
        """Prints the mean figures since the last time, and saves what a killed run goes on from."""
        args, state, stage = self.args, self.state, self.stage
        shown = self.since * self.size * args.processes
        row = {
            "stage": stage,
            "minutes": round((0 if args.pages else self.begin) + self.took, 2),  # of this run
            "pages": state["pages"][stage],
            "pages_per_second": round(shown / (time.time() - self.reported), 1),
            "lr": round(self.lr, 6),
        }
        row |= {k: round(v / self.since, 4) for k, v in self.sums.items()}
        if stage == "read" and time.time() - self.evaluated > args.evaluate_every:
            row |= {k: v for k, v in evaluate(self.reader).items() if k != "pages"}  # seen, not evaluated
            self.evaluated = time.time()
        self.sums, self.since = {}, 0
        state["log"].append(row)
        print(json.dumps(row), flush=True)
        took = self.minutes()  # evaluated since
        state["spent"][stage] = self.minutes_before + took
        now = self.begin + (state["pages"][stage] - self.pages_before if args.pages else took)
        state["unfinished"] = self.asked | {"done": now} if args.stage else None
        self.save()
        self.reported = time.time()

    def minutes(self) -> float:
        """Minutes since the stage started."""
        return (time.time() - self.started) / 60

    def save(self) -> None:
        """Writes state and log."""
        file, log = (path(self.args.stage, self.args.shape) for path in (state_file, log_file))
        save(self.reader, self.optimizer, self.state, file, log)


def optimizer_of(reader: Reader) -> torch.optim.AdamW:
    """AdamW with weight decay for matrices only."""
    decay = [p for p in reader.parameters() if p.ndim > 1]
    rest = [p for p in reader.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.98),
    )


def warmth(steps: int, share: float) -> float:
    """The learning rate as a part of its peak, after so many steps and that share of the budget.

    A short warm-up, then level, then in the last two fifths a cosine down to a twentieth.
    """
    decay = max(0.0, share - 0.6) / 0.4
    return min(1.0, steps / 30 + 0.03) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * decay)))
