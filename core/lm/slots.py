"""Puts the encoder's item vectors into a prompt."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class ItemSlots(nn.Module):
    """Adds the encoder's item vectors, through a small projector, at the slots of a prompt (paper §3.1).

    Args:
        item_vectors: (items, d), frozen.
        width: of the language model's states.
        scale: typical size of the states that the vectors are added to.
    """

    item_vectors: Tensor

    def __init__(self, item_vectors: Tensor, width: int, scale: float) -> None:
        super().__init__()
        vectors = item_vectors.detach().float()
        self.register_buffer("item_vectors", vectors / vectors.square().mean().sqrt(), persistent=False)
        self.scale = scale
        self.projector = nn.Linear(vectors.shape[1], width)
        nn.init.normal_(self.projector.weight, std=vectors.shape[1] ** -0.5)
        nn.init.zeros_(self.projector.bias)

    def forward(self, hidden: Tensor, slots: np.ndarray) -> Tensor:
        """`hidden`, (batch, T, width), with the vectors of `slots`, (batch, T), added; -1 adds nothing."""
        items = torch.from_numpy(slots).to(hidden.device)
        at = items >= 0
        added = torch.zeros_like(hidden)
        added[at] = (self.projector(self.item_vectors[items[at]]) * self.scale).to(hidden.dtype)
        return hidden + added
