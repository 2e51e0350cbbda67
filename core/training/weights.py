"""Refuses saved weights that would load and then silently make every score meaningless."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from core.errors import ModelError

_ANEW = "copy the folder anew, or train again"


def check_weights(saved: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str) -> None:
    """Raises `ModelError` for the first saved weight that cannot take its place.

    Missing and unknown names are left to the one who loads. Whole numbers in place of fractions, and numbers
    that are not finite, would not fail by themselves: the scores would be nan, and every rank made up.

    Args:
        saved: what a file holds.
        own: what it is to replace.
        what: whose weights they are, for the message.
    """
    for name, tensor in saved.items():
        mine = own.get(name)
        if mine is None:
            continue
        if tensor.shape != mine.shape:
            shapes = f"shape {tuple(tensor.shape)}, not {tuple(mine.shape)}"
            raise ModelError(f"{what}: the saved {name} has {shapes}", _ANEW)
        if tensor.is_floating_point() != mine.is_floating_point():
            raise ModelError(f"{what}: the saved {name} is of type {tensor.dtype}, not {mine.dtype}", _ANEW)
        if not torch.isfinite(tensor.float()).all():
            raise ModelError(f"{what}: the saved {name} holds numbers that are not finite", _ANEW)
