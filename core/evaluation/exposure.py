"""Figures of all lists of a method together: how much of the catalogue they show, and how evenly.

Such a figure is no mean over cases. A bootstrap that draws users also moves it: half of the users, some of
them twice, show fewer items than all do. So the interval is the draws' spread, set around the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.evaluation.lists import NOTHING, PATIENCE, Lists
from core.evaluation.statistics import (
    LEVEL,
    Array,
    Estimate,
    Users,
    default_resamples,
    seed_weights,
    user_weights,
)

_CELLS = 1_000_000  # exposures worked on at a time

COVERAGE, GINI = "coverage", "exposure_gini"


def coverage(exposures: Array, items: int) -> Array:
    """(draws,) share of the catalogue that stands in any list (Elliot 0.3.1: ItemCoverage, over the items).

    Args:
        exposures: (draws, m) of items that stand in some list.
        items: of the catalogue.
    """
    found: Array = np.count_nonzero(exposures, axis=-1) / items
    return found


def gini(exposures: Array, items: int) -> Array:
    """(draws,) Gini coefficient of the items' exposure, 0 = all alike (LensKit 2025.8.1: ExposureGini).

    Args:
        exposures: (draws, m) of items that stand in some list; the catalogue's others have none.
        items: of the catalogue.
    """
    places = 2.0 * np.arange(items - exposures.shape[-1] + 1, items + 1) - items - 1
    ordered = np.sort(exposures, axis=-1)
    found: Array = (ordered * places).sum(axis=-1) / (items * ordered.sum(axis=-1))
    return found


STATISTICS: dict[str, Callable[[Array, int], Array]] = {COVERAGE: coverage, GINI: gini}


@dataclass(frozen=True)
class Exposure:
    """The attention that items get: one entry for each place of each list."""

    item: npt.NDArray[np.int64]
    """(e,) the entry's item among the `items` that stand in some list."""
    user: npt.NDArray[np.int64]
    """(e,) whose list it is."""
    weight: Array
    """(e,) how likely somebody looks at that place: 1 at the first, less and less further down."""
    items: int

    @staticmethod
    def of(lists: Lists, owners: npt.NDArray[np.int64]) -> Exposure:
        """The entries of lists, (n, k), of these users, (n,)."""
        rows, places = np.nonzero(lists != NOTHING)
        known, item = np.unique(lists[rows, places], return_inverse=True)
        return Exposure(item, owners[rows], PATIENCE ** places.astype(np.float64), len(known))

    def drawn(self, times: npt.NDArray[np.floating]) -> Array:
        """(draws, items) every item's exposure where users occur this often, (draws, users)."""
        return np.stack(
            [np.bincount(self.item, self.weight * row[self.user], self.items) for row in times]
        ).astype(np.float64)


def estimate_exposure(
    runs: Sequence[Lists],
    users: Users,
    items: int,
    *,
    resamples: int | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Coverage and Gini of a method's lists, with intervals over users and, of several, training seeds.

    Args:
        runs: (n, k) lists of each training seed, on the same cases.
        users: (n,) whose case it is.
        items: of the catalogue.
        resamples: number of draws; `default_resamples` of the users if not given.
        level: coverage of the intervals.
        seed: of the draws.

    Raises:
        ValueError: no lists, or nothing in any of them.
    """
    names, owners = np.unique(np.asarray(users), return_inverse=True)
    exposures = [Exposure.of(lists, owners) for lists in runs]
    if not exposures or not all(exposure.items for exposure in exposures):
        raise ValueError("no list holds an item")
    whole = np.ones((1, len(names)))
    values = {
        name: np.array([float(of(exposure.drawn(whole), items)[0]) for exposure in exposures])
        for name, of in STATISTICS.items()
    }
    times = user_weights(len(names), resamples or default_resamples(len(names)), seed)
    by_seed = seed_weights(len(runs), len(times), seed)
    draws = {name: np.zeros(len(times)) for name in STATISTICS}
    for place, exposure in enumerate(exposures):
        for rows in _parts(len(times), exposure.items):
            drawn = exposure.drawn(times[rows])
            for name, of in STATISTICS.items():
                draws[name][rows] += of(drawn, items) * by_seed[rows, place]
    return {name: _estimate(values[name], draws[name], len(users), len(names), level) for name in STATISTICS}


def _estimate(values: Array, draws: Array, n: int, users: int, level: float) -> Estimate:
    """A figure of (seeds,) runs, with the spread of its draws set around it."""
    value = float(values.mean())
    low = high = math.nan
    if users > 1:
        ends = np.quantile(draws - draws.mean(), [(1 - level) / 2, (1 + level) / 2]) + value
        low, high = (float(end) for end in np.clip(ends, 0, 1))
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return Estimate(value, low, high, n, users, len(values), spread)


def _parts(draws: int, items: int) -> Iterator[slice]:
    step = max(1, _CELLS // items)
    return (slice(start, start + step) for start in range(0, draws, step))
