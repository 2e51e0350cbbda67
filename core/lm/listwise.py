"""Listwise ranking: one packed forward scores all candidates of a user, each in a branch of its own.

The frozen lower layers read every title once, by itself, after the preamble; what they make of it is kept.
The adapted upper layers read the whole prompt. With all layers adapted, the lower part is the embedding.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from core.lm.decoder import EndReader
from core.lm.prompts import ListwisePrompt
from core.lm.slots import ItemSlots, UserSlot
from core.lm.states import SegmentStates


class ListwiseRanker(nn.Module):
    """Scores candidates with the language model's upper layers; holds what is trained beside the adapter.

    Args:
        states: the lower layers' work.
        upper: a view of the upper layers, final norm included.
        item_vectors: (items, d) frozen vectors of the sequence encoder.
        prior: whether the encoder's logits are added with a learned weight. The head starts at zero, so that
            training starts from the encoder's ranking.
        user: size of the user's vector in the question; 0 for a prompt without it.
    """

    def __init__(
        self, states: SegmentStates, upper: nn.Module, item_vectors: Tensor, prior: bool, user: int = 0
    ) -> None:
        super().__init__()
        self._parts = (states, EndReader(upper))  # a tuple: neither is trained here
        self.slots = ItemSlots(item_vectors, states.llm.width, states.scale())
        self.head = nn.Linear(states.llm.width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.prior = nn.Parameter(torch.ones(())) if prior else None
        if not prior:
            nn.init.normal_(self.head.weight, std=states.llm.width**-0.5)
        # Last, so that everything before starts the same with and without it.
        self.user = UserSlot(user, states.llm.width, states.scale()) if user else None

    def withhold(self, items: Collection[int]) -> None:
        """Leaves the slots of items empty that the encoder never met."""
        self.slots.leave_empty(items)

    @property
    def prompt(self) -> ListwisePrompt:
        """How histories and candidates become rows."""
        return self._parts[0].prompt

    def forward(
        self,
        histories: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[int]],
        prior: Tensor | None,
        z: Tensor | None = None,
    ) -> Tensor:
        """(batch, C) scores.

        Args:
            histories: item sequences, oldest first.
            candidates: C items each.
            prior: (batch, C) the encoder's logits; used only by a ranker that was made with the prior.
            z: (batch, user) the users' vectors; used only by a ranker that was made with their size.
        """
        states, read = self._parts
        states.ensure(np.concatenate([np.asarray(row, dtype=np.int64) for row in (*histories, *candidates)]))
        packed = states.prompt.pack(histories, candidates)
        hidden = self.slots(states.gather(packed), packed.slots)
        if self.user is not None:
            if z is None:
                raise RuntimeError("this ranker's prompt holds the user's vector and was given none")
            hidden = self.user(hidden, packed.slots, z)
        last = read(hidden, packed)  # (batch, C, width)
        scores: Tensor = self.head(last.float()).squeeze(-1)
        if self.prior is None:
            return scores
        if prior is None:
            raise RuntimeError("this ranker adds the encoder's scores and was given none")
        return scores + self.prior * prior
