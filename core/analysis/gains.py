"""Who gains: one method's advantage over another, user by user, against how unusual the user's history is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.evaluation.metrics import per_case
from core.results.format import Result
from core.results.pairing import paired_ranks

Values = npt.NDArray[np.float64]

RESAMPLES = 2_000


@dataclass(frozen=True)
class Gain:
    """The gain of each user against one measure of how unusual the user is."""

    measure: str
    """What the measure is, in words; larger means more unusual."""
    x: Values
    """(n,) the measure of each user."""
    y: Values
    """(n,) the user's gain, such as MRR of iLoRA minus MRR of LoRA, over the user's test cases."""
    correlation: float
    """Spearman's; NaN where one of the two is the same for all users."""
    low: float
    """95 % interval, users resampled; NaN where there is none."""
    high: float
    p: float
    """Two-sided, by permutation of the users; NaN where there is no correlation."""

    @property
    def n(self) -> int:
        """Users."""
        return len(self.x)


def per_user(ours: Result, theirs: Result, metric: str) -> dict[str, float]:
    """How much more of a metric each user has under `ours`: the mean over the user's cases, every case once.

    Raises:
        ResultError: the two met other cases.
    """
    places, ranks = paired_ranks((ours, theirs))
    more, less = per_case(ranks[0], metric), per_case(ranks[1], metric)
    found: dict[str, list[float]] = {}
    for (user, _), value in zip(places, more - less, strict=True):
        found.setdefault(user, []).append(float(value))
    return {user: float(np.mean(of_user)) for user, of_user in found.items()}


def gains(
    ours: Result, theirs: Result, metric: str, measures: Mapping[str, Mapping[str, float]], seed: int = 0
) -> list[Gain]:
    """The gain of `ours` over `theirs` against each measure.

    Args:
        ours: result of the method that may gain.
        theirs: result of the other, on the same cases.
        metric: what is gained.
        measures: what it is -> user -> how unusual.
        seed: of the resampling.
    """
    gained = per_user(ours, theirs, metric)
    users = sorted(gained)
    y = np.array([gained[user] for user in users])
    return [_gain(name, np.array([of[user] for user in users]), y, seed) for name, of in measures.items()]


def _gain(name: str, x: Values, y: Values, seed: int) -> Gain:
    found = spearman(x, y)
    if math.isnan(found):
        return Gain(name, x, y, math.nan, math.nan, math.nan, math.nan)
    stream = np.random.RandomState(seed)
    drawn = [spearman(x[rows], y[rows]) for rows in stream.randint(0, len(x), size=(RESAMPLES, len(x)))]
    usable = [value for value in drawn if not math.isnan(value)]
    low, high = np.quantile(usable, [0.025, 0.975]) if usable else (math.nan, math.nan)
    left, right = _standard(ranks(x)), _standard(ranks(y))
    shuffled = np.array([abs(float(left @ stream.permutation(right))) for _ in range(RESAMPLES)]) / len(x)
    extreme = int(np.count_nonzero(shuffled >= abs(found) - 1e-12))
    return Gain(name, x, y, found, float(low), float(high), (extreme + 1) / (RESAMPLES + 1))


def spearman(x: Values, y: Values) -> float:
    """Correlation of ranks, ties averaged; NaN where one of the two is the same everywhere."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(_standard(ranks(x)) @ _standard(ranks(y)) / len(x))


def ranks(values: Values) -> Values:
    """(n,) ranks from 1, the mean rank where values are equal."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Values = last - (counts - 1) / 2
    return mean[place]


def _standard(values: Sequence[float] | Values) -> Values:
    array = np.asarray(values, dtype=np.float64)
    found: Values = (array - array.mean()) / array.std()
    return found
