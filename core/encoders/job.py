"""Trains a sequence encoder, by full softmax or towards a teacher's scores, and scores samples with it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from core.data.types import Sample
from core.encoders.base import PAD, Encoder
from core.errors import Interrupted
from core.evaluation.metrics import Scores, ranks_from_scores, summarize
from core.events import ShouldStop, never

LIKENESS, SAME_FIRST = "likeness", "same first"
"""What validation says of a student: minus the divergence from its teacher, and how often both have the same
candidate first."""


class EncoderTraining:
    """What every training of an encoder shares: all of it but the loss.

    Args:
        model: what is trained.
        validation: cases with candidates.
        withheld: items that training never meets; they get the encoder's vector for such items.
    """

    def __init__(self, model: Encoder, validation: Sequence[Sample], withheld: Collection[int] = ()) -> None:
        self.model, self.validation = model, validation
        self.withheld: Tensor | None = None
        """(items,) true for withheld ones; None where there are none."""
        if withheld:
            self.withheld = torch.zeros(len(model.item_vectors()), dtype=torch.bool)
            self.withheld[list(withheld)] = True

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group: everything."""
        config = self.model.config
        return [{"params": list(self.model.parameters()), "rate": 1.0, "weight_decay": config.weight_decay}]

    def length(self, sample: int, epoch: int) -> int:
        """All samples count the same."""
        del sample, epoch
        return 0

    def validate(self, should_stop: ShouldStop) -> dict[str, float]:
        """Ranking metrics over the validation candidates."""
        if should_stop():
            raise Interrupted
        self.settle()
        scores = score_samples(self.model, self.validation)
        metrics = summarize(ranks_from_scores(scores, target_columns(self.validation)))
        return {**metrics, "n": float(len(self.validation))}

    def settle(self) -> None:
        """Gives withheld items what the encoder has for them."""
        if self.withheld is not None:
            self.model.settle_withheld(self.withheld.to(self.model.items.weight.device))

    def baseline(self) -> dict[str, float] | None:
        """An untrained encoder is worth nothing."""
        return None

    def state(self) -> dict[str, Tensor]:
        """All weights."""
        return self.model.state_dict()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        self.model.load_state_dict(state)

    def gate(self) -> None:
        """There is no gate."""
        return None


