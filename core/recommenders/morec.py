"""MoRec (Yuan et al., 2023): SASRec on titles, as a frozen language model reads them, in place of ids."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from core.config import EncoderConfig
from core.llm import load_llm
from core.recommenders.base import Task
from core.recommenders.encoders import ENCODER_FILE, EncoderRecommender, Recipe, readable, take_weights
from core.recommenders.sasrec import SASRec
from core.title_vectors import title_vectors


class MoRec(SASRec):
    """SASRec without id embeddings: a learned projection of frozen title vectors stands in their place.

    The projection has one hidden layer, as in the paper where features are frozen: a linear one is worth much
    less on validation.

    Args:
        titles: (items, t) frozen vectors of the titles.
        config: SASRec's settings.
    """

    kind = "morec"
    titles: Tensor

    def __init__(self, titles: Tensor, config: EncoderConfig) -> None:
        super().__init__(0, config)  # of the id embeddings only the padding is left
        spread = titles.std(dim=0, keepdim=True).clamp_min(1e-6)
        self.register_buffer("titles", (titles - titles.mean(dim=0, keepdim=True)) / spread)
        hidden = nn.Linear(titles.shape[1], 4 * config.width)
        last = nn.Linear(4 * config.width, config.width)
        nn.init.normal_(last.weight, std=0.005)  # items start about as small as id embeddings do
        nn.init.zeros_(last.bias)
        self.projection = nn.Sequential(hidden, nn.GELU(), last)

    def embed(self, ids: Tensor) -> Tensor:
        """The projected title vectors of shifted ids, the padding's embedding where they pad."""
        return F.embedding(ids, torch.cat([self.items.weight, self.item_vectors()]))

    def item_vectors(self) -> Tensor:
        """(items, width), the projected title vectors."""
        vectors: Tensor = self.projection(self.titles)
        return vectors


class MoRecRecommender(EncoderRecommender):
    """MoRec as a method: the language model reads every title once, and is not needed to answer."""

    name = "morec"
    uses_llm = True

    def recipe(self, task: Task) -> Recipe:
        """Reads the titles."""
        llm = load_llm(task.config.model, task.emit)
        titles = title_vectors(llm, task.dataset.catalogue.titles, task.emit)
        digest = hashlib.sha256(titles.numpy().tobytes()).hexdigest()
        return Recipe(self.name, lambda config: MoRec(titles, config), (digest,))

    def load(self, folder: Path, task: Task) -> None:
        """Reads the weights, the title vectors among them; the language model is not loaded."""
        with readable(folder / ENCODER_FILE):
            weights = load_file(folder / ENCODER_FILE)
            self.model = MoRec(torch.zeros_like(weights["titles"]), task.config.encoder)
            take_weights(self.model, folder / ENCODER_FILE)
        self.model.freeze()
