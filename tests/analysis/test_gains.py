"""The correlation is Spearman's, its interval and p-value are right, and every case counts once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core.analysis.gains import gains, per_user, ranks, spearman
from core.evaluation.metrics import per_case
from tests.made_up import result, with_ranks

STREAM = np.random.default_rng(0)


def test_ranks_share_the_mean_where_values_are_equal():
    assert ranks(np.array([3.0, 1.0, 3.0, 7.0])).tolist() == [2.5, 1.0, 2.5, 4.0]


def test_the_correlation_sees_order_only():
    x = STREAM.normal(size=50)
    assert spearman(x, np.exp(x)) == pytest.approx(1)
    assert spearman(x, -(x**3)) == pytest.approx(-1)
    assert math.isnan(spearman(x, np.ones(50)))


def test_a_users_metric_is_the_mean_over_different_cases():
    made = result("lora")
    user = made.cases[0].user
    worst = with_ranks(made, dict.fromkeys(range(len(made.cases)), 20))
    asked = {(case.user, case.position): case.rank for case in made.cases if case.user == user}
    assert len(asked) == 10  # the last item is in both sets, and counts once
    expected = per_case(np.array(list(asked.values())), "MRR").mean() - 1 / 20
    assert per_user(made, worst, "MRR")[user] == pytest.approx(expected)


def test_a_gain_that_grows_with_a_measure_is_found_and_one_that_does_not_is_not():
    theirs = result("lora")
    theirs = with_ranks(theirs, dict.fromkeys(range(len(theirs.cases)), 10))
    better = {place: 10 - int(case.user) % 10 for place, case in enumerate(theirs.cases)}
    ours = with_ranks(theirs, better)
    users = sorted({case.user for case in ours.cases})
    measures = {
        "pulls": {user: float(int(user) % 10) for user in users},
        "noise": {
            user: float(value) for user, value in zip(users, STREAM.normal(size=len(users)), strict=True)
        },
        "constant": dict.fromkeys(users, 1.0),
    }
    pulls, noise, constant = gains(ours, theirs, "MRR", measures)
    assert pulls.correlation == pytest.approx(1) and pulls.low > 0.9 and pulls.p < 0.01
    assert noise.low < 0 < noise.high and noise.p > 0.05
    assert math.isnan(constant.correlation) and math.isnan(constant.p)
    assert pulls.n == len(users)
