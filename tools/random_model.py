"""A model of Qwen3-VL-2B's architecture with random weights, made on the spot: nothing is downloaded.

Time, memory and code paths of a training run depend on a model's sizes, not on its weights. So the profile
`full-dry` trains this one: it learns nothing, and shows what the 2B model will ask of a GPU.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.course.profiles import ROOT
from helpers.settings import CUTS

if TYPE_CHECKING:
    from transformers import Qwen3VLConfig

# Tokenizer, chat template, pooling and prompts are those of the small checkpoint: real ones need the hub. Its
# tokenizer knows fewer pieces, so a query has a few tokens more than with the real one; a page has as many.
_TEMPLATE = ROOT / "data" / "checkpoints" / "small-embedding"


def config(cut: int = 1) -> Qwen3VLConfig:
    """Configuration of Qwen3-VL-2B, with depths, widths, heads and vocabulary divided by `cut`.

    The sizes are those of the published configuration of Qwen/Qwen3-VL-2B-Instruct; 2,127,532,032 weights
    without the language head, which is tied to the embeddings.

    Raises:
        ValueError: a `cut` that does not divide the sizes.
    """
    from transformers import AutoConfig, Qwen3VLConfig

    if cut not in CUTS:
        raise ValueError(f"cut_sizes must be one of {', '.join(map(str, CUTS))}, not {cut}.")
    depth = max(3, 24 // cut)  # three levels of vision features go into the first three text layers
    special = AutoConfig.from_pretrained(_TEMPLATE)
    return Qwen3VLConfig(
        text_config={
            "vocab_size": 151_936 // cut,
            "hidden_size": 2048 // cut,
            "intermediate_size": 6144 // cut,
            "num_hidden_layers": max(3, 28 // cut),
            "num_attention_heads": max(1, 16 // cut),
            "num_key_value_heads": max(1, 8 // cut),
            "head_dim": 128,
            "max_position_embeddings": 262_144,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "pad_token_id": special.text_config.pad_token_id,
            "use_cache": False,
        },
        vision_config={
            "depth": depth,
            "hidden_size": 1024 // cut,
            "intermediate_size": 4096 // cut,
            "num_heads": max(1, 16 // cut),
            "num_position_embeddings": 2304,
            "out_hidden_size": 2048 // cut,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "deepstack_visual_indexes": [max(place, (at + 1) * depth // 24 - 1)
                                         for place, at in enumerate((5, 11, 17))],
        },
        tie_word_embeddings=True,
        **{name: getattr(special, name) for name in
           ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")},
    )  # fmt: skip


def build(folder: Path, cut: int = 1, seed: int = 0) -> Path:
    """Write an embedding model with random weights into `folder`, unless it is there already.

    At full size the file has 4.3 GB (bfloat16) and takes about a minute. `SentenceTransformer(str(folder))`
    loads it.

    Raises:
        ValueError: a `cut` that does not divide the sizes.
        OSError: the disk has too little room.
    """
    import torch
    from transformers import Qwen3VLModel

    wanted = config(cut)
    if (folder / "modules.json").is_file():
        return folder
    partial = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    needed, free = 4.3e9 / cut, shutil.disk_usage(partial).free
    if free < needed:
        raise OSError(
            f"The random weights need {needed / 1e9:.1f} GB in {folder}; {free / 1e9:.1f} GB are free."
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            Qwen3VLModel(wanted).save_pretrained(partial)
        finally:
            torch.set_default_dtype(dtype)
    leave = shutil.ignore_patterns("*.safetensors", "config.json", "training_log.json", "README.md")
    shutil.copytree(_TEMPLATE, partial, ignore=leave, dirs_exist_ok=True)
    for name in ("1_Pooling", "2_Normalize"):
        shutil.copytree(_TEMPLATE / name, partial / name, dirs_exist_ok=True)
    pooling = json.loads((partial / "1_Pooling" / "config.json").read_text())
    pooling["embedding_dimension"] = wanted.text_config.hidden_size
    (partial / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    processor = json.loads((_TEMPLATE / "processor_config.json").read_text())
    for kind in ("image_processor", "video_processor"):
        processor[kind] |= {"temporal_patch_size": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (partial / "processor_config.json").write_text(json.dumps(processor))
    partial.rename(folder)
    return folder
