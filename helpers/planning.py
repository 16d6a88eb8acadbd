"""What a training run will take, measured by a few steps of it that change nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from helpers.hardware import device, device_name, peak_memory_mb

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformerTrainer

ADAM_BYTES = 8  # AdamW keeps two running means, float32 each, for every weight that is trained


@dataclass(frozen=True)
class Plan:
    """A training run before it begins. Time and memory are estimates, without evaluating and saving."""

    device: str
    rows: int
    batch_size: int  # rows
    steps: int
    precision: str  # of the weights, and of the products where that differs
    trainable: int  # weights
    weights: int
    step_seconds: float  # median over the probes
    seconds: float  # all steps
    peak_memory_mb: float  # 10^6 bytes

    def __str__(self) -> str:
        return "\n".join(
            [
                f"device         {self.device}",
                f"rows           {self.rows:,} a pass, in batches of {self.batch_size}",
                f"weights        {self.trainable:,} of {self.weights:,} are trained",
                f"precision      {self.precision}",
                f"steps          {self.steps:,} of {self.step_seconds:.2f} s each",
                f"training time  {duration(self.seconds)}, without evaluations",
                f"peak memory    {self.peak_memory_mb / 1000:.1f} GB",
            ]
        )


def duration(seconds: float) -> str:
    """Seconds as a reader says them: 40 s, 4 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def plan(trainer: SentenceTransformerTrainer, probes: int = 3) -> Plan:
    """Run forward and backward on `probes` batches, without a step of the optimizer, and extrapolate.

    The first batch warms up and is not timed, unless it is the only one. Weights, gradients and the random
    state are left as they were; so a training run after it gives the same result as one without it.

    Raises:
        ValueError: `probes` below 1, or fewer rows than one batch.
    """
    import torch

    if probes < 1:
        raise ValueError(f"probes must be at least 1, not {probes}.")
    args, model = trainer.args, trainer.model
    rows, batch_size = len(trainer.train_dataset), args.train_batch_size
    if rows < batch_size:
        raise ValueError(
            f"There are {rows} training rows and a batch has {batch_size}. Set a smaller "
            "per_device_train_batch_size, or train on more rows."
        )
    was_training = model.training
    model.train()
    times = []
    with torch.random.fork_rng():
        loader = trainer.get_train_dataloader()
        for batch in islice(loader, probes):
            started = time.perf_counter()
            with trainer.accelerator.autocast():
                loss = trainer.compute_loss(model, batch)
            loss.backward()
            if device() == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
            model.zero_grad(set_to_none=True)
        batches = len(loader)
    model.train(was_training)

    timed = sorted(times[1:] or times)
    step_seconds = timed[len(timed) // 2]
    a_pass = -(-batches // args.gradient_accumulation_steps)
    steps = args.max_steps if args.max_steps > 0 else int(a_pass * args.num_train_epochs + 0.999)
    weights = list(model.parameters())
    trainable = sum(weight.numel() for weight in weights if weight.requires_grad)
    held = str(weights[0].dtype).removeprefix("torch.")
    products = "bfloat16" if args.bf16 else "float16" if args.fp16 else held
    return Plan(
        device=device_name(),
        rows=rows,
        batch_size=batch_size,
        steps=steps,
        precision=held if products == held else f"{held}, products in {products}",
        trainable=trainable,
        weights=sum(weight.numel() for weight in weights),
        step_seconds=step_seconds,
        seconds=steps * args.gradient_accumulation_steps * step_seconds,
        peak_memory_mb=peak_memory_mb() + trainable * ADAM_BYTES / 1e6,
    )
