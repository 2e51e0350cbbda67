"""How sure a table may be: intervals and comparisons that treat users and training seeds as samples.

Several cases of one user are not independent, so everything here resamples or flips whole users. Where a
method was trained with several seeds, each draw also resamples these (a hierarchical bootstrap), S - 1 of S
at a time: drawing all would make few seeds look more alike than they are (Rao and Wu 1988). One seed says
nothing about others: what is told then holds for that trained model. All draws come from `RandomState`,
whose stream numpy keeps unchanged for good: anyone who recomputes an interval from a result file's cases
gets the same digits. By hand, for scipy's bootstrap knows no clusters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Users = Sequence[str] | npt.NDArray[np.str_]

ALPHA = 0.05
"""Below it a paired test's p says that two methods differ."""
RESAMPLES = 10_000
LEVEL = 0.95
_CELLS = 20_000_000  # resamples x users kept in memory, 4 bytes each
_CELLS_AT_ONCE = 1_000_000  # ... and drawn at a time


@dataclass(frozen=True)
class Estimate:
    """A mean over cases with its bootstrap interval."""

    value: float
    low: float
    """Lower end of the interval; NaN with fewer than two users, who cannot be resampled."""
    high: float
    n: int
    """Cases (not cases times seeds)."""
    users: int
    seeds: int = 1
    seed_std: float = math.nan
    """Standard deviation of the seeds' means (ddof 1); NaN with one seed."""


@dataclass(frozen=True)
class Comparison:
    """Method a against method b on the same cases; positive numbers favour a."""

    difference: float
    low: float
    high: float
    relative: float
    """mean(a) / mean(b) - 1; NaN where b is zero."""
    relative_low: float
    """NaN where b is zero in a resample, or with fewer than two users."""
    relative_high: float
    p: float
    """Two-sided p-value of the sign-flip permutation test, never 0."""
    n: int
    users: int


