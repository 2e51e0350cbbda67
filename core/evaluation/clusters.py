"""Points in groups of alike ones: k-means, seeded, for users in analyses and for their gates in controls.

By hand: forty lines, where scikit-learn would be a dependency of 30 MB for one call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]

STARTS = 8
ROUNDS = 100


@dataclass(frozen=True)
class Clusters:
    """Points and the centres they belong to."""

    centres: Points
    """(k, d)."""
    labels: npt.NDArray[np.int64]
    """(n,) the nearest centre of each point."""
    inertia: float
    """Sum of the squared distances to it."""

    @property
    def sizes(self) -> list[int]:
        """Points of each cluster."""
        return [int(size) for size in np.bincount(self.labels, minlength=len(self.centres))]


def k_means(points: npt.NDArray[np.floating], k: int, seed: int = 0) -> Clusters:
    """The best of several runs of Lloyd's algorithm, each from a k-means++ start.

    Args:
        points: (n, d).
        k: clusters wanted; fewer are made where there are fewer different points.
        seed: of the starts.
    """
    data = np.asarray(points, dtype=np.float64)
    k = min(k, len(np.unique(data, axis=0)))
    stream = np.random.RandomState(seed)
    runs = [_lloyd(data, _start(data, k, stream)) for _ in range(STARTS)]
    return min(runs, key=lambda run: run.inertia)


def distances(points: npt.NDArray[np.floating], centres: Points) -> Points:
    """(n, k) Euclidean distances."""
    data = np.asarray(points, dtype=np.float64)
    squared = (data**2).sum(1)[:, None] - 2 * data @ centres.T + (centres**2).sum(1)[None]
    found: Points = np.sqrt(np.maximum(squared, 0.0))
    return found


def _start(data: Points, k: int, stream: np.random.RandomState) -> Points:
    """Centres far apart: each next one is drawn by its squared distance from those there are."""
    chosen = [data[stream.randint(len(data))]]
    while len(chosen) < k:
        nearest = distances(data, np.array(chosen)).min(axis=1) ** 2
        chosen.append(data[stream.choice(len(data), p=nearest / nearest.sum())])
    return np.array(chosen)


def _lloyd(data: Points, centres: Points) -> Clusters:
    labels = np.full(len(data), -1)
    for _ in range(ROUNDS):
        away = distances(data, centres)
        nearest = away.argmin(axis=1)
        for empty in set(range(len(centres))) - set(nearest.tolist()):
            nearest[away[np.arange(len(data)), nearest].argmax()] = empty  # the point that fits worst
        if (nearest == labels).all():
            break
        labels = nearest
        centres = np.array([data[labels == cluster].mean(axis=0) for cluster in range(len(centres))])
    inertia = float(((data - centres[labels]) ** 2).sum())
    return Clusters(centres, labels.astype(np.int64), inertia)
