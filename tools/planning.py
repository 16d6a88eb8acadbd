"""What a training run will take, measured by a few steps of it that change nothing."""

from __future__ import annotations

import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import TYPE_CHECKING

from helpers.hardware import device, peak_memory_mb

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformerTrainer

_ADAM_BYTES = 8  # AdamW keeps two running means, float32 each, for every weight that is trained


@dataclass(frozen=True)
class Plan:
    """A training run before it begins. Time and memory are estimates, without evaluating and saving."""

    rows: int
    batch_size: int  # rows
    mini_batch: str | None  # what a gradient cache sends through at once, in words; None: no cache
    page_tokens: float  # visual tokens of a page, mean over the probes; 0 where the rows hold text only
    steps: int
    precision: str  # of the weights, and of the products where that differs
    attention: str
    adapter: bool  # LoRA matrices beside frozen weights
    trainable: int  # weights
    weights: int
    step_seconds: float  # median over the probes
    shares: dict[str, float]  # of a step's time: reading the rows, forward, backward
    seconds: float  # all steps
    peak_memory_mb: float  # 10^6 bytes
    step_flops: float  # of the matrix products in a step, forward and backward
    utilization: float  # share of the rate at which this device multiplies large matrices

    def __str__(self) -> str:
        cache = f", mini-batches of {self.mini_batch}" if self.mini_batch else ", no gradient cache"
        pages = f", {self.page_tokens:.0f} visual tokens a page" if self.page_tokens else ""
        trained = f"{self.trainable:,} of {self.weights:,} are trained"
        rate = f"at {self.utilization:.0%} of the rate of large matrix products here"
        lines = {
            "rows": f"{self.rows:,} a pass, in batches of {self.batch_size}{cache}{pages}",
            "weights": f"{trained} ({'LoRA' if self.adapter else 'full'})",
            "precision": f"{self.precision}; attention {self.attention}",
            "steps": f"{self.steps:,} of {self.step_seconds:.2f} s each",
            "of a step": ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items()),
            "training time": f"{_duration(self.seconds)}, without evaluations",
            "peak memory": f"{self.peak_memory_mb / 1000:.1f} GB",
            "arithmetic": f"{self.step_flops / 1e9:,.0f} GFLOP a step, {rate}",
        }
        return "\n".join(f"{name:14} {text}" for name, text in lines.items())


def _duration(seconds: float) -> str:
    """Seconds as a reader says them: 40 s, 4 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _matmul_rate(precision: str, seconds: float = 0.5) -> float:
    """FLOP/s of this device in products of large square matrices of a torch type, such as "bfloat16".

    The best of the repetitions that fit into `seconds`, so that another process's work counts little.
    """
    import torch

    where = device()
    size = 8192 if where == "cuda" else 1536
    random = torch.Generator(where).manual_seed(0)  # of its own: the training's is left alone
    shape = {"size": (size, size), "generator": random, "device": where, "dtype": getattr(torch, precision)}
    a, b = torch.randn(**shape), torch.randn(**shape)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        started = time.perf_counter()
        a @ b
        _wait()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def _wait() -> None:
    """Let the GPU finish, where there is one: its work is only queued when a call returns."""
    if device() == "cuda":
        import torch

        torch.cuda.synchronize()


def plan(trainer: SentenceTransformerTrainer, probes: int = 4) -> Plan:
    """Run forward and backward on `probes` batches, without a step of the optimizer, and extrapolate.

    In the first batch operations are counted; the others are timed. A training after it is the same.

    Raises:
        ValueError: `probes` below 2, or fewer rows than one batch.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    if probes < 2:
        raise ValueError(f"probes must be at least 2, not {probes}: one to count operations, one to time.")
    args, model = trainer.args, trainer.model
    rows, batch_size = len(trainer.train_dataset), args.train_batch_size
    if rows < batch_size:
        raise ValueError(
            f"There are {rows} training rows and a batch has {batch_size}. Set a smaller "
            "per_device_train_batch_size, or train on more rows."
        )
    was_training = model.training
    model.train()
    times, tokens = [], []
    with torch.random.fork_rng(), ExitStack() as after:
        # A gradient cache goes forward again in backward(), for the trainer in mixed precision too.
        model.forward = trainer.accelerator.autocast()(model.forward)
        after.callback(delattr, model, "forward")
        loader = trainer.get_train_dataloader()
        batches = cycle(loader)
        counter = FlopCounterMode(display=False)
        for number in range(probes):
            marks = [time.perf_counter()]
            batch = next(batches)
            marks.append(time.perf_counter())
            with counter if number == 0 else nullcontext():
                loss = trainer.compute_loss(model, batch)
                _wait()
                marks.append(time.perf_counter())
                loss.backward()
            _wait()
            marks.append(time.perf_counter())
            times.append([end - start for start, end in pairwise(marks)])
            tokens += _page_tokens(model, batch)
            model.zero_grad(set_to_none=True)
        a_pass = -(-len(loader) // args.gradient_accumulation_steps)
    model.train(was_training)

    timed = sorted(times[1:], key=sum)[(probes - 1) // 2]
    step_seconds = sum(timed)
    steps = args.max_steps if args.max_steps > 0 else int(a_pass * args.num_train_epochs + 0.999)
    weights = list(model.parameters())
    trainable = sum(weight.numel() for weight in weights if weight.requires_grad)
    held = str(weights[0].dtype).removeprefix("torch.")
    products = "bfloat16" if args.bf16 else "float16" if args.fp16 else held
    step_flops = counter.get_total_flops()
    return Plan(
        rows=rows,
        batch_size=batch_size,
        mini_batch=_mini_batch(getattr(trainer.loss, "loss", trainer.loss)),  # within MatryoshkaLoss
        page_tokens=sum(tokens) / len(tokens) if tokens else 0.0,
        steps=steps,
        precision=held if products == held else f"{held}, products in {products}",
        attention=_attention(model),
        adapter=any("lora_" in name for name, _ in model.named_parameters()),
        trainable=trainable,
        weights=sum(weight.numel() for weight in weights),
        step_seconds=step_seconds,
        shares={
            name: part / step_seconds
            for name, part in zip(("reading the rows", "forward", "backward"), timed, strict=True)
        },
        seconds=steps * args.gradient_accumulation_steps * step_seconds,
        peak_memory_mb=peak_memory_mb() + trainable * _ADAM_BYTES / 1e6,
        step_flops=step_flops,
        utilization=step_flops / step_seconds / _matmul_rate(products),
    )


def _mini_batch(loss: torch.nn.Module) -> str | None:
    """What a loss with a gradient cache sends through at once."""
    tokens, rows = (getattr(loss, f"mini_batch_{unit}", None) for unit in ("num_tokens", "size"))
    return f"{tokens:,} tokens" if tokens else f"{rows} rows" if rows else None


def _page_tokens(model: torch.nn.Module, batch: dict) -> list[int]:
    """Visual tokens of each page in a batch as the trainer collated it."""
    image = getattr(model[0].model.config, "image_token_id", None)
    counts = [(ids == image).sum(dim=1) for name, ids in batch.items() if name.endswith("input_ids")]
    return [count for column in counts for count in column.tolist() if count]


def _attention(model: torch.nn.Module) -> str:
    """The attention of the text model, and of the vision tower where that is another."""
    config = model[0].model.config
    parts = [getattr(config, name, config) for name in ("text_config", "vision_config")]
    return " and ".join(dict.fromkeys(part._attn_implementation or "eager" for part in parts))
