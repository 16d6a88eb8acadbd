"""Pages of many vectors: kept in fewer bytes, and what each word of a query finds on a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from tools.stored import extremes, middles

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from sentence_transformers import MultiVectorEncoder

_SHORT = 4  # letters: shorter words, such as "the" and "in", seldom stand for a place
Precision = Literal["float32", "float16", "int8"]


def write_vectors(
    pages: Sequence[torch.Tensor], precision: Precision, file: Path
) -> tuple[list[torch.Tensor], float]:
    """Write the vectors of all pages into one `.npy` file, and read them again: (pages as they are after
    that, in float32; bytes of the file a page).

    "int8" keeps a byte a number, one of 256 equal steps between a dimension's extremes on these pages, as the
    library's `quantize_embeddings` has it; the extremes, two numbers a dimension, are not counted.

    Args:
        pages: (vectors, dimensions) each; their numbers of vectors may differ.

    Raises:
        ValueError: a precision of another name, no pages, or pages of different dimensions.
    """
    import torch
    from sentence_transformers.util.quantization import quantize_embeddings

    if len({page.shape[1] for page in pages}) != 1:
        raise ValueError(f"Pages have vectors of {sorted({page.shape[1] for page in pages})} dimensions.")
    rows = np.vstack([page.float().cpu().numpy() for page in pages])
    ranges = extremes(rows)
    if precision == "int8":
        kept = quantize_embeddings(rows, "int8", ranges=ranges)
    elif precision in ("float32", "float16"):
        kept = rows.astype(precision)
    else:
        raise ValueError(f"There is no precision {precision!r}: float32, float16 or int8.")
    np.save(file, kept)
    read = np.load(file)
    if precision == "int8":
        read = middles(read, ranges)
    parts = torch.from_numpy(read.astype(np.float32)).split([len(page) for page in pages])
    return list(parts), file.stat().st_size / len(pages)


def words_of(model: MultiVectorEncoder, query: str) -> list[tuple[str, int]]:
    """The words of a query, each with the place of its last token among the query's vectors. A model that
    reads from left to right has seen the whole word there.
    """
    from sentence_transformers.multi_vector_encoder.interpretability import real_query_token_slice

    inside = real_query_token_slice(model, query)
    features = model[0].preprocess([query], prompt=model.prompts.get("query"), task="query")
    ids, words = features["input_ids"][0].tolist(), []
    for place in range(inside.start, inside.stop):
        piece = model.tokenizer.decode(ids[place])
        if words and words[-1][0] and not piece.startswith(" "):
            words[-1] = (words[-1][0] + piece, place)
        else:
            words.append((piece.strip(), place))
    return [(word, place) for word, place in words if any(map(str.isalnum, word))]


def on_picture(model: MultiVectorEncoder, page: Image) -> torch.Tensor:
    """Which of a page's vectors stand for a part of its picture: (vectors,), true or false."""
    features = model[0].preprocess([page], prompt=model.prompts.get("document"), task="document")
    image = model.tokenizer.convert_tokens_to_ids(model.processor.image_token)
    return features["input_ids"][0][features["attention_mask"][0].bool()] == image


def word_maps(
    model: MultiVectorEncoder,
    query: str,
    page: Image,
    query_vectors: torch.Tensor,
    page_vectors: torch.Tensor,
    words: int = 3,
) -> list[tuple[Image, str, bool]]:
    """(heat map over the page, title, False) for the longer words of a query whose best place on the page
    stands out most from the rest of it, as `helpers.plots.show_rows` takes them.

    Args:
        query_vectors: (tokens of the query, dimensions), of the template too.
        page_vectors: (vectors, dimensions); of those that stand for no part of the picture none is drawn.
    """
    import torch
    from sentence_transformers.multi_vector_encoder.interpretability import get_n_patches, maxsim_heatmap

    inside = on_picture(model, page)
    if len(inside) != len(page_vectors):  # only visual tokens are kept
        inside = torch.ones(len(page_vectors), dtype=torch.bool)
    named = words_of(model, query)
    named = [(word, place) for word, place in named if len(word) >= _SHORT] or named
    vectors = query_vectors[[place for _, place in named]]
    fits = vectors @ page_vectors[inside].T
    peaks = (fits.max(dim=1).values - fits.mean(dim=1)).tolist()
    chosen = sorted(sorted(range(len(named)), key=lambda i: -peaks[i])[:words])
    grid = get_n_patches(model, page.size)
    maps = maxsim_heatmap(page, vectors[chosen], page_vectors, grid, image_mask=inside, aggregate="none")
    titles = [f"“{named[i][0]}”, at best {fits[i].max():.2f}" for i in chosen]
    return [(heat.convert("RGB"), title, False) for heat, title in zip(maps, titles)]
