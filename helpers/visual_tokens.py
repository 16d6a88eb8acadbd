"""Visual tokens of pages, computed once and kept, for a vision tower that is not trained.

A reranker meets a page with many queries. Its vision tower never sees the query, so it gives the same answer
each time, and where it is frozen it need run only once for each page:

    freeze(model)
    kept = keep_visual_tokens(model)
    ...  # train and predict as before
    print(kept)

Scores are the same up to rounding. Saving the model is not affected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

WORDS = 8  # of 16 bits, which every floating-point type of at least 16 significant bits holds exactly
NEW, KEPT, OTHER = 0.0, 1.0, 2.0  # what follows a picture's header: its patches, nothing, patches not to keep
_towers: dict[tuple, VisualTokens] = {}


class VisualTokens:
    """What a frozen vision tower made of each page: page's key -> its tokens, and those of deeper levels."""

    def __init__(self, most_mb: float) -> None:
        self.most_mb, self.mb = most_mb, 0.0
        self.pages: dict[bytes, list[torch.Tensor]] = {}
        self.grids: dict[bytes, torch.Tensor] = {}  # patches of a page: (time, height, width)
        self.computed = self.reused = 0

    def __str__(self) -> str:
        return (
            f"{len(self.pages):,} pages kept in {self.mb:,.0f} MB; "
            f"computed {self.computed:,} times, reused {self.reused:,} times"
        )

    def keep(self, key: bytes, grid: torch.Tensor, tokens: list[torch.Tensor]) -> None:
        """Keep a page's tokens, as long as there is room for them."""
        size = sum(level.nbytes for level in tokens) / 1e6
        if key not in self.pages and self.mb + size <= self.most_mb:
            self.pages[key], self.grids[key] = [level.cpu().clone() for level in tokens], grid.cpu()
            self.mb += size


def keep_visual_tokens(model: torch.nn.Module, most_mb: float = 4000) -> VisualTokens:
    """From here on, run the vision tower of a Qwen3-VL once for each page, and keep what it says.

    Pages are told apart by their pixels. The tower computes in the precision of its weights, also while the
    trainer computes in another. Models whose towers have the same weights share what is kept.

    Args:
        model: a CrossEncoder or SentenceTransformer with a frozen vision tower.
        most_mb: memory for tokens, in MB (10^6 bytes) of the CPU's; pages beyond it are computed each time.

    Raises:
        ValueError: the model has no tower of Qwen3-VL, or a tower that is trained: what was kept would be
            out of date after one step.
    """
    vlm = next((part for part in model.modules() if type(part).__name__ == "Qwen3VLModel"), None)
    if vlm is None:
        raise ValueError("keep_visual_tokens needs a model of the Qwen3-VL family; this one has no such part.")
    if any(weight.requires_grad for weight in vlm.visual.parameters()):
        raise ValueError(
            "The vision tower is trained, so its tokens change with each step. Freeze it first: "
            "set requires_grad_(False) on the module whose name ends in '.visual'."
        )
    transformer = model[0]
    store = _towers.setdefault(_identity(vlm.visual), VisualTokens(most_mb))
    store.most_mb = most_mb
    plain_preprocess, plain_features = type(transformer).preprocess, type(vlm).get_image_features

    def preprocess(inputs, *arguments, **options):
        processor = transformer.processor
        plain = processor.image_processor
        processor.image_processor = _Pictures(plain, store)
        try:
            return plain_preprocess(transformer, inputs, *arguments, **options)
        finally:
            processor.image_processor = plain  # so that a saved model has the library's own

    def get_image_features(pixel_values, image_grid_thw=None, **options):
        return _features(vlm, plain_features, store, pixel_values, image_grid_thw, options)

    transformer.preprocess, vlm.get_image_features = preprocess, get_image_features
    return store


class _Pictures:
    """Stands before an image processor: of a page whose tokens are kept it passes on the page's key alone.

    Each picture becomes a header, a row of `pixel_values`: what follows it, and its key in words of 16 bits.
    """

    def __init__(self, plain, store: VisualTokens) -> None:
        self.plain, self.store = plain, store

    def __getattr__(self, name: str):
        return getattr(self.plain, name)

    def __call__(self, images, **options):
        import torch
        from transformers.image_utils import make_flat_list_of_images

        pictures = make_flat_list_of_images(images)
        settings = repr((self.plain.size, options.get("size"), options.get("min_pixels"), options.get("max_pixels")))
        keys = [_key(picture, settings) for picture in pictures]
        there = [key in self.store.pages for key in keys]
        new = [picture for picture, kept in zip(pictures, there) if not kept]
        width = self.plain.patch_size**2 * self.plain.temporal_patch_size * 3
        result = self.plain(new or pictures[:1], **options)
        patches = iter(result["pixel_values"].split(result["image_grid_thw"].prod(dim=1).tolist()))
        grids, rows, ours = iter(result["image_grid_thw"]), [], []
        for key, kept in zip(keys, there):
            header = torch.zeros(1, width)
            header[0, 0] = KEPT if kept else NEW if key else OTHER
            if key:
                header[0, 1 : 1 + WORDS] = torch.from_numpy(np.frombuffer(key, np.uint16).astype(np.float32))
            rows.append(header)
            if not kept:
                rows.append(next(patches))
            ours.append(self.store.grids[key] if kept else next(grids))
        result["pixel_values"], result["image_grid_thw"] = torch.cat(rows), torch.stack(ours)
        return result


def _key(picture: Image, settings: str) -> bytes | None:
    """Sixteen bytes that stand for a picture's pixels; None for what is no picture of Pillow's."""
    import xxhash

    if not hasattr(picture, "tobytes") or not hasattr(picture, "mode"):
        return None
    digest = xxhash.xxh3_128(f"{settings} {picture.mode} {picture.size}".encode())
    digest.update(picture.tobytes())
    return digest.digest()


def _features(vlm, plain, store: VisualTokens, pixel_values, grids, options: dict):
    """`get_image_features` of a Qwen3VLModel, for pictures as `_Pictures` passes them on."""
    import torch

    place, new, pages = 0, [], []
    for grid in grids:
        header = pixel_values[place, : 1 + WORDS].tolist()
        place += 1
        key = np.array(header[1:], np.uint16).tobytes()
        size = 0 if header[0] == KEPT else int(grid.prod())
        pages.append((header[0], key, grid, pixel_values[place : place + size]))
        place += size
    new = [page for page in pages if page[0] != KEPT]
    made = iter(())
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(pixel_values.device.type, enabled=False):
        if new:
            patches, sizes = torch.cat([page[3] for page in new]), torch.stack([page[2] for page in new])
            output = plain(vlm, patches, sizes, **options)
            made = iter(list(zip(output.pooler_output, *output.deepstack_features)))
        tokens = []
        for kind, key, grid, _ in pages:
            tokens.append(store.pages[key] if kind == KEPT else next(made))
            if kind == NEW:
                store.keep(key, grid, tokens[-1])
        device = pixel_values.device
        levels = [tuple(part.to(device) for part in level) for level in zip(*tokens)]
    store.computed += len(new)
    store.reused += len(pages) - len(new)
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    return BaseModelOutputWithDeepstackFeatures(pooler_output=levels[0], deepstack_features=list(levels[1:]))


def _identity(tower: torch.nn.Module) -> tuple[bytes, str]:
    """What tells a tower's weights from another's, and their precision."""
    import torch
    import xxhash

    digest = xxhash.xxh3_128()
    for weight in tower.state_dict().values():
        digest.update(weight.detach().cpu().flatten().view(torch.uint8).numpy())
    return digest.digest(), str(tower.dtype)
