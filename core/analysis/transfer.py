"""Negative transfer (paper §2): whether kinds of users pull the same adapter in different directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.data.types import Sample
from core.errors import Interrupted
from core.events import StageStarted, StepLogged
from core.ilora.model import AdaptedModel
from core.recommenders.adapter import AdapterJob
from core.recommenders.base import Task


@dataclass(frozen=True)
class Transfer:
    """How alike the clusters' gradients of one run's adapter are."""

    method: str
    similarity: npt.NDArray[np.float64]
    """(k, k) cosine between two clusters' gradients; on the diagonal, between two halves of one cluster."""
    windows: tuple[int, ...]
    """Training windows behind each cluster's gradient."""
    parameters: int
    """Length of a gradient: A and B of all adapted layers."""

    @property
    def between(self) -> float:
        """Mean cosine between different clusters; NaN with one cluster."""
        away = self.similarity[~np.eye(len(self.similarity), dtype=bool)]
        return float(away.mean()) if len(away) else float("nan")

    @property
    def strength(self) -> float:
        """Mean absolute cosine between different clusters: 0 where they leave each other alone."""
        away = self.similarity[~np.eye(len(self.similarity), dtype=bool)]
        return float(np.abs(away).mean()) if len(away) else float("nan")

    @property
    def within(self) -> float:
        """Mean cosine between two halves of a cluster: what the sampling of windows leaves of likeness."""
        return float(np.nanmean(np.diag(self.similarity)))


def gradient_similarity(
    model: AdaptedModel, task: Task, method: str, clusters: Sequence[Sequence[Sample]]
) -> Transfer:
    """The cosine similarity of the adapter's gradients between clusters of training windows.

    The loss is the run's own objective at its trained weights, with dropout off; the gradient is that of A
    and B, the part that LoRA and iLoRA share. For iLoRA each window's own gate is in place.

    Args:
        model: of the run.
        task: its data, settings and seed; receives progress.
        method: its name.
        clusters: for each cluster, the windows its gradient is the sum over; at least two each.

    Raises:
        Interrupted: the task asked to stop.
    """
    total = sum(map(len, clusters))
    task.emit(StageStarted(method, task.seed, "gradients", total))
    halves, done = [], 0
    for windows in clusters:
        of_cluster = []
        for half in (windows[::2], windows[1::2]):
            of_cluster.append(_gradient(model, task, half))
            done += len(half)
            task.emit(StepLogged(method, task.seed, "gradients", done, total))
        halves.append(of_cluster)
    whole = torch.stack([first + second for first, second in halves])
    directions = torch.nn.functional.normalize(whole, dim=1)
    similarity = (directions @ directions.T).double().numpy()
    for place, (first, second) in enumerate(halves):
        similarity[place, place] = float(torch.nn.functional.cosine_similarity(first, second, dim=0))
    return Transfer(method, similarity, tuple(map(len, clusters)), int(whole.shape[1]))


def _gradient(model: AdaptedModel, task: Task, windows: Sequence[Sample]) -> Tensor:
    """The gradient of the summed loss over windows, as one vector of 32-bit floats."""
    job = AdapterJob(model, task)
    place = {(sample.user, sample.position): number for number, sample in enumerate(job.samples)}
    parameters = [parameter for name, parameter in model.parameters().items() if name.startswith("adapter.")]
    model.train(False)
    size = task.config.training.micro_batch_size
    for start in range(0, len(windows), size):
        if task.should_stop():
            raise Interrupted
        part = windows[start : start + size]
        candidates = [job.candidates(place[sample.user, sample.position], 0) for sample in part]
        targets = [row.index(sample.target) for row, sample in zip(candidates, part, strict=True)]
        with model.loss([sample.history for sample in part], candidates, targets) as loss:
            loss.backward()  # type: ignore[no-untyped-call]
    parts = [
        torch.zeros(parameter.numel()) if parameter.grad is None else parameter.grad.float().cpu().flatten()
        for parameter in parameters
    ]
    for parameter in model.parameters().values():
        parameter.grad = None
    return torch.cat(parts)
