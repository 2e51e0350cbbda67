"""SASRec (Kang and McAuley, 2018): self-attention over the last items; what the paper's gate reads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.config.settings import EncoderConfig
from core.encoders.base import PAD, Encoder, unseen


class SASRec(Encoder):
    """Self-attention over the last items; an item's output vector is its input vector."""

    kind = "sasrec"

    def __init__(self, items: int, config: EncoderConfig, max_history: int) -> None:
        super().__init__(config, max_history)
        self.items = nn.Embedding(items + 1, config.width, padding_idx=PAD)
        self.positions = nn.Embedding(max_history, config.width)
        block = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            4 * config.width,
            config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(block, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        with torch.no_grad():
            self.items.weight[PAD].zero_()

    def embed(self, ids: Tensor) -> Tensor:
        """The items' input vectors, (batch, length, width)."""
        vectors: Tensor = self.items(ids)
        return vectors

    def forward(self, ids: Tensor) -> Tensor:
        """The state after each item, (batch, length, width), for shifted, left-padded ids (batch, length)."""
        hidden = self.dropout(self.embed(ids) + self.positions.weight[-ids.shape[1] :])
        mask = unseen(ids).repeat_interleave(self.config.heads, dim=0)
        states: Tensor = self.norm(self.blocks(hidden, mask=mask))
        return states
