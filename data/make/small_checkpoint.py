"""Builds and pretrains the small Qwen3-VL checkpoints that the course ships.

    pip install "wordfreq>=3.1,<4"                # the word list; nothing else needs it
    python data/make/small_checkpoint.py gather   # words and fonts, once
    python data/make/small_checkpoint.py train --fresh --minutes 90 --processes 2 --bf16   # from nothing
    python data/make/small_checkpoint.py train --stage read --minutes 40 --processes 2 --bf16   # more of it
    python data/make/small_checkpoint.py train --fresh --device cuda --minutes 20 --batch 512 --workers 16
    python data/make/small_checkpoint.py train --fresh --stage speak --minutes 40 --processes 2 --bf16
    python data/make/small_checkpoint.py train --fresh --stage judge --minutes 60 --processes 2 --bf16
    python data/make/small_checkpoint.py export   # into data/checkpoints, what was trained
    python data/make/reading.py                   # measures how well they read, for their cards

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
import codecs
import json
import math
import os
import random
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import pretraining_pages as pages  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from helpers import hardware  # noqa: E402

WORK = ROOT / "runs" / "pretraining"
ASSETS = WORK / "assets"
OUT = ROOT / "data" / "checkpoints"
HEADS = "pretraining_heads.safetensors"
#: Stages that make a model of their own -> its name. Each keeps its own state and log.
OWN = {"speak": "small-vlm", "judge": "small-reranker"}
#: What such a stage starts from with --fresh. Who has learned to spell a page judges it far sooner.
ORIGIN = {"speak": "read", "judge": "speak"}
LANGUAGES = {"german": "de", "french": "fr"}  # never trained on: words for ``reading.py``
INSTRUCTION = "Represent the user's input."  # the Qwen3-VL-Embedding family's default instruction
READ_ON = "Read on from: "  # and a line of the page; without a word, the heading is read
ASK = "Write a search query for this page."
#: A visual token's 32 x 32 pixels in slots that hold one character each, nearly always: columns and rows.
SLOTS = (8, 4)
POOL_BYTES = 2**30  # of drawn batches that are kept to be shown again, for each process that draws
WORD = r"[^\W\d_]+|\d+(?:[.,]\d+)*"  # or a number
GARBLED = 0.1  # of the model's own words in ``speak``, so that it looks and does not only go on
PASSAGES = 2  # of a page in ``speak``, of at most so many tokens
PASSAGE_TOKENS = 48
VOCABULARY = 1024
#: Matryoshka: so many first dimensions of an embedding must find the page too, as in the real family -> the
#: weights of their losses, which add up to 1.
SHORT = {128: 0.1, 64: 0.2, 32: 0.4, 16: 0.3}
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

#: Stems that have no place on a page for readers to look at.
RUDE = codecs.decode(
    "shpx fuvg ovgpu cvff phag qvpx pbpx cbea frk fyhg juber anmv avtt snt encr nff ahqr gvgf obbo "
    "cravf intvan onfgneq",
    "rot13",
).split()

DEB = "/usr/share/fonts"
#: family -> (regular file, bold file or None, Debian package). Files of matplotlib are found through the
#: package.
FONTS = {
    "liberation-sans": (
        f"{DEB}/truetype/liberation/LiberationSans-Regular.ttf",
        f"{DEB}/truetype/liberation/LiberationSans-Bold.ttf",
        "fonts-liberation",
    ),
    "liberation-serif": (
        f"{DEB}/truetype/liberation/LiberationSerif-Regular.ttf",
        f"{DEB}/truetype/liberation/LiberationSerif-Bold.ttf",
        "fonts-liberation",
    ),
    "liberation-mono": (
        f"{DEB}/truetype/liberation/LiberationMono-Regular.ttf",
        f"{DEB}/truetype/liberation/LiberationMono-Bold.ttf",
        "fonts-liberation",
    ),
    "liberation-narrow": (
        f"{DEB}/truetype/liberation/LiberationSansNarrow-Regular.ttf",
        f"{DEB}/truetype/liberation/LiberationSansNarrow-Bold.ttf",
        "fonts-liberation",
    ),
    "liberation-sans-italic": (
        f"{DEB}/truetype/liberation/LiberationSans-Italic.ttf",
        f"{DEB}/truetype/liberation/LiberationSans-BoldItalic.ttf",
        "fonts-liberation",
    ),
    "liberation-serif-italic": (
        f"{DEB}/truetype/liberation/LiberationSerif-Italic.ttf",
        f"{DEB}/truetype/liberation/LiberationSerif-BoldItalic.ttf",
        "fonts-liberation",
    ),
    "nimbus-sans": (
        f"{DEB}/opentype/urw-base35/NimbusSans-Regular.otf",
        f"{DEB}/opentype/urw-base35/NimbusSans-Bold.otf",
        "fonts-urw-base35",
    ),
    "nimbus-roman": (
        f"{DEB}/opentype/urw-base35/NimbusRoman-Regular.otf",
        f"{DEB}/opentype/urw-base35/NimbusRoman-Bold.otf",
        "fonts-urw-base35",
    ),
    "nimbus-mono": (
        f"{DEB}/opentype/urw-base35/NimbusMonoPS-Regular.otf",
        f"{DEB}/opentype/urw-base35/NimbusMonoPS-Bold.otf",
        "fonts-urw-base35",
    ),
    "schoolbook": (
        f"{DEB}/opentype/urw-base35/C059-Roman.otf",
        f"{DEB}/opentype/urw-base35/C059-Bold.otf",
        "fonts-urw-base35",
    ),
    "palladio": (
        f"{DEB}/opentype/urw-base35/P052-Roman.otf",
        f"{DEB}/opentype/urw-base35/P052-Bold.otf",
        "fonts-urw-base35",
    ),
    "gothic": (
        f"{DEB}/opentype/urw-base35/URWGothic-Book.otf",
        f"{DEB}/opentype/urw-base35/URWGothic-Demi.otf",
        "fonts-urw-base35",
    ),
    "bookman": (
        f"{DEB}/opentype/urw-base35/URWBookman-Light.otf",
        f"{DEB}/opentype/urw-base35/URWBookman-Demi.otf",
        "fonts-urw-base35",
    ),
    "dejavu-sans": (
        f"{DEB}/truetype/dejavu/DejaVuSans.ttf",
        f"{DEB}/truetype/dejavu/DejaVuSans-Bold.ttf",
        "fonts-dejavu-core",
    ),
    "dejavu-serif": (
        f"{DEB}/truetype/dejavu/DejaVuSerif.ttf",
        f"{DEB}/truetype/dejavu/DejaVuSerif-Bold.ttf",
        "fonts-dejavu-core",
    ),
    "dejavu-mono": (
        f"{DEB}/truetype/dejavu/DejaVuSansMono.ttf",
        f"{DEB}/truetype/dejavu/DejaVuSansMono-Bold.ttf",
        "fonts-dejavu-core",
    ),
    "dejavu-condensed": (
        f"{DEB}/truetype/dejavu/DejaVuSansCondensed.ttf",
        f"{DEB}/truetype/dejavu/DejaVuSansCondensed-Bold.ttf",
        "fonts-dejavu-extra",
    ),
    "open-sans": (
        f"{DEB}/truetype/open-sans/OpenSans-Regular.ttf",
        f"{DEB}/truetype/open-sans/OpenSans-Bold.ttf",
        "fonts-open-sans",
    ),
    "lato": (f"{DEB}/truetype/lato/Lato-Regular.ttf", f"{DEB}/truetype/lato/Lato-Bold.ttf", "fonts-lato"),
    "roboto": (
        f"{DEB}/truetype/roboto/unhinted/RobotoTTF/Roboto-Regular.ttf",
        f"{DEB}/truetype/roboto/unhinted/RobotoTTF/Roboto-Bold.ttf",
        "fonts-roboto-unhinted",
    ),
    "carlito": (
        f"{DEB}/truetype/crosextra/Carlito-Regular.ttf",
        f"{DEB}/truetype/crosextra/Carlito-Bold.ttf",
        "fonts-crosextra-carlito",
    ),
    "caladea": (
        f"{DEB}/truetype/crosextra/Caladea-Regular.ttf",
        f"{DEB}/truetype/crosextra/Caladea-Bold.ttf",
        "fonts-crosextra-caladea",
    ),
    "cantarell": (
        f"{DEB}/opentype/cantarell/Cantarell-Regular.otf",
        f"{DEB}/opentype/cantarell/Cantarell-Bold.otf",
        "fonts-cantarell",
    ),
    "garamond": (
        f"{DEB}/opentype/ebgaramond/EBGaramond12-Regular.otf",
        f"{DEB}/opentype/ebgaramond/EBGaramond12-Bold.otf",
        "fonts-ebgaramond",
    ),
    "libertine": (
        f"{DEB}/opentype/linux-libertine/LinLibertine_R.otf",
        f"{DEB}/opentype/linux-libertine/LinLibertine_RB.otf",
        "fonts-linuxlibertine",
    ),
    "biolinum": (
        f"{DEB}/opentype/linux-libertine/LinBiolinum_R.otf",
        f"{DEB}/opentype/linux-libertine/LinBiolinum_RB.otf",
        "fonts-linuxlibertine",
    ),
    "freesans": (
        f"{DEB}/truetype/freefont/FreeSans.ttf",
        f"{DEB}/truetype/freefont/FreeSansBold.ttf",
        "fonts-freefont-ttf",
    ),
    "freeserif": (
        f"{DEB}/truetype/freefont/FreeSerif.ttf",
        f"{DEB}/truetype/freefont/FreeSerifBold.ttf",
        "fonts-freefont-ttf",
    ),
    "noto-sans": (
        f"{DEB}/truetype/noto/NotoSans-Regular.ttf",
        f"{DEB}/truetype/noto/NotoSans-Bold.ttf",
        "fonts-noto-core",
    ),
    "noto-serif": (
        f"{DEB}/truetype/noto/NotoSerif-Regular.ttf",
        f"{DEB}/truetype/noto/NotoSerif-Bold.ttf",
        "fonts-noto-core",
    ),
}


# -- assets ------------------------------------------------------------------------------------------------
# -----------


def gather(words: int = 9000) -> None:
    """Collects words and fonts in ``runs/pretraining/assets``, small enough to travel."""
    missing = sorted(
        {
            package
            for regular, bold, package in FONTS.values()
            for f in (regular, bold)
            if f and not Path(f).is_file()
        }
    )
    if missing:
        raise SystemExit(f"fonts are missing: apt-get install {' '.join(missing)}")
    try:
        from wordfreq import top_n_list
    except ImportError:
        raise SystemExit(
            "the word list is missing: pip install 'wordfreq>=3.1,<4' (57 MB, and only needed here)"
        ) from None
    (ASSETS / "fonts").mkdir(parents=True, exist_ok=True)
    for name, (regular, bold, _) in FONTS.items():
        shutil.copyfile(regular, ASSETS / "fonts" / f"{name}__a{Path(regular).suffix}")
        if bold:
            shutil.copyfile(bold, ASSETS / "fonts" / f"{name}__b{Path(bold).suffix}")
    chosen = [
        w
        for w in top_n_list("en", words * 2)
        if w.isascii()
        and w.isalpha()
        and (len(w) > 2 or w in ("of", "in", "to", "at", "by", "on"))
        and not any(stem in w for stem in RUDE)
    ]
    (ASSETS / "words.txt").write_text("\n".join(chosen[:words]), encoding="utf-8")
    for language, code in LANGUAGES.items():
        foreign = [w for w in top_n_list(code, words) if w.isalpha() and len(w) > 2]
        (ASSETS / f"words_{language}.txt").write_text("\n".join(foreign), encoding="utf-8")
    print(f"{len(chosen[:words])} words, {len(FONTS)} font families in {ASSETS.relative_to(ROOT)}")


# -- tokenizer, processor, model
# --------------------------------------------------------------------------------------


def build_processor(maker: pages.PageMaker, folder: Path):
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
            + pages.make_query(
                pages.Content(c.organization, c.topic, c.period, shown={"organization", "period"}), maker.rng
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


@dataclass(frozen=True)
class Shape:
    """Layers and widths of the two towers, as shipped, and the inner widths of their MLPs; heads go along."""

    vision_layers: int = 4
    vision_width: int = 128
    vision_inner: int = 384
    text_layers: int = 3
    text_width: int = 256
    text_inner: int = 512


#: What ``sizes.py`` compares, under the names that ``--shape`` takes.
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


# -- batches
# ----------------------------------------------------------------------------------------------------------


def bag(cells: np.ndarray, items: np.ndarray, n_cells: int, weights: np.ndarray | None = None):
    """Counts (cell, item) pairs; returns cell, item and weight arrays, weights adding up to 1 a cell."""
    keys, inverse = np.unique(cells.astype(np.int64) * 100_000 + items, return_inverse=True)
    w = np.bincount(inverse, weights=weights)
    cell = keys // 100_000
    total = np.bincount(cell, weights=w, minlength=n_cells)
    return cell, keys % 100_000, (w / total[cell]).astype(np.float32)


def characters(sample: pages.Sample, tokenizer) -> tuple:
    """Per character of a laid-out page: x, y, class, vocabulary piece, and its share of that piece."""
    texts = [s for s, _ in sample.runs]
    x, y, chars, pieces, weights = [], [], [], [], []
    for s, (_, centers), encoding in zip(
        texts,
        sample.runs,
        tokenizer.backend_tokenizer.encode_batch([" " + s for s in texts], add_special_tokens=False),
    ):
        piece, weight = pages.pieces_of(encoding, len(s))
        x.append(centers[:, 0])
        y.append(centers[:, 1])
        chars.append(np.array([pages.CHAR_INDEX.get(c, 0) for c in s.lower()]))
        pieces.append(piece)
        weights.append(weight)
    return tuple(np.concatenate(v) for v in (x, y, chars, pieces, weights))


def dense_targets(written: list[tuple], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """What is written in each patch (characters) and in each visual token (vocabulary pieces), as weighted
    bags; and the character in each slot of a visual token: a bag does not say what comes first.

    ``written`` holds, a page each, the arrays of :func:`characters`; ``size`` is (width, height) in pixels.
    Cells are numbered as the processor orders them: visual tokens row by row, their four patches together.
    """
    w, h = size
    gh, gw = h // 32, w // 32
    page = np.repeat(np.arange(len(written)), [len(c[0]) for c in written])
    x, y, chars, pieces, weights = (np.concatenate(v) for v in zip(*written))
    keep = (x >= 0) & (x < w) & (y >= 0) & (y < h) & (chars > 0)
    page, x, y, chars, pieces, weights = (v[keep] for v in (page, x, y, chars, pieces, weights))
    px, py = (x // 16).astype(int), (y // 16).astype(int)
    token = page * gh * gw + (py // 2) * gw + px // 2
    n = len(written) * gh * gw
    pc, pi, pw = bag(token * 4 + (py % 2) * 2 + px % 2, chars, n * 4)
    tc, ti, tw = bag(token, pieces, n, weights + 1e-6)
    columns, rows = SLOTS
    slot = (y % 32 // (32 // rows)).astype(int) * columns + (x % 32 // (32 // columns)).astype(int)
    sc, where = np.unique(token * columns * rows + slot, return_index=True)
    return {"pc": pc, "pi": pi, "pw": pw, "tc": tc, "ti": ti, "tw": tw, "sc": sc, "si": chars[where]}


def heading(content: pages.Content) -> str:
    """What reading aloud should say: topic, then organisation, then period, as far as the page shows them."""
    parts = [content.topic] + [getattr(content, k) for k in ("organization", "period") if k in content.shown]
    return ", ".join(parts)


def passages(sample: pages.Sample, r: random.Random) -> list[tuple[str, str]]:
    """What to read on from, and what then comes: a line of the page, and the lines drawn after it."""
    lines = [text for text, _ in sample.runs]
    starts = [r.randrange(max(1, len(lines) - 1)) for _ in range(PASSAGES)]
    return [(READ_ON + lines[i], "\n".join(lines[i + 1 :])) for i in starts]


def words_of(text: str) -> list[str]:
    """The words and numbers of a text, as the tokenizer sees them: in lower case."""
    return re.findall(WORD, text.lower())


def word_ends(text: str, encoding) -> list[tuple[int, str]]:
    """The place of the last token of each word of a text, given the text's tokens, and the word."""
    ends = [end for _, end in encoding.offsets]
    found = []
    for match in re.finditer(WORD, text.lower()):
        place = next((i for i, end in enumerate(ends) if end >= match.end()), None)
        if place is not None:
            found.append((place, match[0]))
    return found