class EncoderJob(EncoderTraining):
    """Trains an encoder to predict every next item of the training users by cross-entropy over the catalogue.

    A user's sequence is cut into pieces of max_history + 1 items; where it is cut changes every epoch, so
    that every item is met with histories of every length. A training sample is one piece.

    Args:
        model: what is trained.
        sequences: the users' items, oldest first, none of them withheld.
        validation: cases with candidates.
        seed: of the cuts.
        withheld: items that are not even predicted against; they get the encoder's vector for such items.
    """

    def __init__(
        self,
        model: Encoder,
        sequences: list[np.ndarray],
        validation: Sequence[Sample],
        seed: int,
        withheld: Collection[int] = (),
    ) -> None:
        super().__init__(model, validation, withheld)
        self.seed = seed
        self.window = model.max_history
        self.lengths = np.array([len(items) for items in sequences], dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.flat = np.concatenate([np.asarray(items, dtype=np.int64) for items in sequences])
        pieces = -(-(self.lengths - 1) // self.window) + 1
        self.user = np.repeat(np.arange(len(sequences)), pieces)
        self.piece = np.arange(len(self.user)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        self._cuts: dict[int, npt.NDArray[np.int64]] = {}

    def __len__(self) -> int:
        """Number of pieces."""
        return len(self.user)

    def cuts(self, epoch: int) -> npt.NDArray[np.int64]:
        """(pieces, max_history + 1) shifted ids of every piece in an epoch, left-padded; some are empty."""
        if epoch not in self._cuts:
            self._cuts = {known: cut for known, cut in self._cuts.items() if known == epoch - 1}
            self._cuts[epoch] = self._cut(epoch)
        return self._cuts[epoch]

    def _cut(self, epoch: int) -> npt.NDArray[np.int64]:
        draws = (np.random.default_rng((self.seed, epoch, user)) for user in range(len(self.lengths)))
        shifts = np.array([draw.integers(self.window) for draw in draws])
        first = self.piece * self.window - shifts[self.user]
        end = np.minimum(first + self.window + 1, self.lengths[self.user])
        places = end[:, None] + np.arange(-self.window - 1, 0)
        real = places >= np.maximum(0, first)[:, None]
        ids = self.flat[np.where(real, self.starts[self.user][:, None] + places, 0)] + 1
        return np.where(real, ids, PAD)

    def terms(self, samples: Sequence[int], epoch: int) -> int:
        """Number of predicted items."""
        return int((self.cuts(epoch)[samples, :-1] != PAD).sum())

    @contextmanager
    def loss(self, samples: Sequence[int], epoch: int) -> Iterator[tuple[Tensor, int]]:
        """Summed cross-entropy over the whole catalogue, and the number of predicted items."""
        self.model.train()
        rows = self.cuts(epoch)[samples]
        rows = rows[(rows[:, :-1] != PAD).any(axis=1)]
        if not len(rows):
            yield torch.zeros(()), 0
            return
        ids = torch.from_numpy(rows).to(self.model.items.weight.device)
        inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:]
        real = inputs != PAD
        logits = self.model.logits(self.model(inputs)[real])
        if self.withheld is not None:
            logits = logits.masked_fill(self.withheld.to(logits.device), -torch.inf)
        yield F.cross_entropy(logits, targets[real] - 1, reduction="sum"), int(real.sum())


class Scored(NamedTuple):
    """What a teacher makes of candidates for n histories."""

    histories: Sequence[Sequence[int]]
    candidates: npt.NDArray[np.int64]
    """(n, c)."""
    scores: Scores
    """(n, c)."""


class DistilJob(EncoderTraining):
    """Trains an encoder that knows something already to score candidates as a teacher does.

    The loss is the divergence between the distributions that both sides' scores make of the candidates, each
    divided by a temperature (arXiv 1503.02531); it is 0 where they agree. Validation says how alike both rank
    for validation users.

    Args:
        model: what is trained.
        taught: what is learnt.
        held: what the teacher makes of validation cases.
        validation: cases with candidates.
        temperature: what scores are divided by.
        withheld: items that no list of candidates holds.
    """

    def __init__(
        self,
        model: Encoder,
        taught: Scored,
        held: Scored,
        validation: Sequence[Sample],
        temperature: float,
        withheld: Collection[int] = (),
    ) -> None:
        super().__init__(model, validation, withheld)
        self.histories, self.held, self.temperature = taught.histories, held, temperature
        self.candidates = torch.from_numpy(taught.candidates)
        self.taught = torch.from_numpy(taught.scores)

    def __len__(self) -> int:
        """Number of histories."""
        return len(self.histories)

    def terms(self, samples: Sequence[int], epoch: int) -> int:
        """One for each history."""
        del epoch
        return len(samples)

    @contextmanager
    def loss(self, samples: Sequence[int], epoch: int) -> Iterator[tuple[Tensor, int]]:
        """Summed divergence from the teacher, times the squared temperature, and the number of histories."""
        del epoch
        self.model.train()
        rows = torch.tensor(samples)
        device = self.model.device
        z = self.model.represent([self.histories[sample] for sample in samples])
        own = self.model.score(z, self.candidates[rows].to(device))
        yield self._away(own, self.taught[rows].to(device)), len(samples)

    def validate(self, should_stop: ShouldStop) -> dict[str, float]:
        """Ranking metrics over the validation candidates, and how like the teacher it is there."""
        metrics = super().validate(should_stop)
        own = score_lists(self.model, self.held.histories, self.held.candidates)
        away = float(self._away(torch.from_numpy(own), torch.from_numpy(self.held.scores))) / len(own)
        same = float((own.argmax(1) == self.held.scores.argmax(1)).mean())
        return {**metrics, LIKENESS: -away, SAME_FIRST: same}

    def _away(self, own: Tensor, taught: Tensor) -> Tensor:
        """The summed divergence of scores (n, c) from a teacher's, times the squared temperature."""
        ours, theirs = ((scores / self.temperature).log_softmax(dim=1) for scores in (own, taught))
        return F.kl_div(ours, theirs, reduction="sum", log_target=True) * self.temperature**2

    def baseline(self) -> dict[str, float]:
        """What it is worth before it was taught anything."""
        return self.validate(never)


def target_columns(samples: Sequence[Sample]) -> np.ndarray:
    """(n,) where each sample's target stands among its candidates."""
    return np.array([sample.candidates.index(sample.target) for sample in samples], dtype=np.int64)


def score_samples(model: Encoder, samples: Sequence[Sample]) -> Scores:
    """(n, c) the encoder's scores of the samples' candidates; the model is left in evaluation mode."""
    return score_lists(
        model, [sample.history for sample in samples], [sample.candidates for sample in samples]
    )


@torch.no_grad()
def score_lists(
    model: Encoder,
    histories: Sequence[Sequence[int]],
    candidates: Sequence[Sequence[int]] | npt.NDArray[np.int64],
) -> Scores:
    """(n, c) the encoder's scores of candidates (n, c); the model is left in evaluation mode."""
    model.eval()
    z = model.represent(histories)
    ids = torch.tensor(np.asarray(candidates, dtype=np.int64), device=z.device)
    return model.score(z, ids).float().cpu().numpy()
