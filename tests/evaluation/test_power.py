"""A test of the size that is told sees the lift about as often as promised; what is not known is said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core.evaluation.power import POWER, Variances, variances_of
from core.evaluation.statistics import bootstrap, compare


def made(
    users: int, seeds: int, lift: float, stream: np.random.Generator, by_seed: float = 0.0, cases: int = 3
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Two methods whose hits depend on user and chance; the first is better by `lift` of .4."""
    names = [str(user) for user in range(users) for _ in range(cases)]
    taste = np.repeat(stream.normal(0, 0.15, users), cases)
    seed = stream.normal(0, by_seed, seeds)[:, None]
    base = 0.4 + stream.normal(0, 0.3, (seeds, len(names)))
    ours = 0.4 * (1 + lift) + taste + seed + stream.normal(0, 0.3, (seeds, len(names)))
    return ours, base, names


def test_the_number_of_users_that_is_told_sees_the_lift_as_often_as_promised() -> None:
    stream = np.random.default_rng(0)
    pilot = variances_of(*made(400, 1, 0.0, stream))
    users = pilot.users_for(0.15, 1)
    assert users is not None
    found = [
        compare(ours[0], base[0], names, resamples=400).p < 0.05
        for ours, base, names in (made(users, 1, 0.15, stream) for _ in range(150))
    ]
    assert POWER - 0.12 < np.mean(found) < POWER + 0.12


def test_with_one_seed_the_error_is_the_bootstraps_and_nothing_is_said_about_seeds() -> None:
    ours, base, names = made(200, 1, 0.1, np.random.default_rng(1))
    variances = variances_of(ours, base, names)
    interval = bootstrap(ours[0] - base[0], names)
    told = variances.detectable() * variances.base / (1.96 + 0.8416)
    assert told == pytest.approx((interval.high - interval.low) / 2 / 1.96, rel=0.05)
    assert math.isnan(variances.by_seed)


def test_the_three_parts_are_told_apart() -> None:
    found = [
        variances_of(*made(150, 8, 0.1, np.random.default_rng(draw), by_seed=0.05, cases=1))
        for draw in range(30)
    ]
    assert np.mean([one.by_user for one in found]) == pytest.approx(0.15**2, rel=0.15)
    assert np.mean([one.by_seed for one in found]) == pytest.approx(0.05**2, rel=0.35)
    assert np.mean([one.rest for one in found]) == pytest.approx(2 * 0.3**2, rel=0.05)


def test_where_seeds_differ_more_than_the_lift_no_number_of_users_is_enough_for_few_of_them() -> None:
    variances = Variances(base=0.4, users=100, seeds=5, cases=1.0, by_user=0.1, by_seed=0.0004, rest=0.1)
    assert variances.users_for(0.05, 1) is None
    many, more = variances.users_for(0.05, 10), variances.users_for(0.05, 30)
    assert many is not None and more is not None and more < many
    for seeds, users in ((10, many), (30, more)):
        assert variances.detectable(users, seeds) <= 0.05 < variances.detectable(users - 1, seeds)


def test_users_who_bring_more_cases_weigh_more() -> None:
    names = ["a"] * 9 + ["b"]
    one, zero = np.ones(10), np.zeros(10)
    variances = variances_of(np.r_[one[:9], 0.0], np.r_[zero[:9], 1.0], names)
    assert variances.base == pytest.approx(0.1)
    assert variances.by_user == pytest.approx(np.var([(9 - 9 * 0.8) / 5, (-1 - 0.8) / 5], ddof=1))


@pytest.mark.parametrize(
    ("base", "users", "said"),
    [([0.0, 0.0], ["a", "b"], "over nothing"), ([1.0, 0.0], ["a", "a"], "1 users"), ([1.0], ["a"], "cases")],
)
def test_what_cannot_be_told_is_an_error(base: list[float], users: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        variances_of([1.0, 0.0], base, users)
