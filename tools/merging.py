"""Weights of several models made into those of one, where they are trained from the same start.

What `SentenceTransformer.merge(models, method="linear")` does with mergekit; it needs nothing but torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Name -> tensor, copied to the computer's memory.

    Raises:
        ValueError: an adapter is still on: its weights are not those that the model computes with.
    """
    if adapters := [name for name, _ in model.named_parameters() if "lora_" in name]:
        raise ValueError(
            f"An adapter is still on ({adapters[0]}). Add it to the weights first: "
            "model[0].model = model[0].model.merge_and_unload()"
        )
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def interpolate(
    models: Sequence[Mapping[str, torch.Tensor]], shares: Sequence[float]
) -> dict[str, torch.Tensor]:
    """The weighted mean of the models' weights, tensor by tensor, computed in float32.

    Args:
        models: as `weights_of` or `state_dict` gives them. shares: one for each, with a sum of 1.

    Raises:
        ValueError: models of different shapes, or shares that do not fit.
    """
    if len(models) < 2 or len(models) != len(shares) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(
            f"There are {len(models)} models and {len(shares)} shares with a sum of {sum(shares):g}: give "
            "two models or more, and a share for each, with a sum of 1."
        )
    first, *others = models
    for number, other in enumerate(others, 2):
        if adapters := [name for name in (*first, *other) if "lora_" in name]:
            raise ValueError(f"An adapter is still on ({adapters[0]}): merge_and_unload() it first.")
        for name in sorted(first.keys() | other.keys()):
            here, there = (tuple(one[name].shape) if name in one else "missing" for one in (first, other))
            if here != there:
                raise ValueError(
                    f"Models of different shapes have no mean: {name} is {here} in the first model and "
                    f"{there} in model {number}. Merge models that were trained from the same start."
                )
    return {
        name: sum(share * model[name].float() for share, model in zip(shares, models)).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }
