"""Puts the encoder's vectors, of items and of the user, into a prompt."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor, nn

from core.lm.prompts import NO_ITEM, USER


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
        self.known: np.ndarray | None = None
        """(items,) whose slots are filled; None for all."""
        self.scale = scale
        self.projector = nn.Linear(vectors.shape[1], width)
        nn.init.normal_(self.projector.weight, std=vectors.shape[1] ** -0.5)
        nn.init.zeros_(self.projector.bias)

    def leave_empty(self, items: Collection[int]) -> None:
        """Adds nothing at the slots of these items from now on: the encoder never met them."""
        self.known = np.ones(len(self.item_vectors), dtype=np.bool_)
        self.known[list(items)] = False

    def forward(self, hidden: Tensor, slots: np.ndarray) -> Tensor:
        """`hidden`, (batch, T, width), with the vectors of `slots`, (batch, T), where these are items."""
        if self.known is not None:
            slots = np.where((slots >= 0) & self.known[slots], slots, NO_ITEM)
        items = torch.from_numpy(slots).to(hidden.device)
        at = items >= 0
        added = torch.zeros_like(hidden)
        added[at] = (self.projector(self.item_vectors[items[at]]) * self.scale).to(hidden.dtype)
        return hidden + added


class UserSlot(nn.Module):
    """Adds the encoder's vector of the user, through a projector of its own, at the question's slot.

    Args:
        size: of the user's vector.
        width: of the language model's states.
        scale: typical size of the states that the vector is added to.
    """

    def __init__(self, size: int, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.projector = nn.Linear(size, width)
        nn.init.normal_(self.projector.weight, std=size**-0.5)
        nn.init.zeros_(self.projector.bias)

    def forward(self, hidden: Tensor, slots: np.ndarray, z: Tensor) -> Tensor:
        """`hidden`, (batch, T, width), with z, (batch, size), through the projector; all z of one size."""
        at = torch.from_numpy(slots == USER).to(hidden.device)[:, :, None]
        even = z.float() / z.float().square().mean(dim=-1, keepdim=True).sqrt().clamp_min(1e-6)
        added = (self.projector(even) * self.scale).to(hidden.dtype)
        found: Tensor = hidden + at * added[:, None, :]
        return found
