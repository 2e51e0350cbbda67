"""Encoders of several datasets as one: each reads the histories of its own, in a place of its own in z.

z and the items' vectors are as wide as those of all encoders together, zero but for one encoder's part. So a
linear map of them, such as the gate's or the item slots', is a learned map for each dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from core.encoders.base import PAD, Encoder

ELSEWHERE = -1e4
"""The score of an item of another dataset than the history's: below all scores there are."""


class JoinedEncoder(Encoder):
    """Trained encoders side by side, in the order of their datasets' items.

    Args:
        parts: an encoder for each dataset, all equally wide.
        items: how many items each dataset has.
    """

    kind = "joined"

    def __init__(self, parts: Sequence[Encoder], items: Sequence[int]) -> None:
        super().__init__(parts[0].config, max(part.max_history for part in parts))
        self.parts = nn.ModuleList(parts)
        self.starts = [0, *accumulate(items)]
        """Where each dataset's items begin, and where the last one's end."""

    @property
    def encoders(self) -> list[Encoder]:
        """The encoder of each dataset."""
        return list(self.parts)  # type: ignore[arg-type]

    @property
    def width(self) -> int:
        """Length of z and of an item's vector: that of all encoders together."""
        return sum(part.width for part in self.encoders)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.encoders[0].device

    def forward(self, ids: Tensor) -> Tensor:
        """The states of each row, (batch, length, width), in the place of the encoder of its last item."""
        last = ids[:, -1] - 1
        states = torch.zeros(*ids.shape, self.width, device=ids.device)
        for number, (part, place) in enumerate(zip(self.encoders, self._places(), strict=True)):
            start, end = self.starts[number : number + 2]
            rows = torch.nonzero((last >= start) & (last < end))[:, 0]
            if len(rows):
                own = ids[rows][:, -part.max_history :]
                read = part(torch.where(own == PAD, PAD, own - start)).float()
                states[rows, -own.shape[1] :, place] = read
        return states

    def item_vectors(self) -> Tensor:
        """(items, width), the vectors of each dataset of one typical size, in their encoder's place."""
        vectors = [part.item_vectors().float() for part in self.encoders]
        found = torch.zeros(self.starts[-1], self.width, device=self.device)
        for number, (own, place) in enumerate(zip(vectors, self._places(), strict=True)):
            size = own.square().mean().sqrt().clamp_min(1e-6)
            found[self.starts[number] : self.starts[number + 1], place] = own / size
        return found

    def score(self, z: Tensor, candidates: Tensor) -> Tensor:
        """What the history's own encoder says of candidates: (batch, c) for ids (batch, c)."""
        found = torch.full(candidates.shape, ELSEWHERE, device=z.device)
        for number, rows, part, own in self._rows(z):
            start, end = self.starts[number : number + 2]
            ids = candidates[rows]
            scores = part.score(own, (ids - start).clamp(0, end - start - 1)).float()
            found[rows] = torch.where((ids >= start) & (ids < end), scores, ELSEWHERE)
        return found

    def logits(self, z: Tensor) -> Tensor:
        """(n, items) scores of all items; those of other datasets come last."""
        found = torch.full((len(z), self.starts[-1]), ELSEWHERE, device=z.device)
        for number, rows, part, own in self._rows(z):
            found[rows, self.starts[number] : self.starts[number + 1]] = part.logits(own).float()
        return found

    def _places(self) -> list[slice]:
        ends = [0, *accumulate(part.width for part in self.encoders)]
        return [slice(start, end) for start, end in pairwise(ends)]

    def _rows(self, z: Tensor) -> list[tuple[int, Tensor, Encoder, Tensor]]:
        """For each encoder that has some: its number, its rows of z, itself, and its part of these rows."""
        places = self._places()
        number = torch.stack([z[:, place].abs().sum(-1) for place in places], dim=-1).argmax(-1)
        found = []
        for which, (part, place) in enumerate(zip(self.encoders, places, strict=True)):
            rows = torch.nonzero(number == which)[:, 0]
            if len(rows):
                found.append((which, rows, part, z[rows, place]))
        return found
