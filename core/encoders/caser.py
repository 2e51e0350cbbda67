"""Caser (Tang and Wang, 2018): the last items as an image, read by horizontal and vertical convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config.settings import EncoderConfig
from core.encoders.base import PAD, Encoder, take_mean

HORIZONTAL = 16
"""Filters of each height, as in the authors' code."""
VERTICAL = 4
"""Vertical filters, as in the authors' code."""


class Caser(Encoder):
    """Convolutions over the matrix of the last max_history items' embeddings (paper §3.2).

    Items have output vectors and biases of their own, as in the paper. Its user embedding is left out: users
    who are asked were not trained on. One next item is predicted at a time (the paper's skips are T = 1), and
    by full softmax, as with every encoder here.
    """

    kind = "caser"

    def __init__(self, items: int, config: EncoderConfig, max_history: int) -> None:
        super().__init__(config, max_history)
        span, width = max_history, config.width
        self.items = nn.Embedding(items + 1, width, padding_idx=PAD)
        self.horizontal = nn.ModuleList(nn.Conv1d(width, HORIZONTAL, height) for height in range(1, span + 1))
        self.vertical = nn.Conv2d(1, VERTICAL, (span, 1))
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(VERTICAL * width + HORIZONTAL * span, width)
        self.outputs = nn.Embedding(items, width)
        self.bias = nn.Parameter(torch.zeros(items))
        nn.init.normal_(self.items.weight, std=1 / width)
        nn.init.normal_(self.outputs.weight, std=1 / width)
        with torch.no_grad():
            self.items.weight[PAD].zero_()

    def forward(self, ids: Tensor) -> Tensor:
        """The state after each item, (batch, length, width), for shifted, left-padded ids (batch, length).

        The windows that end at the row's items overlap; what they share is convolved once.
        """
        length, span = ids.shape[1], self.max_history
        image = F.pad(self.items(ids), (0, 0, span - 1, 0))  # (batch, span - 1 + length, width)
        found = []
        for height, convolution in enumerate(self.horizontal, 1):
            values = F.relu(convolution(image.mT))  # (batch, HORIZONTAL, span + length - height)
            found.append(F.max_pool1d(values, span - height + 1, stride=1))  # (batch, HORIZONTAL, length)
        columns = self.vertical(image[:, None])  # (batch, VERTICAL, length, width)
        read = torch.cat([*(part.mT for part in found), columns.transpose(1, 2).flatten(2)], dim=-1)
        assert read.shape[1] == length
        states: Tensor = F.relu(self.hidden(self.dropout(read)))
        return states

    def item_vectors(self) -> Tensor:
        """(items, width), the output vectors, which z is compared with."""
        return self.outputs.weight

    @torch.no_grad()
    def settle_withheld(self, withheld: Tensor) -> None:
        """Items that training never meets get the mean of both vectors and of the bias."""
        super().settle_withheld(withheld)
        take_mean(self.outputs.weight, withheld)
        take_mean(self.bias, withheld)

    def logits(self, z: Tensor) -> Tensor:
        """Scores of the whole catalogue with the items' biases: (n, items) for z (n, width)."""
        return super().logits(z) + self.bias

    def score(self, z: Tensor, candidates: Tensor) -> Tensor:
        """Logits of candidates: (batch, c) for z (batch, width) and unshifted ids (batch, c)."""
        return super().score(z, candidates) + self.bias[candidates]
