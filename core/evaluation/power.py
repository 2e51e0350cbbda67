"""How large a paired test must be to see a lift, from the differences that were measured.

A user's difference is thought of as the sum of the methods' true difference, what is peculiar to the user,
to the training seed, and to both together. An analysis of variance estimates how far each of the three
spreads, and so how the error of the mean shrinks with more users and seeds. Normal approximation, two-sided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from core.evaluation.statistics import ALPHA, Users

POWER = 0.8
"""How often it should see a lift that is there."""


@dataclass(frozen=True)
class Variances:
    """How the differences of two methods vary: the variances by user, by seed, and of what is left."""

    base: float
    """Mean of the method that the other is compared with."""
    users: int
    """Measured."""
    seeds: int
    cases: float
    """Mean per user; more users are thought to have as many."""
    by_user: float
    """Variance from user to user; with one seed, that of user and seed together is in it."""
    by_seed: float
    """Variance from seed to seed; NaN with one seed, which does not tell."""
    rest: float
    """Variance of user and seed together."""

    def detectable(self, users: int | None = None, seeds: int | None = None) -> float:
        """The smallest lift, relative to the base, that a test of this size sees with `POWER`.

        With one seed measured it holds for these trained models, for nobody knows how others differ.
        """
        users, seeds = users or self.users, seeds or self.seeds
        error = self.by_user / users + self._of_seeds / seeds + self.rest / (users * seeds)
        return _reach() * math.sqrt(error) / self.base

    def users_for(self, lift: float, seeds: int) -> int | None:
        """Users that a test needs to see a lift relative to the base; None where no number is enough."""
        room = (lift * self.base / _reach()) ** 2 - self._of_seeds / seeds
        if room <= 0:
            return None
        return max(2, math.ceil((self.by_user + self.rest / seeds) / room))

    @property
    def _of_seeds(self) -> float:
        return 0.0 if math.isnan(self.by_seed) else self.by_seed


def variances_of(a: npt.ArrayLike, b: npt.ArrayLike, users: Users) -> Variances:
    """The variances of a - b.

    Args:
        a: (seeds, n) values of one method.
        b: (seeds, n) values of the other, from the same seeds on the same cases.
        users: (n,) whose case it is.

    Raises:
        ValueError: fewer than two users, shapes that do not fit, or a base that is not above zero.
    """
    ours, theirs = (np.atleast_2d(np.asarray(values, dtype=np.float64)) for values in (a, b))
    names, owner = np.unique(np.asarray(users), return_inverse=True)
    if ours.shape != theirs.shape or ours.shape[1] != len(owner) or len(names) < 2:
        raise ValueError(f"values {ours.shape} and {theirs.shape} for {len(owner)} cases, {len(names)} users")
    if theirs.mean() <= 0:
        raise ValueError("there is no relative lift over nothing")
    counts = np.bincount(owner)
    sums = np.stack([np.bincount(owner, weights=row, minlength=len(names)) for row in ours - theirs])
    mean = float((ours - theirs).mean())
    # A user's share in the mean over cases, linearized: users with many cases weigh more.
    shares = (sums - mean * counts) / counts.mean()  # (seeds, users)
    seeds, people = shares.shape
    whole = shares.mean()
    of_users, of_seeds = shares.mean(axis=0), shares.mean(axis=1)
    if seeds == 1:
        by_user, by_seed, rest = float(of_users.var(ddof=1)), math.nan, 0.0
    else:
        residual = shares - of_users[None, :] - of_seeds[:, None] + whole
        rest = float((residual**2).sum() / ((seeds - 1) * (people - 1)))
        by_user = max(0.0, float(of_users.var(ddof=1)) - rest / seeds)
        by_seed = max(0.0, float(of_seeds.var(ddof=1)) - rest / people)
    return Variances(float(theirs.mean()), people, seeds, float(counts.mean()), by_user, by_seed, rest)


def _reach() -> float:
    """Standard errors between no lift and one that is seen with `POWER`."""
    normal = NormalDist()
    return normal.inv_cdf(1 - ALPHA / 2) + normal.inv_cdf(POWER)
