"""Qwen3-VL's vision tower, computed sooner: the same weights, names and, but for rounding, outputs."""

from __future__ import annotations

from types import MethodType

import torch
from torch.nn.functional import linear, scaled_dot_product_attention

_TOGETHER = 8  # pictures of equal size that attend in one call


def fast_vision(model: torch.nn.Module) -> int:
    """Make the vision tower of a Qwen3-VL faster, with the same output up to rounding; return the towers
    changed.

    Patches are embedded by a matrix product: in the library by a Conv3d whose stride is its kernel, which
    convolutions are not made for. And pictures of equal size attend in one call, each to itself; in the
    library each in its own. Flash attention is left alone. Weights and their names stay as they are.
    """
    towers = [module for module in model.modules() if type(module).__name__ == "Qwen3VLVisionModel"]
    for tower in towers:
        tower.patch_embed.forward = MethodType(_multiply_patches, tower.patch_embed)
        if "flash" not in (tower.config._attn_implementation or ""):
            for block in tower.blocks:
                block.attn.forward = MethodType(_attend_together, block.attn)
    return len(towers)


def _multiply_patches(self, hidden_states: torch.Tensor) -> torch.Tensor:
    """`forward` of a Qwen3VLVisionPatchEmbed: values of patches (patches, channels x time x height x width)
    -> (patches, width of the tower).
    """
    weight, bias = self.proj.weight.flatten(1), self.proj.bias
    return linear(hidden_states.view(-1, weight.shape[1]).to(weight.dtype), weight, bias)


def _attend_together(
    self,
    hidden_states: torch.Tensor,
    cu_seqlens: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    **_,
) -> torch.Tensor:
    """`forward` of a Qwen3VLVisionAttention: all pictures' patches (patches, width) -> the same shape.

    Args:
        cu_seqlens: where each picture's patches begin, and the end of the last.
        position_embeddings: cosines and sines of the rotation, each (patches, size of a head).
    """
    from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision

    patches = len(hidden_states)
    query, key, value = self.qkv(hidden_states).view(patches, 3, self.num_heads, -1).unbind(1)
    query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
    lengths = cu_seqlens.diff().tolist()
    pictures = [states.split(lengths) for states in (query, key, value)]
    outputs: list = [None] * len(lengths)
    equal = [[place for place, other in enumerate(lengths) if other == length] for length in set(lengths)]
    # A few at a time: blocks of memory of the same size from step to step, which can be used again.
    for places in (group[i : i + _TOGETHER] for group in equal for i in range(0, len(group), _TOGETHER)):
        # (pictures, heads, patches of one, size of a head)
        query, key, value = (torch.stack([part[i] for i in places]).transpose(1, 2) for part in pictures)
        if self.config._attn_implementation == "eager":
            # Not in float32 as in the library: softmax adds up in float32 anyway, and half the bytes move.
            odds = (query * self.scaling @ key.transpose(2, 3)).softmax(-1)
            attended = odds @ value
        else:
            attended = scaled_dot_product_attention(query, key, value, scale=self.scaling)
        for place, output in zip(places, attended.transpose(1, 2), strict=True):
            outputs[place] = output
    return self.proj(torch.cat(outputs).reshape(patches, -1))
