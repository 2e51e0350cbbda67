"""What sequence encoders share: how they are asked, and where each kind is found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from core.config.checks import check_choice
from core.config.choices import ENCODERS
from core.config.settings import EncoderConfig

PAD = 0


class Encoder(nn.Module, ABC):
    """Reads a history into a vector z that is compared with the items' vectors.

    Item ids are shifted by one, 0 pads on the left. A subclass has an embedding `items` and says how the
    states of a row come about; the rest is the same for all.
    """

    kind: ClassVar[str]
    items: nn.Embedding

    def __init__(self, config: EncoderConfig, max_history: int) -> None:
        super().__init__()
        self.config = config
        self.max_history = max_history
        """Items read, the last ones of a history: as many as the dataset's rules say."""
        self.frozen = False

    @abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """The state after each item, which knows nothing of later ones.

        Args:
            ids: (batch, length) shifted item ids, left-padded; length <= max_history.

        Returns:
            (batch, length, width).
        """

    @property
    def width(self) -> int:
        """Length of z and of an item's vector."""
        return self.config.width

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.items.weight.device

    def represent(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """z, (batch, width): the state after the last item of each history."""
        states: Tensor = self(self.batch(histories))
        return states[:, -1]

    def item_vectors(self) -> Tensor:
        """(items, width), the catalogue's vectors without the padding row."""
        return self.items.weight[1:]

    def logits(self, z: Tensor) -> Tensor:
        """Scores of the whole catalogue: (n, items) for z (n, width)."""
        return z @ self.item_vectors().T

    def score(self, z: Tensor, candidates: Tensor) -> Tensor:
        """Logits of candidates: (batch, c) for z (batch, width) and unshifted ids (batch, c)."""
        return torch.einsum("bd,bcd->bc", z, self.item_vectors()[candidates])

    @torch.no_grad()
    def settle_withheld(self, withheld: Tensor) -> None:
        """Gives items that training never meets the mean vector of all others: nothing else is known of them.

        Args:
            withheld: (items,) true for those items.
        """
        take_mean(self.items.weight[1:], withheld)

    def batch(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Shifted, left-padded ids, (batch, max_history), of the last items of each history."""
        ids = np.full((len(histories), self.max_history), PAD, dtype=np.int64)
        for row, history in zip(ids, histories, strict=True):
            kept = np.asarray(history[-self.max_history :], dtype=np.int64)
            if len(kept):
                row[-len(kept) :] = kept + 1
        return torch.from_numpy(ids).to(self.device)

    def freeze(self) -> Self:
        """Itself in evaluation mode without gradients, for good: what may feed a gate."""
        self.frozen = True
        return self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Training mode, unless frozen: the vectors that a gate reads never go through dropout."""
        return super().train(mode and not self.frozen)


def unseen(ids: Tensor) -> Tensor:
    """(batch, query, key) true where an item does not see another: what comes later, and padding.

    Args:
        ids: (batch, length) shifted, left-padded; padding sees itself, or it would be no number.
    """
    length = ids.shape[1]
    future = torch.ones(length, length, dtype=torch.bool, device=ids.device).triu(1)
    itself = torch.eye(length, dtype=torch.bool, device=ids.device)
    return (future | (ids == PAD)[:, None, :]) & ~itself


def take_mean(rows: Tensor, at: Tensor) -> None:
    """Sets the rows where `at`, (n,), is true to the mean of all others."""
    rows[at] = rows[~at].mean(dim=0)


def new_encoder(kind: str, items: int, config: EncoderConfig, max_history: int) -> Encoder:
    """An untrained encoder of a kind, initialized from torch's generator, that reads so many items.

    Raises:
        InputError: there is no such kind.
    """
    check_choice(kind, tuple(ENCODERS), "encoder")
    module, name = ENCODERS[kind].split(":")
    made: Encoder = getattr(import_module(module), name)(items, config, max_history)
    return made
