"""GRU4Rec (Hidasi et al., 2016): a recurrent network over the items' embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.config.settings import EncoderConfig
from core.encoders.base import PAD, Encoder


class GRU4Rec(Encoder):
    """One GRU layer over the last items, as the paper found best, then a linear layer to the items' width.

    An item's output vector is its input vector, the "constrained embedding" of the authors' later code; the
    paper's sampled ranking loss gives way to the full softmax with which every encoder here is trained.
    """

    kind = "gru4rec"

    def __init__(self, items: int, config: EncoderConfig, max_history: int) -> None:
        super().__init__(config, max_history)
        self.items = nn.Embedding(items + 1, config.width, padding_idx=PAD)
        self.gru = nn.GRU(config.width, 2 * config.width, batch_first=True)
        self.output = nn.Linear(2 * config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.items.weight, std=0.02)
        with torch.no_grad():
            self.items.weight[PAD].zero_()

    def forward(self, ids: Tensor) -> Tensor:
        """The state after each item, (batch, length, width), for shifted, left-padded ids (batch, length).

        Rows are turned so that their padding comes last: the network starts at the first item.
        """
        length = ids.shape[1]
        padding = (ids == PAD).sum(dim=1, keepdim=True)
        place = torch.arange(length, device=ids.device)
        turned = ids.gather(1, (place + padding) % length)
        states, _ = self.gru(self.dropout(self.items(turned)))  # (batch, length, 2 width)
        back = ((place - padding) % length)[..., None].expand(-1, -1, states.shape[-1])
        out: Tensor = self.output(self.dropout(states.gather(1, back)))
        return out
