"""Batches of pages with what is written where, as arrays."""

from __future__ import annotations

import random
import re

import numpy as np

from . import places
from .assets import read_assets
from .bank import WordBank, pieces_of
from .canvas import FORMAT_WEIGHTS, FORMATS, Content
from .pages import PageMaker, Sample, group_batch, written
from .words import CHAR_INDEX

#: A visual token's 32 x 32 pixels in slots that hold one character each, nearly always: columns and rows.
SLOTS = (8, 4)
POOL_BYTES = 2**30  # of drawn batches that are kept to be shown again, for each process that draws
WORD = r"[^\W\d_]+|\d+(?:[.,]\d+)*"  # or a number
READ_ON = "Read on from: "  # and a line of the page; without a word, the heading is read
PASSAGES = 2  # of a page in ``speak``, of at most so many tokens


def bag(cells: np.ndarray, items: np.ndarray, n_cells: int, weights: np.ndarray | None = None):
    """Counts (cell, item) pairs; returns cell, item and weight arrays, weights adding up to 1 a cell."""
    keys, inverse = np.unique(cells.astype(np.int64) * 100_000 + items, return_inverse=True)
    w = np.bincount(inverse, weights=weights)
    cell = keys // 100_000
    total = np.bincount(cell, weights=w, minlength=n_cells)
    return cell, keys % 100_000, (w / total[cell]).astype(np.float32)


def characters(sample: Sample, tokenizer) -> tuple:
    """Per character of a laid-out page: x, y, class, vocabulary piece, and its share of that piece."""
    texts = [s for s, _ in sample.runs]
    x, y, chars, pieces, weights = [], [], [], [], []
    for s, (_, centers), encoding in zip(
        texts,
        sample.runs,
        tokenizer.backend_tokenizer.encode_batch([" " + s for s in texts], add_special_tokens=False),
    ):
        piece, weight = pieces_of(encoding, len(s))
        x.append(centers[:, 0])
        y.append(centers[:, 1])
        chars.append(np.array([CHAR_INDEX.get(c, 0) for c in s.lower()]))
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


def heading(content: Content) -> str:
    """What reading aloud should say: topic, then organisation, then period, as far as the page shows them."""
    parts = [content.topic] + [getattr(content, k) for k in ("organization", "period") if k in content.shown]
    return ", ".join(parts)


def passages(sample: Sample, r: random.Random) -> list[tuple[str, str]]:
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
    maker: PageMaker, bank: WordBank | None, tokenizer, stage: str, size: int, plain: bool = False
) -> dict:
    """Pixels, targets and token ids of one batch as NumPy arrays."""
    r = maker.rng
    if stage == "see":
        fmt = r.choices(FORMATS, FORMAT_WEIGHTS)[0]
        made = [bank.page(fmt, plain) for _ in range(size - (0 if plain else size // 2))]
        samples = [maker.page(None, fmt) for _ in range(size - len(made))]
        made += [(s.pixels, characters(s, tokenizer)) for s in samples]
        return {"pixels": np.stack([p for p, _ in made]), **dense_targets([c for _, c in made], fmt)}
    painted = stage != "match"
    groups = {"match": 0.3, "read": 0.65, "judge": 0.75, "speak": 0.0}[stage]
    # A query costs a tenth of a page to embed, so each page gets two.
    each = 1 if stage == "speak" else 2
    figures = {"match": 0.1, "read": 0.1, "judge": 0.3, "speak": 0.0}[stage]
    samples, queries = group_batch(maker, size, groups, painted, each, figures)
    height, width, _ = samples[0].pixels.shape
    return {
        "queries": queries,
        "pixels": np.stack([s.pixels for s in samples]) if painted else None,
        "grid": (height // 16, width // 16),
        "headings": [heading(s.content) for s in samples],
        "passages": [passages(s, r) for s in samples] if stage == "speak" else None,
        "written": [set(words_of(written(s))) for s in samples] if stage == "judge" else None,
        "instructed": r.random() < 0.5,  # in ``speak``: who asks a language model gives it no instruction
        **dense_targets([characters(s, tokenizer) for s in samples], (width, height)),
    }


def draw_batches(tokenizer, stage: str, size: int, seed: int, replay: int, plain_pages: int):
    """Yields batches without end; in a worker process, with a seed of its own.

    The first ``plain_pages`` pages are black on white: what a model with random weights learns first.
    """
    import torch

    info = torch.utils.data.get_worker_info()
    words, fonts = read_assets(places.ASSETS)
    maker = PageMaker(words, fonts, seed * 1000 + (info.id if info else 0))
    bank = WordBank(maker.words, fonts, tokenizer) if stage == "see" else None
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
