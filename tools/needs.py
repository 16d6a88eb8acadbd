"""What the notebooks ask of a GPU with the profile `full`: memory, disk, download and hours, all computed.

    python tools/needs.py          about ten minutes on a CPU core: measure layers of the published width
    python tools/needs.py --save   and into data/measurements/needs.json, for docs/profiles.md and `begin`
    python tools/needs.py --again  compute the table anew from what that file has measured

Measured on a model of the published widths and few layers: the bytes that autograd keeps for the backward
pass (`kept_for_backward`) and the operations of a forward pass. Both grow in a straight line with
layers and pages, so the whole depth follows. Added to them are weights, gradients and AdamW's means, by the
formulas of `tools/estimates.py`. Nothing here has run on a GPU.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from helpers.course import ledger  # noqa: E402
from helpers.course.profiles import PROFILES, run_dir  # noqa: E402
from helpers.files import write_json  # noqa: E402
from helpers.settings import TIERS, Settings  # noqa: E402
from tools import measurements, random_model  # noqa: E402
from tools.estimates import ASSUMED, PAGE, TEXT, VISION, WORDS, Kept, needs  # noqa: E402
from tools.fast_vision import fast_vision  # noqa: E402
from tools.own_process import last_json  # noqa: E402
from tools.readiness import in_cache  # noqa: E402

if TYPE_CHECKING:
    import torch

FILE = ROOT / "data" / "measurements" / "needs.json"
QUARTER = (22, 16)  # what is measured: pages of a quarter of the patches, each with `WORDS`
SHALLOW = 3  # layers of each: vision features go into the first three text layers
#: What differs for autograd: the weights' type, adapters, whether products are in 16 bits, checkpointing.
WAYS = {
    "all weights": ("float32", None, True, False),
    "all weights, checkpointing": ("float32", None, True, True),
    "all weights, float32": ("float32", None, False, False),
    "adapter": ("bfloat16", 32, True, False),
    "adapter, checkpointing": ("bfloat16", 32, True, True),
}


def kept_for_backward(model, run: Callable[[], object]) -> int:
    """Bytes that autograd keeps for the backward pass while `run()` works, at the most; exact on any device.

    `run` computes a loss and goes backward. Memory that several kept tensors share counts once, the weights
    of `model` not at all.
    """
    import torch

    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    users: dict[int, int] = {}
    now = most = 0

    class Ticket:
        """Stands for a kept tensor; dies when autograd lets go of it."""

        def __init__(self, tensor):
            nonlocal now, most
            storage = tensor.untyped_storage()
            self.tensor, self.key, self.size = tensor, storage.data_ptr(), storage.nbytes()
            users[self.key] = users.get(self.key, 0) + 1
            if users[self.key] == 1 and self.key not in weights:
                now += self.size
                most = max(most, now)

        def __del__(self):
            nonlocal now
            users[self.key] -= 1
            if users[self.key] == 0 and self.key not in weights:
                now -= self.size

    with torch.autograd.graph.saved_tensors_hooks(Ticket, lambda ticket: ticket.tensor):
        run()
    return most


def shallow(text: int, vision: int, dtype: str = "float32", rank: int | None = None) -> torch.nn.Module:
    """A Qwen3-VL-2B with so many layers and a small vocabulary, in training; `rank` puts LoRA beside them."""
    import torch
    from transformers import Qwen3VLModel

    config = random_model.config()
    config.text_config.num_hidden_layers, config.text_config.vocab_size = text, 2048
    config.vision_config.depth, config.vision_config.deepstack_visual_indexes = vision, [0, 1, 2]
    config._attn_implementation = "sdpa"
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        model = Qwen3VLModel(config).train()
    finally:
        torch.set_default_dtype(before)
    if rank:
        from peft import LoraConfig, get_peft_model

        layers = list(PROFILES["full"].adapter_layers)
        model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules=layers))
    fast_vision(model)
    return model


def inputs(config, pages: int, patches: tuple[int, int], words: int) -> dict:
    """Features of pages of so many patches in height and width, as a processor makes them."""
    import torch

    visual = patches[0] * patches[1] // 4
    ids = torch.full((pages, visual + words), 100)
    ids[:, 5 : 5 + visual] = config.image_token_id
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == config.image_token_id).long(),
        "pixel_values": torch.randn(pages * patches[0] * patches[1], 3 * 2 * 16 * 16),
        "image_grid_thw": torch.tensor([(1, *patches)] * pages),
    }


def whole(measure: Callable[[int, int], float]) -> float:
    """What `measure(text layers, vision layers)` would give at the published depth: it grows in a line."""
    few, text, vision = (
        measure(SHALLOW + more, SHALLOW + deeper) for more, deeper in ((0, 0), (1, 0), (0, 1))
    )
    return few + (TEXT - SHALLOW) * (text - few) + (VISION - SHALLOW) * (vision - few)


def kept_by(way: str, pages: int) -> float:
    """Bytes that one of `WAYS` keeps at the published depth for so many small pages in a forward pass."""
    import torch

    dtype, rank, mixed, checkpointing = WAYS[way]

    def at(text: int, vision: int) -> float:
        model = shallow(text, vision, dtype, rank)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        given, output = inputs(model.config, pages, QUARTER, WORDS), []

        def forward() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                output.append(model(**given).last_hidden_state)

        return kept_for_backward(model, forward)

    return whole(at)


def kept(way: str) -> Kept:
    """What one of `WAYS` keeps, measured in two processes: torch does not give back all that it took."""
    one, two = (last_json(__file__, "--way", way, "--pages", pages)["bytes"] for pages in (1, 2))
    found = Kept(max(0.0, 2 * one - two), 4 * (two - one))
    print(f"{way}: {found.fixed / 1e9:.2f} GB a forward pass, {found.page / 1e9:.2f} GB a page", flush=True)
    return found


def operations() -> float:
    """Those of a forward pass of one page at the published depth: FLOP."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def at(text: int, vision: int) -> float:
        model = shallow(text, vision)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(**inputs(model.config, 1, PAGE, 4 * WORDS))
        return counter.get_total_flops()

    return whole(at)


