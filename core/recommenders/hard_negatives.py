"""Hard negatives: training candidates from the items that the run's own encoder ranks high for the history.

Among all items, most negatives are easy to tell from what was chosen, and a model that learns from them has
seen nothing of the choice among an encoder's best, which is what reranking a catalogue asks of it.
Negatives drawn by the scores of a model: Rendle & Freudenthaler, "Improving pairwise learning for item
recommendation from implicit feedback", WSDM 2014.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from core.config.choices import HARD_AMONG
from core.data.samples import draw_candidates, trained_on
from core.data.types import Sample
from core.encoders.base import Encoder
from core.recommenders.base import Task
from core.results.rankings import first_places


class HardNegatives:
    """Draws candidates among the encoder's best items that are new to the user.

    Args:
        encoder: the trained encoder that gate and item slots read.
        task: whose training and validation cases are given candidates.
        among: of how many of the best items they are drawn.
    """

    def __init__(self, encoder: Encoder, task: Task, among: int = HARD_AMONG) -> None:
        self.encoder, self.task, self.among = encoder, task, among
        self.known = trained_on(task.dataset, task.samples)
        self.items = frozenset(range(len(task.dataset.catalogue)))

    @torch.no_grad()
    def best(self, case: Sample) -> frozenset[int]:
        """At most `among` items: the highest by the encoder of those new to the user and not withheld.

        The target is none of them, nor is what the user meets later, as where any item may be drawn.
        """
        seen = self.known[case.user].seen | self.task.dataset.sequences[case.user].seen
        left = np.array(sorted(self.items - seen - self.task.samples.withheld - {case.target}))
        scores = self.encoder.logits(self.encoder.represent([case.history]))[0].float().cpu().numpy()[left]
        return frozenset(left[first_places(scores, np.zeros(len(left), dtype=np.bool_), self.among)].tolist())

    def candidates(self, case: Sample, count: int, salt: str, seed: int | None = None) -> tuple[int, ...]:
        """The target among `count - 1` of the encoder's best, each equally likely, at a place of any kind.

        The draw depends on the run's seed, or on the one that is given.

        Raises:
            DataError: fewer items than that are new to the user.
        """
        sequence, others = self.known[case.user], self.items - self.best(case)
        place = (self.task.dataset.name, sequence, case.position, case.target, len(self.items))
        seed = self.task.seed if seed is None else seed
        return draw_candidates(*place, count=count, seed=seed, salt=salt, withheld=others)

    def of_validation(self, case: Sample) -> Sample:
        """A validation case with as many candidates, as hard as training's, whatever the run's seed."""
        seed = self.task.config.data.samples_seed
        return replace(case, candidates=self.candidates(case, len(case.candidates), "validation", seed))