def default_resamples(users: int) -> int:
    """10,000 draws up to 2,000 users; fewer beyond, where intervals are narrow and memory is not."""
    return min(RESAMPLES, max(1_000, _CELLS // max(users, 1)))


def bootstrap(
    values: npt.ArrayLike, users: Users, *, resamples: int | None = None, level: float = LEVEL, seed: int = 0
) -> Estimate:
    """Mean over cases, with the percentile interval of a bootstrap that resamples users.

    Users are drawn with replacement and bring all their cases along; the statistic is the mean over
    the cases drawn. Of several training seeds each draw takes others, too, so that the interval is about
    which users were asked and which seeds were trained; with one seed it is about users alone.

    Args:
        values: (n,) one value per case, or (seeds, n) for repeated runs on the same cases.
        users: (n,) whose case it is.
        resamples: number of bootstrap draws; `default_resamples` of the users if not given.
        level: coverage of the interval.
        seed: seed of the draws.

    Raises:
        ValueError: no cases, shapes that do not fit, or a value that is not finite.
    """
    return bootstrap_all({"": values}, users, resamples=resamples, level=level, seed=seed)[""]


def bootstrap_all(
    values: Mapping[str, npt.ArrayLike],
    users: Users,
    *,
    resamples: int | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Estimate]:
    """`bootstrap` for several metrics of the same cases at once, all under the same draws."""
    runs = {name: _runs(of_metric, len(users)) for name, of_metric in values.items()}
    drawn, counts = _drawn(list(runs.values()), users, resamples, seed)  # (resamples, metrics + 1)
    estimates = {}
    for column, (name, run) in enumerate(runs.items()):
        low, high = _interval(drawn[:, column] / drawn[:, -1], level, len(counts))
        estimates[name] = Estimate(
            value=float(run.mean()),
            low=low,
            high=high,
            n=len(users),
            users=len(counts),
            seeds=len(run),
            seed_std=float(run.mean(axis=1).std(ddof=1)) if len(run) > 1 else math.nan,
        )
    return estimates


def bootstrap_ratio(
    part: npt.ArrayLike,
    whole: npt.ArrayLike,
    users: Users,
    *,
    resamples: int | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """sum(part) / sum(whole), such as the share of valid answers that are right, resampling users.

    Args:
        part: (n,) or (seeds, n) of 0 and 1.
        whole: likewise; 1 where a case counts at all. The estimate's `n` is how many do, averaged over seeds.
        users: (n,) whose case it is.
        resamples: number of bootstrap draws; `default_resamples` of the users if not given.
        level: coverage of the interval; it is NaN where a draw leaves no case that counts.
        seed: seed of the draws.

    Raises:
        ValueError: no case counts, shapes that do not fit, or a value that is not finite.
    """
    parts, wholes = _runs(part, len(users)), _runs(whole, len(users))
    if not wholes.any():
        raise ValueError("no case counts")
    drawn, counts = _drawn([parts, wholes], users, resamples, seed)
    low = high = math.nan
    if (drawn[:, 1] > 0).all():
        low, high = _interval(drawn[:, 0] / drawn[:, 1], level, len(counts))
    return Estimate(
        value=float(parts.sum() / wholes.sum()),
        low=low,
        high=high,
        n=max(1, round(float(wholes.sum()) / len(wholes))),
        users=len(counts),
        seeds=len(parts),
    )


def compare(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    users: Users,
    *,
    resamples: int | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Comparison:
    """Paired comparison of two methods on the same cases: difference, ratio, intervals and p-value.

    The p-value asks how often a difference this large appears when each user's label (a or b) is
    flipped by a coin, all the user's cases together. That test knows nothing of seeds. With several seeds
    on either side, p is the larger of it and of how often the bootstrap over users and seeds strays this far
    from its own centre.

    Args:
        a: (n,) or (seeds, n) values of one method, cases in the order of `users`.
        b: (n,) or (seeds, n) values of the other; the number of seeds may differ.
        users: (n,) whose case it is.
        resamples: number of bootstrap draws, and of permutations; `default_resamples` if not given.
        level: coverage of the intervals.
        seed: seed of the draws.

    Raises:
        ValueError: no cases, shapes that do not fit, or a value that is not finite.
    """
    return compare_all([a, b], users, resamples=resamples, level=level, seed=seed)[0, 1]


def compare_all(
    values: Sequence[npt.ArrayLike],
    users: Users,
    *,
    resamples: int | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[tuple[int, int], Comparison]:
    """`compare` for every pair (i, j), i < j, of several methods, all under the same draws and signs.

    The p-values are each pair's own; `holm` corrects them for their number.

    Raises:
        ValueError: no cases, shapes that do not fit, or a value that is not finite.
    """
    runs = [_runs(of_method, len(users)) for of_method in values]
    sums, _ = _per_user(np.stack([run.mean(axis=0) for run in runs]), users)
    drawn, counts = _drawn(runs, users, resamples, seed)  # (resamples, methods + 1)
    pairs = list(itertools.combinations(range(len(values)), 2))
    differences = np.column_stack([sums[:, i] - sums[:, j] for i, j in pairs]) if pairs else sums[:, :0]
    p_values = sign_flip_ps(differences, resamples=resamples, seed=seed)
    for place, (i, j) in enumerate(pairs):
        if max(len(runs[i]), len(runs[j])) > 1:
            strayed = (drawn[:, i] - drawn[:, j]) / drawn[:, -1]
            p_values[place] = max(
                p_values[place], _shifted_p(strayed, differences[:, place].sum() / len(users))
            )
    return {
        (i, j): _comparison(sums[:, [i, j]], counts, drawn[:, [i, j, -1]], p, len(users), level)
        for (i, j), p in zip(pairs, p_values, strict=True)
    }


def _comparison(sums: Array, counts: Array, drawn: Array, p: float, n: int, level: float) -> Comparison:
    """One pair, from the users' sums (u, 2), and the sums and case counts drawn (resamples, 3)."""
    total_a, total_b = sums.sum(axis=0)
    low, high = _interval((drawn[:, 0] - drawn[:, 1]) / drawn[:, 2], level, len(counts))
    relative_low = relative_high = math.nan
    if (drawn[:, 1] > 0).all():
        relative_low, relative_high = _interval(drawn[:, 0] / drawn[:, 1] - 1, level, len(counts))
    return Comparison(
        difference=float((total_a - total_b) / counts.sum()),
        low=low,
        high=high,
        relative=float(total_a / total_b - 1) if total_b > 0 else math.nan,
        relative_low=relative_low,
        relative_high=relative_high,
        p=p,
        n=n,
        users=len(counts),
    )


def sign_flip_p(differences: npt.ArrayLike, *, resamples: int | None = None, seed: int = 0) -> float:
    """Two-sided p-value of the users' summed differences (u,) under random signs.

    The observed signs count as one of the permutations, so p is at least 1 / (resamples + 1).
    """
    return sign_flip_ps(np.asarray(differences, dtype=np.float64)[:, None], resamples=resamples, seed=seed)[0]


def sign_flip_ps(differences: Array, *, resamples: int | None = None, seed: int = 0) -> list[float]:
    """`sign_flip_p` for several pairs under the same signs: users' summed differences (u, pairs)."""
    users, pairs = differences.shape
    observed = np.abs(differences.sum(axis=0))
    tolerance = 1e-9 * np.maximum(1.0, np.abs(differences).sum(axis=0))
    signs = _signs(users, resamples or default_resamples(users), seed)
    extreme = np.zeros(pairs, dtype=np.int64)
    for part in np.array_split(signs, max(1, signs.size // _CELLS_AT_ONCE)):
        flipped = np.abs(part.astype(np.float64) @ differences)
        extreme += np.count_nonzero(flipped >= observed - tolerance, axis=0)
    return [float(p) for p in (extreme + 1) / (len(signs) + 1)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment for several tests at once, in the order given, capped at 1."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _runs(values: npt.ArrayLike, n: int) -> Array:
    """Values as (seeds, n), checked."""
    runs = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if n == 0 or runs.ndim != 2 or runs.shape[1] != n or len(runs) == 0:
        raise ValueError(f"values {runs.shape} for {n} cases")
    if not np.isfinite(runs).all():
        raise ValueError("a value is not finite")
    return runs


def _per_user(values: Array, users: Users) -> tuple[Array, Array]:
    """Each user's sums of values (k, n) as (u, k) and number of cases (u,), users in sorted order.

    Sorting makes a seeded draw independent of the order in which cases were written down.
    """
    names, owner = np.unique(np.asarray(users), return_inverse=True)
    sums = [np.bincount(owner, weights=row, minlength=len(names)) for row in values]
    return np.column_stack(sums).astype(np.float64), np.bincount(owner).astype(np.float64)


def _draw(totals: Array, resamples: int | None, seed: int) -> Array:
    """Sums of the users' totals (u, k) over bootstrap draws of users: (resamples, k)."""
    weights = user_weights(len(totals), resamples or default_resamples(len(totals)), seed)
    return (weights @ totals.astype(np.float32)).astype(np.float64)


def _drawn(runs: Sequence[Array], users: Users, resamples: int | None, seed: int) -> tuple[Array, Array]:
    """Bootstrap sums over users and seeds, (resamples, runs + 1), and each user's number of cases, (u,).

    The last column is the number of cases drawn. Values with equal numbers of seeds meet the same draws of
    these: the same seed trained the same encoder for both.

    Args:
        runs: each (seeds, n).
        users: (n,) whose case it is.
        resamples: number of draws.
        seed: of the draws.
    """
    sums, counts = _per_user(np.concatenate(runs), users)
    drawn = _draw(np.column_stack([sums, counts]), resamples, seed)
    ends = np.cumsum([len(run) for run in runs])
    columns = [
        (drawn[:, end - len(run) : end] * seed_weights(len(run), len(drawn), seed)).sum(axis=1)
        for run, end in zip(runs, ends, strict=True)
    ]
    return np.column_stack([*columns, drawn[:, -1]]), counts


@lru_cache(maxsize=4)
def seed_weights(seeds: int, resamples: int, seed: int) -> Array:
    """The share of each training seed in each draw, (resamples, seeds): of S seeds S - 1 are drawn."""
    if seeds == 1:
        return np.ones((resamples, 1))
    chosen = np.random.RandomState([seed, seeds]).randint(0, seeds, size=(resamples, seeds - 1))
    weights: Array = (chosen[:, :, None] == np.arange(seeds)).mean(axis=1)
    weights.setflags(write=False)
    return weights


def _shifted_p(draws: Array, observed: float) -> float:
    """How often draws stray from the observed difference as far as it lies from none, never 0."""
    far = np.abs(draws - observed) >= abs(observed) - 1e-9
    return float((far.sum() + 1) / (len(draws) + 1))


@lru_cache(maxsize=2)
def user_weights(users: int, resamples: int, seed: int) -> npt.NDArray[np.float32]:
    """How often each user is drawn: (resamples, users), rows sum to `users`.

    Kept between calls: every method and metric of a table meets the same draws.
    """
    stream = np.random.RandomState(seed)
    weights = np.empty((resamples, users), dtype=np.float32)
    step = max(1, _CELLS_AT_ONCE // users)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = stream.randint(0, users, size=(rows, users), dtype=np.int64)
        drawn += np.arange(rows)[:, None] * users
        weights[start : start + rows] = np.bincount(drawn.ravel(), minlength=rows * users).reshape(
            rows, users
        )
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=2)
def _signs(users: int, resamples: int, seed: int) -> npt.NDArray[np.int8]:
    """Random signs, one per user and permutation: (resamples, users) of -1 and 1."""
    coins = np.random.RandomState(seed).randint(0, 2, size=(resamples, users), dtype=np.int8)
    signs: npt.NDArray[np.int8] = 2 * coins - 1
    signs.setflags(write=False)
    return signs


def _interval(draws: Array, level: float, users: int) -> tuple[float, float]:
    """The central `level` of the draws; NaN when one user leaves nothing to resample."""
    if users < 2:
        return math.nan, math.nan
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