def make_batch(
    maker: pages.PageMaker, bank: pages.WordBank | None, tokenizer, stage: str, size: int, plain: bool = False
) -> dict:
    """Pixels, targets and token ids of one batch as NumPy arrays."""
    r = maker.rng
    if stage == "see":
        fmt = r.choices(pages.FORMATS, pages.FORMAT_WEIGHTS)[0]
        made = [bank.page(fmt, plain) for _ in range(size - (0 if plain else size // 2))]
        samples = [maker.page(None, fmt) for _ in range(size - len(made))]
        made += [(s.pixels, characters(s, tokenizer)) for s in samples]
        return {"pixels": np.stack([p for p, _ in made]), **dense_targets([c for _, c in made], fmt)}
    painted = stage != "match"
    groups = {"match": 0.3, "read": 0.65, "judge": 0.75, "speak": 0.0}[stage]
    # A query costs a tenth of a page to embed, so each page gets two.
    each = 1 if stage == "speak" else 2
    figures = {"match": 0.1, "read": 0.1, "judge": 0.3, "speak": 0.0}[stage]
    samples, queries = pages.group_batch(maker, size, groups, painted, each, figures)
    height, width, _ = samples[0].pixels.shape
    return {
        "queries": queries,
        "pixels": np.stack([s.pixels for s in samples]) if painted else None,
        "grid": (height // 16, width // 16),
        "headings": [heading(s.content) for s in samples],
        "passages": [passages(s, r) for s in samples] if stage == "speak" else None,
        "written": [set(words_of(pages.written(s))) for s in samples] if stage == "judge" else None,
        "instructed": r.random() < 0.5,  # in ``speak``: who asks a language model gives it no instruction
        **dense_targets([characters(s, tokenizer) for s in samples], (width, height)),
    }


def draw_batches(tokenizer, stage: str, size: int, seed: int, replay: int, plain_pages: int):
    """Yields batches without end; in a worker process, with a seed of its own.

    The first ``plain_pages`` pages are black on white: what a model with random weights learns first.
    """
    import torch

    info = torch.utils.data.get_worker_info()
    words, fonts = pages.read_assets(ASSETS)
    maker = pages.PageMaker(words, fonts, seed * 1000 + (info.id if info else 0))
    bank = pages.WordBank(maker.words, fonts, tokenizer) if stage == "see" else None
    drawn = 0
    # Where drawing is what limits, each batch is shown ``replay`` times, well apart.
    pool: list[dict] = []
    while True:
        drawn += 1
        plain = drawn * size < plain_pages
        batch = make_batch(maker, bank, tokenizer, stage, size, plain)
        if replay == 1:
            yield batch
            continue
        pool.append(batch | {"shown": 0})
        held = sum(value.nbytes for value in batch.values() if isinstance(value, np.ndarray))
        wanted = max(8, min(200, POOL_BYTES // held))
        for _ in range(replay if len(pool) >= wanted else 1):
            batch = maker.rng.choice(pool) if len(pool) >= wanted else pool[-1]
            batch["shown"] += 1
            yield {k: v for k, v in batch.items() if k != "shown"}
        pool = [b for b in pool if b["shown"] < replay][-2 * wanted :]


def stream(tokenizer, stage: str, size: int, seed: int, workers: int, replay: int = 1, plain_pages: int = 0):
    """The batches of :func:`draw_batches` as tensors, drawn in ``workers`` processes, or in this one."""
    import torch

    class Batches(torch.utils.data.IterableDataset):
        def __iter__(self):
            return draw_batches(tokenizer, stage, size, seed, replay, plain_pages)

    return iter(
        torch.utils.data.DataLoader(
            Batches(),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=3 if workers else None,
            multiprocessing_context="fork" if workers else None,
        )
    )


# -- the model in training form
# ---------------------------------------------------------------------------------------


class Reader:
    """The checkpoint with its training heads, fed the tokens that ``SentenceTransformer`` would make."""

    def __init__(self, model, tokenizer, device: str):
        import torch
        from torch import nn

        self.model, self.tokenizer, self.device = model.to(device), tokenizer, device
        self.vision, self.text = model.model.visual, model.model.language_model
        c = model.config
        self.heads = nn.ModuleDict(
            {
                "chars": nn.Linear(c.vision_config.hidden_size, len(pages.CHARS)),
                "pieces": nn.Linear(c.text_config.hidden_size, c.text_config.hidden_size),
                "slots": nn.Linear(c.text_config.hidden_size, math.prod(SLOTS) * len(pages.CHARS)),
            }
        ).to(device)
        self.scale = nn.Parameter(torch.tensor(math.log(16.0), device=device))
        self.enc = enc = lambda s: tokenizer(s, add_special_tokens=False)["input_ids"]
        self.opening = enc("<|im_end|>\n<|im_start|>assistant\n")  # ends a query, opens the model's turn
        self.user = enc("<|im_start|>user\n")
        self.before = enc(f"<|im_start|>system\n{INSTRUCTION}<|im_end|>\n") + self.user
        self.after = enc("<|im_end|>\n")
        self.assistant = enc("<|im_start|>assistant\n")
        self.positions: dict = {}
        self.spoken = torch.zeros((), device=device)
        # The same product as the Conv3d over whole patches, faster on a CPU.
        conv = self.vision.patch_embed
        conv.forward = lambda x: torch.nn.functional.linear(
            x.view(-1, conv.proj.weight[0].numel()).to(conv.proj.weight.dtype),
            conv.proj.weight.flatten(1),
            conv.proj.bias,
        )

    def load_heads(self, held: dict) -> None:
        """Loads heads; one that was not there when they were saved stays as it is."""
        self.heads.load_state_dict({**self.heads.state_dict(), **held})

    def parameters(self):
        return [*self.model.parameters(), *self.heads.parameters(), self.scale]

    def patches(self, pixels: np.ndarray):
        """(B, H, W, 3) uint8 to the processor's normalised patch rows (patches, 768), and the grid."""
        import torch

        x = torch.as_tensor(np.array(pixels), device=self.device).permute(0, 3, 1, 2).float()
        x = x.div_(255).sub_(MEAN).div_(STD)
        flat, gh, gw = _patchify(x)
        return flat, torch.tensor([[1, gh, gw]] * len(pixels), device=self.device)

    def see(self, pixels: np.ndarray):
        flat, grid = self.patches(pixels)
        out = self.vision(flat, grid_thw=grid)
        self.seen = out.pooler_output.detach()
        return out, grid

    def written(self, batch: dict, keys: tuple[str, str, str], cells: int):
        """The targets of a batch under ``keys`` (cell, item, weight), and which of ``cells`` have any."""
        import torch

        targets = [torch.as_tensor(batch[key], device=self.device) for key in keys]
        full = torch.zeros(cells, dtype=torch.bool, device=self.device)
        full[targets[0]] = True
        return targets, full

    def dense_loss(self, out, batch):
        """Soft cross-entropy of patches' characters and visual tokens' pieces; empty cells at weight 0.1."""
        from torch.nn.functional import log_softmax

        losses = []
        table = self.text.embed_tokens.weight
        for logits, c, i, w in (
            (self.heads["chars"](out.last_hidden_state), "pc", "pi", "pw"),
            (self.heads["pieces"](out.pooler_output) @ table.T * 0.3, "tc", "ti", "tw"),
        ):
            logp = log_softmax(logits.float(), -1)
            (cell, item, weight), full = self.written(batch, (c, i, w), len(logp))
            written = -(logp[cell, item] * weight).sum() / full.sum().clamp(min=1)
            empty = -logp[~full, 0].mean() if (~full).any() else written * 0
            hit = (logp.argmax(-1)[cell] == item).float().sum() / full.sum().clamp(min=1)
            losses.append((written + 0.1 * empty, hit))
        return losses

    def slot_loss(self, out, batch):
        """Cross-entropy of the characters in the slots of visual tokens, and how many are right.

        Empty slots, four in five, count a third as much in all.
        """
        import torch
        from torch.nn.functional import cross_entropy

        logits = self.heads["slots"](out.pooler_output).view(-1, len(pages.CHARS)).float()
        place, item = (torch.as_tensor(batch[key], device=self.device).long() for key in ("sc", "si"))
        target = torch.zeros(len(logits), dtype=torch.long, device=self.device)
        target[place] = item
        loss, written = cross_entropy(logits, target, reduction="none"), target > 0
        hit = (logits[place].argmax(-1) == item).float().mean()
        return loss[written].mean() + loss[~written].mean() / 3, hit

    def align(self, norm: float = 4.0) -> None:
        """Moves the piece head into the vision tower: a visual token becomes what its pieces look like.

        The head maps a visual token to the sum of the embeddings of the pieces in its cell. Folded into the
        merger's last layer, it gives the text side visual tokens that it can read as it reads words, from the
        first step on. ``norm`` is the length that visual tokens get on average, in the order of the
        embeddings' own. The heads still say what they said: that of the slots is told of the change too.
        """
        import torch

        head, slots, last = self.heads["pieces"], self.heads["slots"], self.vision.merger.linear_fc2
        with torch.no_grad():
            scale = norm / float(head(self.seen.to(head.weight.dtype)).norm(dim=-1).mean())
            before = torch.linalg.solve(
                head.weight.T, slots.weight.T
            ).T  # slots.weight @ inverse of head.weight
            slots.bias -= before @ head.bias
            slots.weight.copy_(before / scale)
            last.bias.copy_(scale * (head.weight @ last.bias + head.bias))
            last.weight.copy_(scale * head.weight @ last.weight)
            head.weight.copy_(torch.eye(len(head.weight), device=self.device) / scale)
            head.bias.zero_()

    def bags(self, batch: dict):
        """A visual token each: the mean embedding of the pieces in it, and whether there are any."""
        import torch

        gh, gw = batch["grid"]
        cells = len(batch["headings"]) * gh * gw // 4
        table = self.text.embed_tokens.weight.detach()
        (cell, item, weight), full = self.written(batch, ("tc", "ti", "tw"), cells)
        sums = torch.zeros(cells, table.shape[1], device=self.device)
        sums.index_add_(0, cell, table[item] * weight[:, None])
        return torch.where(full[:, None], sums, table[0]), full

    def learn_to_imitate(self, batches: list[dict]) -> float:
        """Fits what a visual token looks like, given the pieces in its cell; returns the fit's R2 on cells
        with text.

        A linear map (ridge regression) and the residuals it leaves. So the text side can learn from layouts
        that nobody painted, in the form and with the errors of the vision tower's own tokens. Deepstack
        features cannot be imitated and are set to zero: ``read`` learns them, again if it had before.
        """
        import torch

        with torch.no_grad():
            for merger in self.vision.deepstack_merger_list:
                merger.linear_fc2.weight.zero_()
                merger.linear_fc2.bias.zero_()
            tokens = torch.cat([self.see(b["pixels"])[0].pooler_output.float() for b in batches])
            bags, full = zip(*(self.bags(b) for b in batches))
            bags, full = torch.cat(bags), torch.cat(full)
            self.center = bags.mean(0), tokens.mean(0)
            x, y = bags - self.center[0], tokens - self.center[1]
            ridge = 1e-3 * x.square().sum() / x.shape[1] * torch.eye(x.shape[1], device=self.device)
            self.map = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
            residual = y - x @ self.map
            self.residuals = residual[~full], residual[full]
            return float(1 - residual[full].square().sum() / (y[full] - y[full].mean(0)).square().sum())

    def imitate(self, batch: dict):
        """What :meth:`see` would return for a page that was laid out and not painted."""
        import torch

        bags, full = self.bags(batch)
        tokens = ((bags - self.center[0]) @ self.map).float() + self.center[1]
        for where, residuals in ((~full, self.residuals[0]), (full, self.residuals[1])):
            tokens[where] += residuals[torch.randint(len(residuals), (int(where.sum()),))]
        nothing = [torch.zeros_like(tokens) for _ in self.vision.deepstack_merger_list]
        out = SimpleNamespace(pooler_output=tokens, deepstack_features=nothing)
        return out, torch.tensor([[1, *batch["grid"]]] * len(batch["headings"]), device=self.device)

    def ids(self, texts: list[str], limit: int = 160):
        """Token ids of user turns holding ``texts``, right padded (attention is causal), and lengths."""
        import torch

        rows = [
            self.before + e[:limit] + self.after
            for e in self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        ]
        lengths = torch.tensor([len(r) for r in rows], device=self.device)
        pad = self.tokenizer.pad_token_id
        return torch.tensor(
            [r + [pad] * (int(lengths.max()) - len(r)) for r in rows], device=self.device
        ), lengths

    def embed_texts(self, texts: list[str]):
        import torch
        from torch.nn.functional import normalize

        ids, lengths = self.ids([t.strip() for t in texts])
        position = torch.arange(ids.shape[1], device=self.device).view(1, 1, -1).expand(3, len(ids), -1)
        h = self.text(
            inputs_embeds=self.text.embed_tokens(ids),
            position_ids=position,
            attention_mask=None,
            use_cache=False,
        ).last_hidden_state
        return normalize(h[torch.arange(len(ids)), lengths - 1].float(), dim=-1)

    def embed_pages(self, out, grid, spoken: list[str] | None = None):
        """Embeddings of pages; with ``spoken``, the language loss of an assistant turn after the page."""
        import torch
        from torch.nn.functional import cross_entropy, normalize

        B = len(grid)
        gh, gw = int(grid[0, 1]) // 2, int(grid[0, 2]) // 2
        image = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        prefix = self.around(gh * gw, self.before, self.after)
        tails = [[]] * B
        if spoken:
            end = self.tokenizer("<|im_end|>\n", add_special_tokens=False)["input_ids"]
            tails = [self.assistant + e + end for e in map(self.enc, (f" {s.strip()}" for s in spoken))]
        longest, pad = max(map(len, tails)), self.tokenizer.pad_token_id
        ids = torch.tensor([prefix + t + [pad] * (longest - len(t)) for t in tails], device=self.device)
        mask = ids == image
        x = self.text.embed_tokens(ids)
        x = x.masked_scatter(mask.unsqueeze(-1), out.pooler_output.to(x.dtype))
        h = self.text(
            inputs_embeds=x,
            position_ids=self.rotation(ids, grid).expand(3, B, -1),
            attention_mask=None,
            use_cache=False,
            visual_pos_masks=mask,
            deepstack_visual_embeds=out.deepstack_features,
        ).last_hidden_state
        embedding = normalize(h[:, len(prefix) - 1].float(), dim=-1)
        if not spoken:
            return embedding, None
        start = len(prefix) + len(self.assistant) - 1
        logits = h[:, start:-1].float() @ self.text.embed_tokens.weight.T.float()
        target = ids[:, start + 1 :].clone()
        target[target == pad] = -100
        return embedding, cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-100)

    def around(self, cells: int, before: list[int], after: list[int]) -> list[int]:
        """Token ids of a page of ``cells`` visual tokens between two texts."""
        tid = self.tokenizer.convert_tokens_to_ids
        page = [tid("<|vision_start|>"), *[tid("<|image_pad|>")] * cells, tid("<|vision_end|>")]
        return [*before, *page, *after]

    def rotation(self, ids, grid):
        """Rotary positions (3, 1, tokens) of rows that hold a page of one grid in the same place."""
        mask = ids[:1] == self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        # They hang on where the page stands and on the row's length, not on the words around it.
        key = (int(grid[0, 1]), int(grid[0, 2]), ids.shape[1], int(mask.int().argmax()))
        if key not in self.positions:
            self.positions[key] = self.model.model.get_rope_index(ids[:1], mask.int(), grid[:1])[0]
        return self.positions[key]

    def side_by_side(self, out, grid, before: list[int], after: list[int], rows: list[list[list[int]]]):
        """Hidden states of several continuations of each page, (pages, rows, tokens, width), and the tokens.

        ``before`` and ``after`` are the token ids around the page; ``rows`` holds those of each page's
        continuations, as many for each page. They come right padded. A page's rows share its visual tokens
        and do not see each other: each gets what it would get alone, at a fraction of the price.
        """
        import torch

        B = len(grid)
        prefix = self.around(int(grid[0, 1]) * int(grid[0, 2]) // 4, before, after)
        tokens = self.padded(rows)
        # In the model, a row is only as long as the longest in its place.
        lengths = [max(map(len, place)) for place in zip(*rows)]
        page = torch.tensor([prefix] * B, device=self.device)
        image = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        shared = self.rotation(page, grid)
        own = torch.cat([torch.arange(length, device=self.device) for length in lengths])
        positions = torch.cat([shared[:, 0], (shared.max() + 1 + own).expand(3, -1)], 1)
        # 0 stands for the page; a token sees the page and, of its own row, what came before it.
        part = torch.cat(
            [
                own.new_zeros(len(prefix)),
                *(own.new_full((length,), 1 + place) for place, length in enumerate(lengths)),
            ]
        )
        unseen = ~((part[:, None] == part) | (part == 0)).tril()
        blind = torch.zeros(unseen.shape, device=self.device).masked_fill(unseen, -1e9)
        ids = torch.cat([page, *(tokens[:, place, :length] for place, length in enumerate(lengths))], 1)
        mask = ids == image
        x = self.text.embed_tokens(ids)
        h = self.text(
            inputs_embeds=x.masked_scatter(mask.unsqueeze(-1), out.pooler_output.to(x.dtype)),
            position_ids=positions[:, None].expand(3, B, -1),
            attention_mask=blind[None, None],
            use_cache=False,
            visual_pos_masks=mask,
            deepstack_visual_embeds=out.deepstack_features,
        ).last_hidden_state[:, len(prefix) :]
        longest = tokens.shape[2]
        rows_of_h = [
            torch.nn.functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in h.split(lengths, 1)
        ]
        return torch.stack(rows_of_h, 1), tokens

    def padded(self, rows: list[list[list[int]]]):
        """Token ids (pages, rows, longest), right padded."""
        import torch

        longest, pad = max(len(row) for own in rows for row in own), self.tokenizer.pad_token_id
        return torch.tensor(
            [[row + [pad] * (longest - len(row)) for row in own] for own in rows], device=self.device
        )

    def yes_or_no(self, out, grid, asked: list[list[list[int]]]):
        """The log-odds of "yes" at each token of each query, (pages, queries, tokens), and the tokens.

        ``asked`` holds the token ids of each page's queries; a query's last token, which gives the answer, is
        the one that opens the model's turn.
        """
        before = self.enc(f"<|im_start|>system\n{RERANK}<|im_end|>\n<|im_start|>document\n")
        after = self.enc("<|im_end|>\n<|im_start|>query\n")
        h, tokens = self.side_by_side(out, grid, before, after, asked)
        words = self.text.embed_tokens.weight[[self.enc("yes")[0], self.enc("no")[0]]].float()
        return h.float() @ (words[0] - words[1]), tokens

    def speak(self, out, grid, batch: dict):
        """How well a page's heading is read aloud, a query for it written, and passages of it read.

        The heading comes without a request, a passage after the line that it follows. Returns the three
        losses, cross-entropy a token, and how often the next token of a heading is right.
        """
        import torch
        from torch.nn.functional import cross_entropy

        def turn(asked: str, said: str, limit: int | None = None) -> tuple[list[int], int]:
            """Token ids from the end of the page on, and how many of them are not the model's."""
            given = self.enc(asked) + self.after + self.assistant
            text = self.enc(f" {said.strip()}")  # a word in the middle of a line has a space before it too
            whole = text[:limit] if limit and len(text) > limit else text + self.after
            return given + whole, len(given)

        turns = [
            [turn("", title), turn(ASK, query), *(turn(*passage, PASSAGE_TOKENS) for passage in read)]
            for title, query, read in zip(batch["headings"], batch["queries"], batch["passages"])
        ]
        rows = [[row for row, _ in own] for own in turns]
        before = self.before if batch["instructed"] else self.user
        tokens = self.padded(rows)
        garbled = [[row[:n] + [self.garble(token) for token in row[n:]] for row, n in own] for own in turns]
        h, _ = self.side_by_side(out, grid, before, [], garbled)
        given = torch.tensor([[n for _, n in own] for own in turns], device=self.device)[..., None]
        length = torch.tensor([[len(row) for row in own] for own in rows], device=self.device)[..., None]
        place = torch.arange(tokens.shape[2] - 1, device=self.device)  # what stands there foretells the next
        wanted = (place >= given - 1) & (place < length - 1)
        losses = {}
        for name, which in (("spoken", slice(0, 1)), ("query", slice(1, 2)), ("passage", slice(2, None))):
            spoken = wanted[:, which]
            logits = h[:, which, :-1][spoken].float() @ self.text.embed_tokens.weight.T.float()
            target = tokens[:, which, 1:][spoken]
            losses[name] = cross_entropy(logits, target)
            losses.setdefault("next", (logits.argmax(-1) == target).float().mean())
        return losses

    def garble(self, token: int) -> int:
        """A token, or in one case of ten another."""
        return random.randrange(len(SPECIAL), len(self.tokenizer)) if random.random() < GARBLED else token

    def judge(self, out, grid, batch: dict, reach: int = 3):
        """Whether a page answers a query, by the odds of "yes" against "no" after both.

        Each page with its two queries and with one of each of the ``reach`` pages before and after it, which
        often differ from it in one thing only. The loss asks for the answer to each pair, and for the right
        page of each query among those that it was asked about. Each word of a query is asked too, at its last
        token, whether it stands on the page: that is the part to be learned first, and one answer a pair
        would be too little to learn it from. Returns the three losses, how often an answer is right, how
        often the right page comes first, and how often a word's answer is right.
        """
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        B = len(grid)
        steps = torch.tensor([0, *range(-reach, 0), *range(1, reach + 1)])
        pick = torch.randint(2, (B,))  # the query that other pages are asked about
        about = (torch.arange(B)[:, None] + steps) % B
        query = torch.cat([about * 2 + pick[about], (torch.arange(B) * 2 + 1 - pick)[:, None]], 1)
        asked = [q.strip() for q in batch["queries"]]
        encodings = self.tokenizer.backend_tokenizer.encode_batch(asked, add_special_tokens=False)
        texts = [encoding.ids for encoding in encodings]
        odds, _ = self.yes_or_no(
            out, grid, [[texts[q] + self.opening for q in row] for row in query.tolist()]
        )
        lengths = torch.tensor([len(text) for text in texts], device=self.device)[query.to(self.device)]
        answer = odds.gather(2, lengths[..., None] + len(self.opening) - 1)[..., 0]
        right = torch.zeros_like(answer)
        right[:, [0, -1]] = 1.0
        # Of a query, its page first, then the others that were asked about it.
        places = torch.arange(len(steps))
        rivals = answer[(torch.arange(B)[:, None] - steps) % B, places]
        first = torch.zeros(B, dtype=torch.long, device=self.device)
        # The last token of a word has seen all of it, and the page.
        ends = [word_ends(*both) for both in zip(asked, encodings)]
        page, row, place, found = zip(
            *(
                (page, row, place, word in batch["written"][page])
                for page, own in enumerate(query.tolist())
                for row, q in enumerate(own)
                for place, word in ends[q]
            )
        )
        own = tuple(torch.tensor(part, device=self.device) for part in (page, row, place))
        found = torch.tensor(found, device=self.device, dtype=odds.dtype)
        return {
            "pair": binary_cross_entropy_with_logits(answer, right),
            "list": cross_entropy(rivals, first),
            "token": binary_cross_entropy_with_logits(odds[own], found),
            "right": ((answer > 0) == (right > 0.5)).float().mean(),
            "first": (rivals.argmax(1) == 0).float().mean(),
            "found": ((odds[own] > 0) == (found > 0.5)).float().mean(),
        }

    def contrast(self, a, b):
        """Symmetric in-batch cross-entropy; returns the loss and how often the right page comes first.

        A third of the loss is that of whole embeddings, the rest that of their first dimensions, weighted by
        ``SHORT`` (Matryoshka representation learning, https://arxiv.org/abs/2205.13147).
        """
        import torch
        from torch.nn.functional import cross_entropy

        target = torch.arange(len(a), device=self.device)
        scale = self.scale.exp().clamp(max=50)
        scores = [cosines(a, b, size) * scale for size in (a.shape[1], *SHORT)]
        whole, *short = ((cross_entropy(s, target) + cross_entropy(s.T, target)) / 2 for s in scores)
        short = sum(weight * loss for weight, loss in zip(SHORT.values(), short))
        return (whole + 2 * short) / 3, (scores[0].argmax(1) == target).float().mean()

    def loss(self, stage: str, batch: dict, aloud: bool):
        """The loss of a stage on a batch, and its figures; ``aloud`` adds reading headings aloud."""
        import torch

        if stage == "judge":
            with torch.no_grad():
                out, grid = self.see(batch["pixels"])
            figures = self.judge(out, grid, batch)
            return figures["pair"] + figures["list"] + figures["token"], figures
        if stage == "match":
            out, grid = self.imitate(batch)
            loss, figures = 0.0, {}
        else:
            out, grid = self.see(batch["pixels"])
            (chars, chars_hit), (pieces, pieces_hit) = self.dense_loss(out, batch)
            slots, slots_hit = self.slot_loss(out, batch)
            figures = {"chars": chars, "pieces": pieces, "chars_hit": chars_hit, "pieces_hit": pieces_hit}
            figures |= {"slots": slots, "slots_hit": slots_hit}
            if stage == "see":
                return chars + pieces + slots, figures
            loss = 0.3 * chars + 0.3 * pieces + 0.6 * slots
            if stage == "speak":
                figures |= self.speak(out, grid, batch)
                return loss + figures["spoken"] + figures["passage"] + 0.5 * figures["query"], figures
        p, spoken = self.embed_pages(out, grid, batch["headings"] if aloud else None)
        q = self.embed_texts(batch["queries"]).view(len(p), -1, p.shape[1])
        both = [self.contrast(q[:, i], p) for i in range(q.shape[1])]
        contrast, first = (sum(x) / len(both) for x in zip(*both))
        loss = loss + contrast
        if aloud:
            self.spoken = spoken.detach()
            loss = loss + 0.7 * spoken
        # of the spoken loss, that of the last step that had one
        return loss, figures | {"contrast": contrast, "first": first, "spoken": self.spoken}


def cosines(a, b, size: int):
    """Cosine similarities (len(a), len(b)) by the first ``size`` dimensions of embeddings."""
    from torch.nn.functional import normalize

    return normalize(a[:, :size], dim=-1) @ normalize(b[:, :size], dim=-1).T


def _patchify(x):
    b, c, h, w = x.shape
    gh, gw = h // 16, w // 16
    x = x.reshape(b, c, gh // 2, 2, 16, gw // 2, 2, 16).permute(0, 2, 5, 3, 6, 1, 4, 7)
    return x.reshape(b * gh * gw, c * 256), gh, gw


# -- training
# ---------------------------------------------------------------------------------------------------------

#: stage -> (share of the budget, batch size as a factor of --batch, peak learning rate)
#: Many small steps beat few large ones while there is a target for every patch.
#: ``speak`` and ``judge`` make models of their own from the one before: only with --stage.
STAGES = {
    "see": (0.30, 0.19, 2e-3),
    "match": (0.06, 0.65, 1e-3),
    "read": (0.64, 0.65, 8e-4),
    "speak": (0.0, 0.33, 1e-3),
    "judge": (0.0, 0.33, 7e-4),
}


def evaluate(
    reader: Reader,
    n_pages: int = 400,
    n_queries: int = 150,
    maker: pages.PageMaker | None = None,
    batch: int = 50,
) -> dict:
    """Retrieval on fresh pages with unseen names, most of them among their hard negatives."""
    import torch

    maker = maker or pages.PageMaker(*pages.read_assets(ASSETS), 99)
    q, p = [], []
    with torch.no_grad():
        for _ in range(n_pages // batch):
            samples, queries = pages.group_batch(maker, batch, groups=0.75)
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
    import torch

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
    store = WORK / f"store-{os.getpid()}"
    try:
        torch.multiprocessing.spawn(train, args=(args, str(store)), nprocs=args.processes)
    finally:
        store.unlink(missing_ok=True)


def check_fonts() -> None:
    """Stops if words or a font family of ``FONTS`` are not there."""
    try:
        _, fonts = pages.read_assets(ASSETS)
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from None
    there = {Path(files[0]).stem.split("__")[0] for files in fonts}
    packages = sorted({package for name, (*_, package) in FONTS.items() if name not in there})
    if packages:
        raise SystemExit(
            f"{ASSETS / 'fonts'} lacks font families: apt-get install {' '.join(packages)}, then run "
            f"`python data/make/{Path(__file__).name} gather` again"
        )


class Average:
    """Averages gradients over the processes; the schedule's position travels with them."""

    def __init__(self, parameters, rank: int, processes: int, store: str | None):
        import torch.distributed as dist

        self.parameters, self.processes = parameters, processes
        if processes > 1:
            dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes)

    def __call__(self, share: float) -> float:
        """Replaces every ``.grad`` by its average; returns the average of ``share``."""
        import torch
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


def state_file(stage: str | None = None, shape: str | None = None) -> Path:
    """Where a training keeps its state; a stage that makes a model of its own has one of its own, and so has
    each shape that is compared with the shipped one.
    """
    return folder_of(shape) / (f"{stage}.pt" if stage in OWN else "state.pt")


def log_file(stage: str | None = None, shape: str | None = None) -> Path:
    """Where a training keeps its log, beside its state."""
    return folder_of(shape) / (f"{stage}_log.json" if stage in OWN else "training_log.json")


def folder_of(shape: str | None) -> Path:
    return WORK / "shapes" / shape if shape else WORK


def resume(reader: Reader, optimizer, args, quiet: bool) -> dict:
    """Loads what the training goes on from: its own state, else the shipped checkpoint, else nothing.

    Returns the minutes and pages that each stage has had, the log, and the settings of the runs so far.
    """
    import torch

    own = args.stage in OWN
    begins = own and args.fresh  # from what the stage before has come to
    file = state_file(ORIGIN[args.stage]) if begins else state_file(args.stage, args.shape)
    if file.is_file() and (begins or not args.fresh):
        try:
            saved = torch.load(file, map_location=args.device, weights_only=False)
            reader.model.load_state_dict(saved["model"])
            reader.load_heads(saved["heads"])
            reader.scale.data = saved["scale"].to(args.device)
            state = saved["state"]
        except Exception as error:
            raise SystemExit(
                f"{file} cannot be read ({error}): remove it to start again, or restore it"
            ) from error
        if begins:
            quiet or print(f"starts from {file}", flush=True)
            return state
        try:
            optimizer.load_state_dict(saved["optimizer"])
        except (KeyError, ValueError):  # none was kept, or a head has come since
            quiet or print("the optimizer starts anew", flush=True)
        had = {s: f"{minutes:.1f} min, {state['pages'][s]} pages" for s, minutes in state["spent"].items()}
        quiet or print("resumed:", had, flush=True)
        return state
    # The embedding model holds the weights that the first three stages left.
    name = OWN.get(ORIGIN[args.stage] if begins else args.stage, "small-embedding")
    if (OUT / name / "model.safetensors").is_file() and (own or not args.fresh) and not args.shape:
        quiet or print(f"goes on from data/checkpoints/{name}; the optimizer starts anew", flush=True)
        return load_shipped(reader, name)
    if own:
        before = ORIGIN[args.stage]
        raise SystemExit(f"--stage {args.stage} starts from what `{before}` left: train that first")
    return {
        "spent": dict.fromkeys(STAGES, 0.0),
        "pages": dict.fromkeys(STAGES, 0),
        "log": [],
        "settings": [],
    }


def take_eyes(reader: Reader, state: dict, device: str, quiet: bool) -> None:
    """Puts the vision tower and heads that the first stages have come to since into the model that speaks.

    Visual tokens keep their meaning while the first stages go on, so what reads them can go on too.
    """
    import torch

    try:
        saved = torch.load(state_file(), map_location=device, weights_only=False)
        own, prefix = saved["model"], "model.visual."
        reader.vision.load_state_dict({k.removeprefix(prefix): own[k] for k in own if k.startswith(prefix)})
        reader.load_heads(saved["heads"])
    except Exception as error:
        raise SystemExit(f"--eyes: {state_file()} cannot be read ({error}): train `see` or `read`") from error
    for figures in ("spent", "pages"):
        state[figures] |= {s: n for s, n in saved["state"][figures].items() if s not in OWN}
    quiet or print(f"the vision tower is that of {state_file()}", flush=True)


def begin_stage(stage: str, reader: Reader, optimizer, state: dict, quiet: bool) -> None:
    """What a stage needs first: aligned towers after ``see``, imitated tokens for ``match``."""
    import torch

    reader.vision.requires_grad_(stage not in ("match", "judge"))
    # The text side knows visual tokens as they are: ``see``, taken up again, may sharpen but not rename them.
    known = stage == "see" and bool(state.get("aligned"))
    reader.heads["pieces"].requires_grad_(not known)
    # The piece head leans on the embeddings, and nothing keeps the two together without pictures.
    reader.text.embed_tokens.requires_grad_(stage != "match" and not known)
    if stage == "see" or stage in OWN:
        return
    words, fonts = pages.read_assets(ASSETS)
    if not state.get("aligned"):
        sample = pages.group_batch(pages.PageMaker(words, fonts, 5), 16)[0]
        with torch.no_grad():
            reader.see(np.stack([s.pixels for s in sample]))
        reader.align()
        optimizer.state.clear()  # its moments belong to the weights as they were
        state["aligned"] = True
    if stage == "match":
        maker = pages.PageMaker(words, fonts, 6)
        batches = [make_batch(maker, None, reader.tokenizer, "read", 16) for _ in range(16)]
        fit = reader.learn_to_imitate(batches)
        quiet or print(f"visual tokens are imitated with R2 {fit:.2f}", flush=True)


def train(rank: int, args, store: str | None = None) -> None:
    import torch

    torch.manual_seed(args.seed)
    random.seed(args.seed + rank)
    torch.set_num_threads(args.threads)
    tokenizer = load_or_build_processor().tokenizer
    shape = SHAPES[args.shape or "shipped"]
    reader = Reader(build_model(tokenizer, shape), tokenizer, args.device)
    decay = [p for p in reader.parameters() if p.ndim > 1]
    rest = [p for p in reader.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}],
        lr=1e-3,
        betas=(0.9, 0.98),
    )
    state = resume(reader, optimizer, args, quiet=rank > 0)
    for figures in (state["spent"], state["pages"]):
        for stage in STAGES:
            figures.setdefault(stage, 0)
    state["settings"].append({k: str(v) for k, v in vars(args).items()} | {"torch": torch.__version__})
    unit, whole = ("pages", args.pages) if args.pages else ("minutes", args.minutes)
    had = state["pages" if args.pages else "spent"]
    budget = {s: whole * share for s, (share, *_) in STAGES.items()}
    if args.stage:
        budget = {s: whole if s == args.stage else 0.0 for s in STAGES}
    left = [s for s in STAGES if budget[s] > 0 and (args.stage or had[s] < budget[s])]
    if not left:
        most = max(had[stage] / share for stage, (share, *_) in STAGES.items() if share)
        raise SystemExit(
            f"every stage has had its share of {whole:g} {unit}: give more than {most:.0f}, or "
            "--stage, or --fresh to start from random weights"
        )
    # A stage of its own that was killed goes on; one that ended has as much more.
    unfinished = state.get("unfinished") or {}
    asked = {"stage": args.stage, unit: whole}
    done = unfinished.get("done", 0.0) if not args.fresh and asked.items() <= unfinished.items() else 0.0
    if args.eyes and not done:
        take_eyes(reader, state, args.device, quiet=rank > 0)
    average = Average(list(reader.parameters()), rank, args.processes, store)
    rank or print(
        f"{sum(p.numel() for p in reader.model.parameters()) / 1e6:.2f} M parameters on {args.device}; "
        f"{unit} a stage {budget}",
        flush=True,
    )
    amp = torch.autocast(args.device, torch.bfloat16, enabled=args.bf16)
    if args.bf16 and args.device == "cpu":  # the fused kernel is slower there at 32 dimensions a head
        reader.vision.set_attn_implementation("eager")
        if args.stage in OWN:  # and with a mask that is not plainly causal
            reader.text.set_attn_implementation("eager")
    if args.compile:
        for layer in [*reader.vision.blocks, *reader.text.layers]:
            layer.compile(dynamic=True)

    file = state_file(args.stage, args.shape)

    def save():
        torch.save(
            {
                "model": reader.model.state_dict(),
                "heads": reader.heads.state_dict(),
                "scale": reader.scale.data,
                "optimizer": optimizer.state_dict(),
                "state": state,
            },
            file.with_suffix(".tmp"),
        )
        os.replace(file.with_suffix(".tmp"), file)
        log = log_file(args.stage, args.shape)
        log.with_suffix(".tmp").write_text(json.dumps(state, indent=1))
        os.replace(log.with_suffix(".tmp"), log)

    for stage in left:
        _, factor, peak = STAGES[stage]
        begin = done if args.stage else had[stage]
        minutes_before, pages_before = state["spent"][stage], state["pages"][stage]
        begin_stage(stage, reader, optimizer, state, quiet=rank > 0)
        size = max(4, int(args.batch * factor) // args.processes)
        seed = args.seed + len(state["log"]) + 7 * list(STAGES).index(stage) + 10_000 * rank
        drawing = args.processes * max(1, args.workers)
        plain = 5000 // drawing if state["pages"]["see"] == 0 else 0
        batches = stream(tokenizer, stage, size, seed, args.workers, args.replay, plain)
        started, reported, evaluated = time.time(), time.time(), time.time()
        sums, steps, since, share = {}, 0, 0, begin / budget[stage]
        while share < 1:
            batch = next(batches)
            # A short warm-up, then level, then in the last two fifths a cosine down to a twentieth.
            decay = max(0.0, share - 0.6) / 0.4
            lr = (
                (args.lr or peak)
                * min(1.0, steps / 30 + 0.03)
                * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * decay)))
            )
            for group in optimizer.param_groups:
                group["lr"] = lr
            with amp:
                # Aloud in one step of three: the language head kept, for a third of its price.
                loss, figures = reader.loss(stage, batch, aloud=stage in ("match", "read") and steps % 3 == 0)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            took = (time.time() - started) / 60
            drawn = state["pages"][stage] + size * args.processes - pages_before
            share = average((begin + (drawn if args.pages else took)) / budget[stage])
            torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
            optimizer.step()
            steps += 1
            since += 1
            state["pages"][stage] += size * args.processes
            for k, v in (figures | {"loss": loss}).items():
                sums[k] = sums.get(k, 0.0) + float(v.detach())
            if rank == 0 and time.time() - reported > args.report:
                row = {
                    "stage": stage,
                    "minutes": round((0 if args.pages else begin) + took, 2),  # of this run
                    "pages": state["pages"][stage],
                    "pages_per_second": round(since * size * args.processes / (time.time() - reported), 1),
                    "lr": round(lr, 6),
                }
                row |= {k: round(v / since, 4) for k, v in sums.items()}
                if stage == "read" and time.time() - evaluated > args.evaluate_every:
                    row |= {k: v for k, v in evaluate(reader).items() if k != "pages"}  # seen, not evaluated
                    evaluated = time.time()
                sums, since = {}, 0
                state["log"].append(row)
                print(json.dumps(row), flush=True)
                took = (time.time() - started) / 60  # evaluated since
                state["spent"][stage] = minutes_before + took
                now = begin + (state["pages"][stage] - pages_before if args.pages else took)
                state["unfinished"] = asked | {"done": now} if args.stage else None
                save()
                reported = time.time()
        took = (time.time() - started) / 60 if args.pages else budget[stage] - begin
        state["spent"][stage] = minutes_before + took
        state["unfinished"] = None
        rank or save()
    if rank or args.stage in OWN:
        return
    final = evaluate(reader, n_pages=500, n_queries=500)
    state["log"].append({"stage": "end", **final})
    save()
    print("end:", final, flush=True)


def load_shipped(reader: Reader, name: str = "small-embedding") -> dict:
    """Loads weights and heads of a shipped checkpoint; returns the state of its training."""
    from safetensors.torch import load_file

    def read(file: Path, how):
        try:
            return how(file)
        except Exception as error:
            raise SystemExit(f"{file} cannot be read ({error}): restore it with `git checkout`") from error

    weights = read(OUT / name / "model.safetensors", lambda file: load_file(file, device=reader.device))
    weights = {key if key.startswith("model.") else f"model.{key}": w for key, w in weights.items()}
    missing = reader.model.load_state_dict(weights, strict=False).missing_keys
    assert set(missing) <= {"lm_head.weight"}, f"{name} lacks {missing[:3]}"  # tied to the embeddings
    # `judge` has no use for heads, so small-reranker has none of its own.
    heads_of = name if (OUT / name / HEADS).is_file() else "small-vlm"
    heads = read(OUT / heads_of / HEADS, lambda file: load_file(file, device=reader.device))
    reader.scale.data = heads.pop("scale")
    reader.load_heads(heads)
    log = read(OUT / name / "training_log.json", lambda file: json.loads(file.read_text()))
    log.pop("reading", None)  # measured on these weights, not on those that come of them
    return log


def load_or_build_processor():
    """The processor of this training, else that of the shipped checkpoint, else a new one."""
    from transformers import AutoProcessor

    folder = WORK / "processor"
    for place in (folder, OUT / "small-vlm"):
        if (place / "tokenizer.json").is_file():
            return AutoProcessor.from_pretrained(place)
    words, fonts = pages.read_assets(ASSETS)
    return build_processor(pages.PageMaker(words, fonts, 1), folder)


def export() -> None:
    """Writes the checkpoints whose training left a state, in bfloat16, each replaced as a whole."""
    processor = load_or_build_processor()
    writers = {"small-vlm": write_vlm, "small-embedding": write_embedding, "small-reranker": write_reranker}
    spoken = "speak" if state_file("speak").is_file() else None
    stages = {"small-vlm": spoken, "small-embedding": None, "small-reranker": "judge"}
    files = {name: state_file(stage) for name, stage in stages.items()}
    if not any(file.is_file() for file in files.values()):
        raise SystemExit(f"{state_file()} is missing: run `python {Path(__file__).name} train` first")
    for name, write in writers.items():
        if not files[name].is_file():
            continue
        model, saved = trained(files[name], processor)
        temporary = OUT / f".{name}"
        shutil.rmtree(temporary, ignore_errors=True)
        write(temporary, model, processor, saved)
        log = json.loads(log_file(stages[name]).read_text())
        log.pop("reading", None)  # measured on other weights
        (temporary / "training_log.json").write_text(json.dumps(log, indent=1))
        text = card(name, model, log)
        (temporary / "README.md").write_text(text, encoding="utf-8")
        shutil.rmtree(OUT / name, ignore_errors=True)
        os.replace(temporary, OUT / name)
        size = sum(f.stat().st_size for f in (OUT / name).rglob("*") if f.is_file())
        print(f"{name}: {size / 2**20:.1f} MiB in {(OUT / name).relative_to(ROOT)}")


def trained(file: Path, processor, shape: Shape = SHAPES["shipped"]):
    """The model of a training's state in bfloat16, and the state."""
    import torch

    saved = torch.load(file, map_location="cpu", weights_only=False)
    model = build_model(processor.tokenizer, shape)
    model.load_state_dict(saved["model"])
    model = model.to(torch.bfloat16)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model, saved


def write_vlm(folder: Path, model, processor, saved: dict) -> None:
    """The model with its language head."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    save_heads(folder, saved)


def save_heads(folder: Path, saved: dict) -> None:
    """What only training uses, so that a later run can go on from here."""
    from safetensors.torch import save_file

    save_file({**saved["heads"], "scale": saved["scale"]}, folder / HEADS)


def write_embedding(folder: Path, model, processor, saved: dict) -> None:
    """The reader's weights as an embedding model."""
    import tempfile

    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    with tempfile.TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        processor.save_pretrained(plain)
        transformer = Transformer(plain, model_kwargs={"dtype": torch.bfloat16})
        pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="lasttoken")
        SentenceTransformer(
            modules=[transformer, pooling, Normalize()],
            prompts={"query": INSTRUCTION, "document": INSTRUCTION},
            default_prompt_name="query",
            device="cpu",
        ).save(str(folder), create_model_card=False)
    save_heads(folder, saved)


def write_reranker(folder: Path, model, processor, saved: dict) -> None:
    """A cross-encoder: the log-odds of "yes" after page and query."""
    import tempfile

    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    processor.chat_template = RERANK_TEMPLATE
    with tempfile.TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        processor.save_pretrained(plain)
        transformer = Transformer(
            plain,
            transformer_task="any-to-any",
            model_kwargs={"dtype": torch.bfloat16},
            processing_kwargs={"chat_template": {"add_generation_prompt": True}},
        )
        yes, no = (transformer.tokenizer.encode(word, add_special_tokens=False)[0] for word in ("yes", "no"))
        CrossEncoder(
            modules=[transformer, LogitScore(true_token_id=yes, false_token_id=no)],
            prompts={"rerank": RERANK},
            default_prompt_name="rerank",
            activation_fn=torch.nn.Identity(),
            device="cpu",
        ).save_pretrained(str(folder), create_model_card=False)


def write_reading(report: dict) -> None:
    """Puts what ``reading.py`` measured into the log of small-vlm, and into the cards of all three."""
    from transformers import AutoModelForImageTextToText

    file = OUT / "small-vlm" / "training_log.json"
    log = json.loads(file.read_text()) | {"reading": report}
    file.write_text(json.dumps(log, indent=1))
    for name in ("small-vlm", "small-embedding", "small-reranker"):
        own = json.loads((OUT / name / "training_log.json").read_text()) | {"reading": report}
        model = AutoModelForImageTextToText.from_pretrained(OUT / name)
        (OUT / name / "README.md").write_text(card(name, model, own), encoding="utf-8")


def proof(name: str, reading: dict) -> str:
    """What ``reading.py`` measured of a checkpoint, in words."""
    seen, fonts, layouts = (reading[key] for key in ("seen", "fonts", "layouts"))
    year, figure = (seen["twins"][kind] for kind in ("year", "figure"))
    pages_read = f"On {seen['pages']} fresh generated pages with made-up names that it never saw"
    if name == "small-vlm":
        return (
            f"{pages_read}, the heading is read aloud, by beam search, with a character error rate of "
            f"{seen['heading cer']:.1%}; in typefaces it never saw {fonts['heading cer']:.1%}, in layouts it "
            f"never saw {layouts['heading cer']:.1%}."
        )
    apart = (
        f"Of two pages that differ in one digit of the year it prefers the right one {year[name]:.1%} of the "
        f"time, in one digit of a figure {figure[name]:.1%} (chance 50 %)."
    )
    if name == "small-reranker":
        order = reading["reranked"]
        return (
            f"{pages_read}, the first ten that small-embedding finds: NDCG@10 {order['retriever']:.3f} in "
            f"the order they came, {order['reranker']:.3f} in its own. {apart}"
        )
    return (
        f"{pages_read}, most of them among look-alikes, and queries by name, topic and period: "
        f"NDCG@10 {seen['ndcg@10']:.3f}, Recall@1 {seen['recall@1']:.3f}; in typefaces it never saw NDCG@10 "
        f"{fonts['ndcg@10']:.3f}, in layouts it never saw {layouts['ndcg@10']:.3f}, with German words "
        f"{reading['german']['ndcg@10']:.3f}, with French words {reading['french']['ndcg@10']:.3f}. {apart}"
    )


def card(name: str, model, log: dict) -> str:
    """The checkpoint's model card; every figure comes from the model or from the log of its training."""
    spent = ", ".join(
        f"`{s}` {log['spent'][s]:.0f} min and {log['pages'][s]:,} pages"
        for s in STAGES
        if log["spent"].get(s)
    )
    *longer, shortest = SHORT
    measured = proof(name, log["reading"]) if "reading" in log else "Not yet: `data/make/reading.py` does it."
    use = {
        "small-vlm": 'AutoModelForImageTextToText.from_pretrained("data/checkpoints/small-vlm")',
        "small-embedding": 'SentenceTransformer("data/checkpoints/small-embedding")',
        "small-reranker": 'CrossEncoder("data/checkpoints/small-reranker")',
    }[name]
    what = {
        "small-vlm": "A Qwen3-VL with its language head, trained to read the heading of a page aloud"
        + (f', and, asked "{ASK}", to write one.' if log["spent"].get("speak") else "."),
        "small-embedding": "An embedding model: last-token pooling, normalised, one instruction; its first "
        f"{', '.join(map(str, longer))} or {shortest} dimensions work alone.",
        "small-reranker": 'A reranker that reads a page, then a query, and gives the log-odds of "yes".',
    }[name]
    pipeline = {"small-vlm": "image-text-to-text", "small-reranker": "text-ranking"}
    instruction = RERANK if name == "small-reranker" else INSTRUCTION
    return f"""---
license: apache-2.0
pipeline_tag: {pipeline.get(name, "feature-extraction")}
---

# {name}

{what} {sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters,
trained from random weights on generated pages by `data/make/small_checkpoint.py`, for the course that ships
it: so that fine-tuning a page retriever can be learned, and tested, in minutes on a CPU.

    {use}

- **Input**: pages of at most {MAX_PIXELS:,} pixels (224 x 320), one visual token for 32 x 32 of them, with
  type of 9 px and more; English text, taken as lower case. Instruction: "{instruction}"
- **Training**: {len(pages.FAMILIES)} layout families, {len(FONTS)} font families, made-up names,
  {VOCABULARY:,} vocabulary entries; {spent}.
  Settings and curves: `training_log.json`.
- **Measured**: {measured}
- **Made for**: the course. **Not made for**: documents of the real world; it is meant for large type on plain
  pages, knows no facts and no synonyms, and learned no other language.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sub = parser.add_subparsers(dest="command", required=True)
    sub.add_parser("gather", help="collect words and fonts")
    sub.add_parser("export", help="write the checkpoints")
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
    {"gather": gather, "export": export}[args.command]() if args.command != "train" else start(args)


if __name__ == "__main__":
    main()
