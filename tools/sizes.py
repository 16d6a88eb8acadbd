"""How many layers, how wide? Cuts or grows the shipped model to other shapes and fine-tunes each.

    python tools/sizes.py --processes 2 --bf16 --compile                  # all: two hours
    python tools/sizes.py --processes 2 --bf16 --compile --only thin      # these, beside what is measured
    python tools/sizes.py --processes 2 --bf16 --compile --only           # the speeds alone, anew

A shape of ``pretraining.model.SHAPES`` starts from the shipped weights: a smaller one without the layers and
the inner units of MLPs that are missed least, a deeper one with layers on top that add nothing at first. It
goes on with the stage ``read`` on as many pages as every other; so does the shipped shape, to compare with.
Then notebook 04's training, scored on dev. To start each from random weights would be fairer and takes too
long: 80,000 pages, half an hour, left the shipped shape unable to read.

Last, the speeds of all shapes, in turn on the machine at hand, those of other widths too, for which the
shipped weights do not fit. Figures go to ``data/measurements/sizes.json``, after each shape; an interrupted
run goes on where it was. Needs ``small_checkpoint.py gather`` first.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from itertools import combinations, product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "data" / "make")]
from pretraining.export import trained, write_embedding  # noqa: E402
from pretraining.model import SHAPES, Shape, build_model, load_or_build_processor  # noqa: E402
from pretraining.reader import Reader  # noqa: E402
from pretraining.state import load_shipped, log_file, state_file  # noqa: E402
from pretraining.train import evaluate  # noqa: E402

from helpers import dataset, hardware  # noqa: E402
from helpers.course import data, ledger  # noqa: E402
from helpers.course.profiles import get_profile  # noqa: E402
from helpers.files import write_json  # noqa: E402
from tools.fast_vision import fast_vision  # noqa: E402
from tools.fine_tune import check_held, embed_pages, fine_tune, whole_training  # noqa: E402
from tools.own_process import last_json  # noqa: E402

FILE = ROOT / "data" / "measurements" / "sizes.json"
#: What all shapes must have in common.
ASKED = ("pages", "lr", "batch", "processes", "bf16")
SPEED_ROWS = 460  # of training: a tenth of notebook 04's
ROUNDS = 2  # of measuring speeds: the better one counts, what else runs on a machine only slows


def load(asked: dict) -> dict:
    """What was measured so far as now asked, {"asked": ASKED, "shapes": {name: figures}}.

    A file that holds all speeds also has "speeds_on", the device, and "versions".

    Raises:
        SystemExit: the file is not whole, or was measured otherwise.
    """
    if not FILE.is_file():
        return {"asked": asked, "shapes": {}}
    try:
        measured = json.loads(FILE.read_text(encoding="utf-8"))
        had, _ = measured["asked"], measured["shapes"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise SystemExit(
            f"{FILE} does not hold the figures of shapes ({error!r}). Move or delete it to measure again."
        ) from error
    try:
        check_held(FILE, had, asked)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    return measured


def fits(shape: Shape) -> bool:
    """Whether the shipped weights fit: the widths are the same, and MLPs have no more inner units."""
    sizes = asdict(shape).items()
    return all(size <= asdict(Shape())[name] for name, size in sizes if not name.endswith("layers"))


TRAINED = [name for name, shape in SHAPES.items() if fits(shape)]


def resized(weights: dict, fresh: dict, vision: tuple[int | None, ...], text: tuple[int | None, ...]) -> dict:
    """The shipped weights with other layers, and with the MLPs' largest inner units only.

    An inner unit is as large as the product of the norms of what leads into it and what leads out of it.

    Args:
        weights: of the shipped model.
        fresh: random weights of the wanted shape.
        vision: for each layer wanted, the shipped layer that it is, or None for a new one. A new one has
            random weights, and zeros where it would add to what passes through, as in LLaMA Pro
            (https://arxiv.org/abs/2401.02415): the model computes what it did without.
        text: the same for the text layers.
    """
    kept = {}
    for tower, layers, into_sum, out in (
        ("model.visual.blocks.", vision, "attn.proj.", "mlp.linear_fc2."),
        ("model.language_model.layers.", text, "self_attn.o_proj.", "mlp.down_proj."),
    ):
        inner = fresh[f"{tower}0.{out}weight"].shape[1]
        for new, old in enumerate(layers):
            if old is None:
                at = f"{tower}{new}."
                silent = (at + into_sum, at + out)
                kept |= {
                    key: 0 * weight if key.startswith(silent) else weight
                    for key, weight in fresh.items()
                    if key.startswith(at)
                }
                continue
            layer = {
                key.removeprefix(f"{tower}{old}."): weights[key]
                for key in weights
                if key.startswith(f"{tower}{old}.")
            }
            size = layer[f"{out}weight"].norm(dim=0)
            into = [key for key in layer if key.startswith("mlp.") and len(layer[key]) == len(size)]
            for key in into:
                if layer[key].ndim == 2:
                    size = size * layer[key].norm(dim=1)
            units = size.topk(inner).indices.sort().values
            layer[f"{out}weight"] = layer[f"{out}weight"][:, units]
            layer |= {key: layer[key][units] for key in into}
            kept |= {f"{tower}{new}.{key}": weight for key, weight in layer.items()}
    rest = {key: w for key, w in weights.items() if ".blocks." not in key and ".layers." not in key}
    return rest | kept


def kept_layers(shipped: int, wanted: int, stay: int = 0) -> list[tuple[int | None, ...]]:
    """All ways to have ``wanted`` of the ``shipped`` layers, the first ``stay`` among them, or more."""
    if wanted >= shipped:
        return [(*range(shipped), *[None] * (wanted - shipped))]
    return [(*range(stay), *rest) for rest in combinations(range(stay, shipped), wanted - stay)]


def resize_shipped(name: str) -> None:
    """Write the state that a shape's training goes on from: of all ways to leave layers out, the one that
    finds most fresh pages.

    The first vision layers stay, up to the one whose output the text layers get too (DeepStack).
    """
    import torch

    shape = SHAPES[name]
    tokenizer = load_or_build_processor().tokenizer
    shipped = Reader(build_model(tokenizer), tokenizer, "cpu")
    state = load_shipped(shipped)
    weights = shipped.model.state_dict()
    stay = max(shipped.model.config.vision_config.deepstack_visual_indexes) + 1
    best = (-1.0, None)
    for vision, text in product(
        kept_layers(Shape().vision_layers, shape.vision_layers, stay),
        kept_layers(Shape().text_layers, shape.text_layers),
    ):
        torch.manual_seed(0)
        reader = Reader(build_model(tokenizer, shape), tokenizer, "cpu")
        reader.model.load_state_dict(resized(weights, reader.model.state_dict(), vision, text))
        score = evaluate(reader, n_pages=200, n_queries=200)["ndcg@10"]
        print(f"{name}, vision layers {vision}, text layers {text}: NDCG@10 {score:.3f}", flush=True)
        if score > best[0]:
            best = score, reader.model.state_dict()
    state |= {"log": [], "settings": []}
    held = {"heads": shipped.heads.state_dict(), "scale": shipped.scale.data, "state": state}
    file = state_file(shape=name)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(held | {"model": best[1]}, file)


def pretrain(name: str, options: argparse.Namespace) -> dict:
    """Pretrain a shape further, or go on with it; return the state of its training."""
    script = ROOT / "data" / "make" / "small_checkpoint.py"
    command = [sys.executable, script, "train", "--shape", name, "--stage", "read"]
    command += ["--pages", options.pages, "--lr", options.lr, "--batch", options.batch]
    command += ["--processes", options.processes]
    command += [f"--{flag}" for flag in ("bf16", "compile") if getattr(options, flag)]
    log = log_file(shape=name)
    if not state_file(shape=name).is_file():
        resize_shipped(name)
    if not log.is_file() or json.loads(log.read_text())["log"][-1]["stage"] != "end":
        subprocess.run([*map(str, command)], check=True)
    return json.loads(log.read_text())


def fine_tuned(name: str) -> dict:
    """Write a shape's checkpoint and fine-tune it as notebook 04 does."""
    processor = load_or_build_processor()
    file = state_file(shape=name)
    model, saved = trained(file, processor, SHAPES[name])
    folder = file.with_name("small-embedding")
    shutil.rmtree(folder, ignore_errors=True)
    write_embedding(folder, model, processor, saved)
    figures = fine_tune(whole_training(get_profile("small")), base=folder)
    return {
        "base": figures["dev_ndcg@10_before"],
        "finetuned": figures["dev_ndcg@10"],
        "memory_mb": figures["peak_memory_mb"],
    }


def speeds(name: str) -> dict:
    """Weights of a shape, and how fast it encodes and trains here, in pages a second.

    Random weights cost the same as trained ones.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    processor = load_or_build_processor()
    model = build_model(processor.tokenizer, SHAPES[name])
    parameters = sum(weight.numel() for weight in model.parameters())
    heads = {"heads": {}, "scale": torch.ones(1)}
    profile = get_profile("small")
    with tempfile.TemporaryDirectory() as folder:
        write_embedding(Path(folder), model.to(torch.bfloat16), processor, heads)
        tuned = fine_tune(replace(whole_training(profile), rows=SPEED_ROWS), base=Path(folder))
        retriever = SentenceTransformer(
            folder,
            device=hardware.device(),
            model_kwargs={"dtype": profile.dtype, "attn_implementation": hardware.attn_implementation()},
            processor_kwargs={"min_pixels": profile.min_pixels, "max_pixels": profile.max_pixels},
        )
    fast_vision(retriever)
    _, pages, _ = dataset.retrieval_task(
        data.load_split(profile, "dev"), data.load_corpus(profile, "dev"), profile.max_pixels
    )
    embed_pages(retriever, dict(list(pages.items())[:32]))  # the first batch is slow
    started = time.perf_counter()
    embed_pages(retriever, pages)
    return {
        "parameters": parameters,
        "encoded_pages_per_second": len(pages) / (time.perf_counter() - started),
        "trained_pages_per_second": tuned["pages_per_second"],
    }


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--pages", type=int, default=24_000, help="that a shape is pretrained on further")
    parser.add_argument("--lr", type=float, default=4e-4, help="peak learning rate of that")
    parser.add_argument("--only", nargs="*", choices=TRAINED, default=TRAINED, metavar="SHAPE")
    parser.add_argument("--batch", type=int, default=72)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    # Set in the processes started: what is to be measured, and of which shape.
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        kind, name = options.run
        print(json.dumps({"fine_tuned": fine_tuned, "speeds": speeds}[kind](name)))
        return 0
    if options.pages <= 0:
        raise SystemExit("--pages must be above 0: nothing would be trained")
    measured = load({name: getattr(options, name) for name in ASKED})
    shapes = measured["shapes"]

    def save() -> None:
        measured["shapes"] = {key: shapes[key] for key in SHAPES if key in shapes}
        write_json(FILE, measured | {"versions": ledger.versions()})

    for name in options.only:
        if "finetuned" in shapes.get(name, {}):
            print(f"{name}: measured already", flush=True)
            continue
        state = pretrain(name, options)
        figures = last_json(__file__, "--run", "fine_tuned", name)
        found = {"fresh_pages": state["log"][-1]["ndcg@10"], **figures}
        shapes[name] = shapes.get(name, {}) | found
        save()
        print(f"{name}: dev NDCG@10 {figures['base']:.3f} -> {figures['finetuned']:.3f}", flush=True)
    profile = get_profile("small")
    rows = len(data.load_dataset(profile)["train"])
    pages = rows * (1 + profile.hard_negatives) * profile.num_train_epochs
    best = {name: {} for name in SHAPES}
    for _ in range(ROUNDS):  # in turn, so that a slow minute is no one's alone
        for name in SHAPES:
            for key, value in last_json(__file__, "--run", "speeds", name).items():
                best[name][key] = max(value, best[name].get(key, 0.0))
    for name, found in best.items():
        seconds = pages / found["trained_pages_per_second"]
        shapes[name] = (
            {"shape": asdict(SHAPES[name])} | shapes.get(name, {}) | found | {"fine_tuning_seconds": seconds}
        )
        print(f"{name}: {found}", flush=True)
    measured["speeds_on"] = hardware.device_name()
    save()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
