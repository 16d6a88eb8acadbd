"""Tokenizer, processor and model: a Qwen3-VL of a few million weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from . import places
from .assets import read_assets
from .canvas import Content
from .pages import PageMaker, make_query

INSTRUCTION = "Represent the user's input."  # the Qwen3-VL-Embedding family's default instruction
VOCABULARY = 1024
MAX_PIXELS = 224 * 320
MEAN, STD = 0.85, 0.3  # white paper near zero: a patch's figure is its ink
SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
ROLES = ["system", "user", "assistant", "query", "document", "yes", "no"]
# As the Qwen3-VL family writes a conversation; the roles query and document serve rerankers.
CHAT_TEMPLATE = """{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part['type'] == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
{%- else -%}{{ part['text'] }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""
#: What a reranker is told, and its chat template: the page comes before the query. Attention looks back only,
#: so each word of the query can look for itself on the page.
RERANK = "Find the page that answers the query."
RERANK_TEMPLATE = CHAT_TEMPLATE.split("{%- if add_generation_prompt", 1)[0].replace(
    "for message in messages", "for message in messages if message['role'] != 'query'"
) + CHAT_TEMPLATE.replace("for message in messages", "for message in messages if message['role'] == 'query'")


def build_processor(maker: PageMaker, folder: Path):
    """Trains a byte-level BPE tokenizer on generated text; saves and returns a Qwen3-VL processor."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2VLImageProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    tokenizer = Tokenizer(models.BPE())
    # Lower case: half as many shapes to name, and a query's capitals need not be the page's.
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = []
    for _ in range(6000):
        c = maker.content()
        texts += [
            f" {c.organization} {c.topic} {c.period}",
            " " + maker.words.sentence(),
            " " + maker.words.name(),
            " " + maker.words.phrase(),
        ]
        texts.append(
            " "
            + make_query(
                Content(c.organization, c.topic, c.period, shown={"organization", "period"}), maker.rng
            )
        )
    texts += [f"{INSTRUCTION} Read the heading aloud.", " ".join(ROLES)] * 3000
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - len(ROLES),
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.add_tokens([r for r in ROLES if tokenizer.token_to_id(r) is None])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=2048,
        extra_special_tokens={
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_start_token": "<|vision_start|>",
            "vision_end_token": "<|vision_end|>",
        },
    )
    image = {
        "patch_size": 16,
        "temporal_patch_size": 1,
        "merge_size": 2,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
        "size": {"shortest_edge": 32 * 32, "longest_edge": MAX_PIXELS},
    }
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(**image), fast, Qwen3VLVideoProcessor(**image), chat_template=CHAT_TEMPLATE
    )
    processor.save_pretrained(folder)
    return processor


def load_or_build_processor():
    """The processor of this training, else that of the shipped checkpoint, else a new one."""
    from transformers import AutoProcessor

    folder = places.WORK / "processor"
    for place in (folder, places.OUT / "small-vlm"):
        if (place / "tokenizer.json").is_file():
            return AutoProcessor.from_pretrained(place)
    words, fonts = read_assets(places.ASSETS)
    return build_processor(PageMaker(words, fonts, 1), folder)


@dataclass(frozen=True)
class Shape:
    """Layers and widths of the two towers, as shipped, and the inner widths of their MLPs; heads go along."""

    vision_layers: int = 4
    vision_width: int = 128
    vision_inner: int = 384
    text_layers: int = 3
    text_width: int = 256
    text_inner: int = 512


#: What ``tools/sizes.py`` compares, under the names that ``--shape`` takes.
SHAPES = {
    "shipped": Shape(),
    "vision-3": Shape(vision_layers=3),
    "text-2": Shape(text_layers=2),
    "thin": Shape(vision_inner=192, text_inner=256),
    "vision-6": Shape(vision_layers=6),
    "text-5": Shape(text_layers=5),
    "wide": Shape(vision_width=192, vision_inner=576, text_width=384, text_inner=768),
}


def build_model(tokenizer, shape: Shape = SHAPES["shipped"]):
    """A Qwen3-VL with random weights; as shipped, of 3.6 million parameters."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    ids = {t: tokenizer.convert_tokens_to_ids(t) for t in SPECIAL}
    size = math.ceil(len(tokenizer) / 32) * 32
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": size,
            "hidden_size": shape.text_width,
            "intermediate_size": shape.text_inner,
            "num_hidden_layers": shape.text_layers,
            "num_attention_heads": shape.text_width // 64,
            "num_key_value_heads": shape.text_width // 128,
            "head_dim": 64,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
            },
            "pad_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "bos_token_id": None,
        },
        vision_config={
            "depth": shape.vision_layers,
            "hidden_size": shape.vision_width,
            "intermediate_size": shape.vision_inner,
            "num_heads": shape.vision_width // 32,
            "patch_size": 16,
            "temporal_patch_size": 1,
            "spatial_merge_size": 2,
            "out_hidden_size": shape.text_width,
            "num_position_embeddings": 400,
            "deepstack_visual_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config)
    for module in model.modules():  # the library's 0.02 is meant for models ten times as wide
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.6 * module.in_features**-0.5)
    torch.nn.init.normal_(model.model.language_model.embed_tokens.weight, std=0.06)
    return model
