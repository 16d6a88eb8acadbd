"""Visual tokens of pages, computed once and kept, for a vision tower that is not trained.

A reranker meets a page with many queries. Its vision tower never sees the query, so it says the same each
time, and where it is frozen it need run only once for each page. After `kept = keep_visual_tokens(model)`
train and predict as before: scores are the same up to rounding, and what `save_pretrained` writes is too.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np

if TYPE_CHECKING:
    import torch

_WORDS = 8  # of 16 bits: a key, as numbers that float32 holds exactly
_NEW, _KEPT, _NAMELESS = 0, 1, 2  # after a picture's header come its patches, none, those of no key
_stores: WeakValueDictionary[tuple, VisualTokens] = WeakValueDictionary()


class VisualTokens:
    """What one frozen vision tower made of pages.

    Attributes:
        pages: key of a page -> its tokens (tokens, width), then those that DeepStack adds to text layers.
        grids: key of a page -> its patches: (time, height, width).
        mb: memory that they take, in MB (10^6 bytes).
        computed, reused: how often a page went through the tower, and how often it need not.
    """

    def __init__(self) -> None:
        self.pages: dict[bytes, list[torch.Tensor]] = {}
        self.grids: dict[bytes, torch.Tensor] = {}
        self.mb, self.most_mb = 0.0, 0.0
        self.computed = self.reused = 0

    def __str__(self) -> str:
        return (
            f"{len(self.pages):,} pages in {self.mb:,.0f} MB; "
            f"computed {self.computed:,} times, reused {self.reused:,} times"
        )

    def keep(self, key: bytes, grid: torch.Tensor, tokens: list[torch.Tensor]) -> None:
        """Keep a page's tokens, if there is room for them."""
        size = sum(level.nbytes for level in tokens) / 1e6
        if key not in self.pages and self.mb + size <= self.most_mb:
            self.pages[key] = [level.detach().cpu().clone() for level in tokens]
            self.grids[key] = grid.cpu().clone()
            self.mb += size


def keep_visual_tokens(model: torch.nn.Module, most_mb: float = 2000) -> VisualTokens:
    """From here on, run the frozen vision tower of a Qwen3-VL once for each page, and keep what it says.

    Pages are told apart by their pixels. The tower computes in the precision of its weights, whatever the
    trainer has the rest compute in. Models of equal towers share what is kept.

    Args:
        model: a CrossEncoder or SentenceTransformer.
        most_mb: memory for tokens, in MB (10^6 bytes), of the computer rather than the GPU; of models that
            share, the last one's. What does not fit is computed each time.

    Raises:
        ValueError: the model is none of the Qwen3-VL family, or its tower is trained: what is kept would be
            out of date after one step.
    """
    vlm = next((part for part in model.modules() if type(part).__name__ == "Qwen3VLModel"), None)
    if vlm is None:
        raise ValueError("keep_visual_tokens needs a model of the Qwen3-VL family, and this is none.")
    if any(weight.requires_grad for weight in vlm.visual.parameters()):
        raise ValueError(
            "The vision tower is trained, so its tokens change with each step. Freeze it first: "
            "requires_grad_(False) on the module whose name ends in '.visual'."
        )
    store = _stores.setdefault(_identity(vlm.visual), VisualTokens())
    store.most_mb = most_mb
    model[0].preprocess = partial(_preprocess, model[0], store)
    vlm.get_image_features = partial(_image_features, vlm, store)
    return store


def _preprocess(transformer, store: VisualTokens, *arguments, **options):
    """`preprocess` of a Transformer module, with `_Pictures` before its image processor.

    Only for as long as it lasts: the processor that is saved with the model is the library's own.
    """
    processor = transformer.processor
    plain = processor.image_processor
    processor.image_processor = _Pictures(plain, store)
    try:
        return type(transformer).preprocess(transformer, *arguments, **options)
    finally:
        processor.image_processor = plain


