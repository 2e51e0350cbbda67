"""eSASRec (Tikhonovich et al., 2025): SASRec with gated layers, the best of many changes to it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config.settings import EncoderConfig
from core.encoders.base import PAD, Encoder, unseen

WIDENED = 4
"""Hidden channels of a feed-forward part over the encoder's width: the paper's choice for MovieLens."""


class LigrLayer(nn.Module):
    """Attention and a SwiGLU, each added as far as a gate of the layer's input lets it through.

    From arXiv 2502.03417 as eSASRec (arXiv 2508.06450, §2.2) uses it: norms before each part, gates that read
    the state before its norm, no biases in the SwiGLU.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.gate1, self.gate2 = nn.Linear(width, width), nn.Linear(width, width)
        self.up = nn.Linear(width, 2 * WIDENED * width, bias=False)
        self.down = nn.Linear(WIDENED * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """The states after the layer, (batch, length, width); the mask is (batch x heads, length, length)."""
        normed = self.norm1(x)
        mixed, _ = self.attention(normed, normed, normed, attn_mask=mask, need_weights=False)
        x = x + torch.sigmoid(self.gate1(x)) * self.dropout(mixed)
        hidden, linear = self.up(self.norm2(x)).chunk(2, dim=-1)
        found = self.down(self.dropout(F.silu(hidden) * linear))
        out: Tensor = x + torch.sigmoid(self.gate2(x)) * self.dropout(found)
        return out


class ESASRec(Encoder):
    """Self-attention over the last items in gated layers; an item's output vector is its input vector.

    The paper trains it with a softmax over 256 sampled negatives, for its catalogues are large; here it is
    the full softmax with which every encoder is trained, and which such samples stand for.
    """

    kind = "esasrec"

    def __init__(self, items: int, config: EncoderConfig, max_history: int) -> None:
        super().__init__(config, max_history)
        self.items = nn.Embedding(items + 1, config.width, padding_idx=PAD)
        self.positions = nn.Embedding(max_history, config.width)
        self.blocks = nn.ModuleList(
            LigrLayer(config.width, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_normal_(parameter)
        for name, parameter in self.named_parameters():
            if name.endswith("up.weight"):
                for half in parameter.chunk(2):  # two matrices in one
                    nn.init.xavier_normal_(half)
        with torch.no_grad():
            self.items.weight[PAD].zero_()

    def forward(self, ids: Tensor) -> Tensor:
        """The state after each item, (batch, length, width), for shifted, left-padded ids (batch, length)."""
        states: Tensor = self.dropout(self.items(ids) + self.positions.weight[-ids.shape[1] :])
        mask = unseen(ids).repeat_interleave(self.config.heads, dim=0)
        for block in self.blocks:
            states = block(states, mask)
        return states