#: Notebooks that train as another does.
LIKE = {"10_your_own_pdfs": "04_train_embedding"}


def check_room(notebook: str, profile: Settings) -> None:
    """Stop where memory, the GPU's or the computer's, or a disk is too small, before anything is downloaded.

    What it needs is computed (`tools/needs.py`), for the notebooks that train and the tiers of `full`.

    Raises:
        RuntimeError: memory. OSError: the disk of the runs or of the hub's cache.
    """
    import psutil
    import torch
    from huggingface_hub import constants

    if not profile.needs_gpu or not torch.cuda.is_available():
        return
    notebook = LIKE.get(notebook, notebook)
    found = measurements.read(FILE.stem)["needs"].get(notebook, {}).get(profile.tier)
    if not found:
        return
    has = torch.cuda.get_device_properties(0).total_memory / 1e9
    if has < found["gpu_gb"]:
        raise RuntimeError(
            f"{notebook} needs about {found['gpu_gb']} GB of GPU memory with TIER = {profile.tier!r} "
            f"(computed), and this GPU has {has:.1f}. Set TIER to a smaller one ({', '.join(TIERS)}), or "
            'PROFILE = "small".'
        )
    free = psutil.virtual_memory().available / 1e9
    if free < found["memory_gb"]:
        raise RuntimeError(
            f"{notebook} holds about {found['memory_gb']} GB of weights in the computer's memory with TIER = "
            f"{profile.tier!r} (computed), and {free:.1f} are free. Run it on a computer with more, or set "
            'PROFILE = "small".'
        )
    wanted: dict[Path, float] = {run_dir(profile): found["disk_gb"]}
    missing = [model for model in profile.models if not in_cache(model, "model")]
    if profile.dataset and not in_cache(profile.dataset, "dataset"):
        missing.append(profile.dataset)
    if missing and profile.needs_hub:
        wanted[_there(Path(constants.HF_HUB_CACHE))] = found["download_gb"]
    for folder in wanted:
        shared = [gb for other, gb in wanted.items() if other.stat().st_dev == folder.stat().st_dev]
        free = shutil.disk_usage(folder).free / 1e9
        if free < sum(shared):
            raise OSError(
                f"{notebook} needs about {sum(shared):.0f} GB of disk with TIER = {profile.tier!r} "
                f"(computed), and {free:.1f} are free in {folder}. Make room, or set "
                "VDR_COURSE_RUNS or HF_HOME to a folder on another disk."
            )


def _there(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--save", action="store_true", help=f"write {FILE.relative_to(ROOT)}")
    parser.add_argument("--again", action="store_true", help="measure nothing; write the table anew")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)  # set in the processes started
    parser.add_argument("--pages", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps({"bytes": kept_by(options.way, options.pages)}))
        return 0
    if options.again:
        found = json.loads(FILE.read_text(encoding="utf-8"))
        found["kept"] = {way: Kept(**figures) for way, figures in found["kept"].items()}
    else:
        found = {"operations": operations(), "kept": {way: kept(way) for way in WAYS}}
        found |= {"command": "python tools/needs.py --save", "versions": ledger.versions()}
    found["needs"] = needs(found["kept"], found["operations"])
    found["kept"] = {way: figures._asdict() for way, figures in found["kept"].items()}
    result = found | {"assumed": ASSUMED}
    if options.save or options.again:
        write_json(FILE, result)
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
