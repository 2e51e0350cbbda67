"""A few gates in place of each history's own: k-means of omega, so that N adapters serve everybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.errors import Interrupted
from core.evaluation.clusters import distances, k_means
from core.ilora.folding import Update
from core.ilora.gate import GivenGate, GivenInput
from core.ilora.model import AdaptedModel
from core.stages import UNWATCHED, Watch

Histories = Sequence[Sequence[int]]
Omega = npt.NDArray[np.float32]
"""(n, sites, K)."""
BATCH = 64
"""Histories whose gate is read at once."""


@torch.no_grad()
def read_gates(model: AdaptedModel, histories: Histories, watch: Watch = UNWATCHED) -> Omega:
    """The gate's own weights for each history.

    Raises:
        Interrupted: the watch asked to stop.
    """
    assert model.gate is not None
    parts = [np.empty((0, model.gate.sites, model.gate.experts), dtype=np.float32)]
    stage = watch.stage("gates", len(histories))
    for start in range(0, len(histories), BATCH):
        if watch.should_stop():
            raise Interrupted
        some = histories[start : start + BATCH]
        parts.append(model.omega(model.gate, some).float().cpu().numpy())
        stage.advance(len(some))
    return np.concatenate(parts)


@contextmanager
def given_gates(model: AdaptedModel, given: Mapping[tuple[int, ...], Omega]) -> Iterator[None]:
    """The model with weights that were decided beforehand in its gate's place.

    Args:
        model: with a gate; it has its own back after the block.
        given: history -> omega, (sites, K); of every history that is asked about in the block.
    """
    gate, device = model.gate, model.llm.device
    assert gate is not None

    def weights(histories: Histories) -> Tensor:
        return torch.from_numpy(np.stack([given[tuple(history)] for history in histories])).to(device)

    own = gate, model.gate_input
    model.gate, model.gate_input = GivenGate(gate.experts, gate.sites), GivenInput(weights)
    try:
        yield
    finally:
        model.gate, model.gate_input = own


@dataclass(frozen=True)
class GateClusters:
    """N gates for all histories."""

    centres: Omega
    """(N, sites, K)."""

    def labels(self, omega: Omega) -> npt.NDArray[np.int64]:
        """(n,) the nearest centre of each history's own weights."""
        away = distances(omega.reshape(len(omega), -1), self._flat())
        found: npt.NDArray[np.int64] = away.argmin(axis=1).astype(np.int64)
        return found

    def nearest(self, omega: Omega) -> Omega:
        """The centre nearest to each history's own weights, in their place."""
        return self.centres[self.labels(omega)]

    def _flat(self) -> npt.NDArray[np.float64]:
        return self.centres.reshape(len(self.centres), -1).astype(np.float64)


def cluster_gates(omega: Omega, count: int, seed: int = 0) -> GateClusters:
    """The centres of a k-means of histories' weights; fewer than `count` where fewer are different."""
    centres = k_means(omega.reshape(len(omega), -1), count, seed).centres
    return GateClusters(centres.reshape(-1, *omega.shape[1:]).astype(np.float32))


def folded_for(model: AdaptedModel, omega: Omega) -> dict[str, Update]:
    """The adapter of given weights, (sites, K), as a plain LoRA."""
    with given_gates(model, {(0,): omega}):
        return model.folded((0,))
