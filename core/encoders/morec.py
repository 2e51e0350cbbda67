"""MoRec (Yuan et al., 2023): SASRec on titles, as a frozen language model reads them, in place of ids."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config.settings import EncoderConfig
from core.encoders.sasrec import SASRec


class MoRec(SASRec):
    """SASRec without id embeddings: a learned projection of frozen title vectors stands in their place.

    The projection has one hidden layer, as in the paper where features are frozen: a linear one is worth much
    less on validation.

    Args:
        titles: (items, t) frozen vectors of the titles.
        withheld: items whose titles decide nothing about how titles are scaled.
        config: SASRec's settings.
        max_history: items read.
    """

    kind = "morec"
    titles: Tensor

    def __init__(
        self, titles: Tensor, config: EncoderConfig, max_history: int, withheld: Collection[int] = ()
    ) -> None:
        super().__init__(0, config, max_history)  # of the id embeddings only the padding is left
        known = torch.ones(len(titles), dtype=torch.bool)
        known[list(withheld)] = False
        spread = titles[known].std(dim=0, keepdim=True).clamp_min(1e-6)
        self.register_buffer("titles", (titles - titles[known].mean(dim=0, keepdim=True)) / spread)
        hidden = nn.Linear(titles.shape[1], 4 * config.width)
        last = nn.Linear(4 * config.width, config.width)
        nn.init.normal_(last.weight, std=0.005)  # items start about as small as id embeddings do
        nn.init.zeros_(last.bias)
        self.projection = nn.Sequential(hidden, nn.GELU(), last)

    def embed(self, ids: Tensor) -> Tensor:
        """The projected title vectors of shifted ids, the padding's embedding where they pad."""
        return F.embedding(ids, torch.cat([self.items.weight, self.item_vectors()]))

    def settle_withheld(self, withheld: Tensor) -> None:
        """Every item has its title's vector, whether training met it or not."""
        del withheld

    def item_vectors(self) -> Tensor:
        """(items, width), the projected title vectors."""
        vectors: Tensor = self.projection(self.titles)
        return vectors