class _Pictures:
    """Stands before an image processor: of a page whose tokens are kept it passes on no patches.

    In `pixel_values` each picture has a header before its patches, a row of its own: what follows, and the
    page's key. So the two ends need nothing else in common, and a batch may go to another device between.
    """

    def __init__(self, plain, store: VisualTokens) -> None:
        self.plain, self.store = plain, store

    def __getattr__(self, name: str):
        return getattr(self.plain, name)

    def __call__(self, images, **options):
        import torch
        from transformers import BatchFeature
        from transformers.image_utils import make_flat_list_of_images

        pictures = make_flat_list_of_images(images)
        settings = {**options, "size": options.get("size") or self.plain.size}
        keys = [_key(picture, repr(settings)) for picture in pictures]
        new, met = [], set()  # a page may be here twice
        for key in keys:
            new.append(key is None or not (key in self.store.pages or key in met))
            met.add(key)
        patches, made_grids, grids_here = iter(()), iter(()), {}
        if any(new):
            made = self.plain([picture for picture, is_new in zip(pictures, new) if is_new], **options)
            made_grids = iter(made["image_grid_thw"])
            patches = iter(made["pixel_values"].split(made["image_grid_thw"].prod(dim=1).tolist()))
        rows, grids = [], []
        for key, is_new in zip(keys, new):
            header = torch.zeros(1, 3 * self.plain.temporal_patch_size * self.plain.patch_size**2)
            header[0, 0] = _KEPT if not is_new else _NAMELESS if key is None else _NEW
            if key is not None:
                words = np.frombuffer(key, np.uint16).astype(np.float32)
                header[0, 1 : 1 + _WORDS] = torch.from_numpy(words)
            rows += [header, next(patches)] if is_new else [header]
            if is_new:
                grids_here[key] = next(made_grids)
            grids.append(grids_here[key] if key in grids_here else self.store.grids[key])
        return BatchFeature({"pixel_values": torch.cat(rows), "image_grid_thw": torch.stack(grids)})


def _key(picture, settings: str) -> bytes | None:
    """Sixteen bytes that stand for a picture's pixels; None for a picture that is not Pillow's."""
    import xxhash
    from PIL.Image import Image

    if not isinstance(picture, Image):
        return None
    digest = xxhash.xxh3_128(f"{settings} {picture.mode} {picture.size} {picture.getpalette()}".encode())
    digest.update(picture.tobytes())
    return digest.digest()


def _image_features(vlm, store: VisualTokens, pixel_values, image_grid_thw=None, **options):
    """`get_image_features` of a Qwen3VLModel, for pictures as `_Pictures` passes them on."""
    import torch
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    place, pages = 0, []
    for grid in image_grid_thw:
        kind, *words = pixel_values[place, : 1 + _WORDS].tolist()
        end = place + 1 + (0 if kind == _KEPT else int(grid.prod()))
        pages.append((kind, np.array(words, np.uint16).tobytes(), grid, pixel_values[place + 1 : end]))
        place = end
    new = [(grid, patches) for kind, _, grid, patches in pages if kind != _KEPT]
    device, tokens, here = pixel_values.device, [], {}
    # Not in inference mode, in which `predict` works: a training step may need the same tokens later.
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
        made = iter(())
        if new:
            grids, patches = zip(*new)
            output = type(vlm).get_image_features(vlm, torch.cat(patches), torch.stack(grids), **options)
            made = zip(output.pooler_output, *output.deepstack_features)
        for kind, key, grid, _ in pages:
            if kind != _KEPT:
                tokens.append(next(made))
            else:
                tokens.append(here[key] if key in here else store.pages[key])
            if kind == _NEW:
                here[key] = tokens[-1]
                store.keep(key, grid, tokens[-1])
        levels = [tuple(page.to(device) for page in level) for level in zip(*tokens)]
    store.computed += len(new)
    store.reused += len(pages) - len(new)
    return BaseModelOutputWithDeepstackFeatures(pooler_output=levels[0], deepstack_features=levels[1:])


def _identity(tower: torch.nn.Module) -> tuple[bytes, str]:
    """What tells a tower's weights from another's, and their precision."""
    import torch
    import xxhash

    digest = xxhash.xxh3_128()
    for weight in tower.state_dict().values():
        digest.update(weight.detach().cpu().flatten().view(torch.uint8).numpy())
    return digest.digest(), str(tower.dtype)
