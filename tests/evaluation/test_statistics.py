"""Intervals cover the truth about as often as they say, and comparisons are fair to both sides."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.evaluation.statistics import (
    bootstrap,
    bootstrap_all,
    compare,
    compare_all,
    default_resamples,
    holm,
    sign_flip_p,
)

PINNED = (0.2774140, 0.2673360, 0.2853879)
"""Value, low and high of the fixed example below, as every machine must find them."""


def clustered(
    stream: np.random.Generator, users: int = 60, mean: float = 0.45
) -> tuple[np.ndarray, list[str]]:
    """Hits of users who differ in how easy they are; the truth is `mean`."""
    ease = stream.beta(4 * mean, 4 * (1 - mean), size=users)
    owner = np.repeat(np.arange(users), 10)
    return (stream.random(len(owner)) < ease[owner]).astype(float), [str(user) for user in owner]


def test_the_interval_covers_the_truth_about_nineteen_times_in_twenty():
    stream = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        estimate = bootstrap(*clustered(stream), resamples=1_000)
        covered += estimate.low <= 0.45 <= estimate.high
    assert 0.91 <= covered / 400 <= 0.98


def test_treating_cases_as_independent_would_be_too_sure():
    hits, users = clustered(np.random.default_rng(2))
    by_user = bootstrap(hits, users)
    by_case = bootstrap(hits, [str(case) for case in range(len(hits))])
    assert by_user.value == by_case.value
    assert by_user.high - by_user.low > 1.2 * (by_case.high - by_case.low)


def test_the_same_seed_gives_the_same_digits_forever():
    values = [1 / (1 + case * 7 % 11) for case in range(200)]
    users = [str(case // 10) for case in range(200)]
    estimate = bootstrap(values, users)
    assert (estimate.n, estimate.users, estimate.seeds) == (200, 20, 1)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(PINNED, abs=1e-6)
    assert bootstrap(values, users, seed=1).low != estimate.low


@given(st.randoms(use_true_random=False))
@settings(max_examples=10)
def test_the_order_of_the_cases_does_not_matter(random):
    hits, users = clustered(np.random.default_rng(4), users=12)
    order = list(range(len(hits)))
    random.shuffle(order)
    shuffled = bootstrap(hits[order], [users[place] for place in order])
    first = bootstrap(hits, users)
    assert (shuffled.value, shuffled.low, shuffled.high) == pytest.approx(
        (first.value, first.low, first.high)
    )


def test_several_metrics_meet_the_same_draws():
    hits, users = clustered(np.random.default_rng(5))
    both = bootstrap_all({"hits": hits, "misses": 1 - hits}, users)
    assert both["hits"].low == pytest.approx(1 - both["misses"].high, abs=1e-6)
    assert both["hits"] == bootstrap(hits, users)


def test_seeds_are_averaged_per_case_and_their_spread_is_told():
    runs = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    estimate = bootstrap(runs, ["a", "b", "c", "d"])
    assert estimate.value == pytest.approx(0.375)
    assert (estimate.n, estimate.seeds) == (4, 2)
    assert estimate.seed_std == pytest.approx(np.std([0.5, 0.25], ddof=1))
    assert math.isnan(bootstrap(runs[0], ["a", "b", "c", "d"]).seed_std)


def test_one_user_has_a_value_but_no_interval():
    estimate = bootstrap([1.0, 0.0], ["a", "a"])
    assert estimate.value == 0.5
    assert math.isnan(estimate.low) and math.isnan(estimate.high)


@pytest.mark.parametrize(("values", "users"), [([], []), ([1.0], ["a", "b"]), ([math.nan], ["a"])])
def test_what_cannot_be_averaged_is_refused(values, users):
    with pytest.raises(ValueError):
        bootstrap(values, users)


def test_a_real_difference_is_found_and_both_sides_mirror():
    stream = np.random.default_rng(6)
    weak, users = clustered(stream)
    strong = np.maximum(weak, stream.random(len(weak)) < 0.15)
    forward, backward = compare(strong, weak, users), compare(weak, strong, users)
    assert forward.difference == pytest.approx(strong.mean() - weak.mean())
    assert 0 < forward.low < forward.difference < forward.high
    assert forward.relative == pytest.approx(strong.mean() / weak.mean() - 1)
    assert forward.relative_low < forward.relative < forward.relative_high
    assert forward.p == backward.p == pytest.approx(1 / 10_001)
    assert backward.high == pytest.approx(-forward.low, abs=1e-6)


def test_a_method_equals_itself():
    hits, users = clustered(np.random.default_rng(7))
    same = compare(hits, hits, users)
    assert (same.difference, same.low, same.high, same.relative, same.p) == (0, 0, 0, 0, 1)


def test_a_pair_may_have_different_numbers_of_seeds():
    hits, users = clustered(np.random.default_rng(8), users=10)
    assert compare(np.stack([hits, hits]), hits, users).difference == 0


def test_without_a_difference_small_p_values_are_rare():
    stream = np.random.default_rng(9)
    found = [sign_flip_p(stream.normal(size=40), resamples=400) for _ in range(400)]
    assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.085


def test_the_sign_flip_test_agrees_with_counting_all_signs():
    differences = np.array([3.0, 1.0, 2.0, -1.0, 2.0, 1.0])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1)
    exact = np.mean(np.abs(differences @ signs) >= abs(differences.sum()))
    assert sign_flip_p(differences) == pytest.approx(exact, abs=0.015)


def test_no_ratio_over_nothing():
    nothing = compare([1.0, 0.0], [0.0, 0.0], ["a", "b"])
    assert nothing.difference == 0.5
    assert math.isnan(nothing.relative) and math.isnan(nothing.relative_low)


def test_holm_on_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_makes_a_test_easier_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert all(first[1] <= second[1] for first, second in itertools.pairwise(pairs))


def test_ten_thousand_draws_of_a_hundred_users_are_quick():
    hits, users = clustered(np.random.default_rng(10), users=97)
    start = time.perf_counter()
    bootstrap(hits, users, seed=123)
    assert time.perf_counter() - start < 1


def test_many_users_get_fewer_draws_so_that_memory_stays_small():
    assert default_resamples(95) == default_resamples(943) == 10_000
    assert default_resamples(10_369) * 10_369 <= 20_000_000
    assert default_resamples(1_000_000) == 1_000


def test_all_pairs_at_once_are_each_pair_by_itself():
    stream = np.random.default_rng(8)
    methods = [clustered(stream, users=20, mean=mean)[0] for mean in (0.3, 0.45, 0.5)]
    users = clustered(stream, users=20)[1]
    found = compare_all(methods, users)
    assert list(found) == [(0, 1), (0, 2), (1, 2)]
    for (i, j), comparison in found.items():
        alone = compare(methods[i], methods[j], users)
        assert comparison.p == alone.p
        for part in ("difference", "low", "high", "relative", "relative_low", "relative_high"):
            assert getattr(comparison, part) == pytest.approx(getattr(alone, part), abs=1e-5), part


# --- seeds are a sample too --------------------------------------------------------------------------------


def of_seeds(seeds: int, users: int, by_seed: float, stream: np.random.Generator) -> np.ndarray:
    """(seeds, users) values around .5 that differ from seed to seed and from user to user."""
    people, trained = stream.normal(0.5, 0.2, users), stream.normal(0, by_seed, seeds)
    return people + trained[:, None] + stream.normal(0, 0.05, (seeds, users))


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_an_interval_over_seeds_is_as_wide_as_users_and_seeds_make_it(seeds: int) -> None:
    users, names = 100, [str(user) for user in range(100)]
    stream = np.random.default_rng(seeds)
    widths = []
    for _ in range(200):
        found = bootstrap(of_seeds(seeds, users, 0.05, stream), names, resamples=600)
        widths.append(((found.high - found.low) / 2 / 1.96) ** 2)
    true = 0.2**2 / users + 0.05**2 / seeds + 0.05**2 / users / seeds
    # Two seeds give one difference, whose percentiles are no normal ones: wide or narrow, right on the whole.
    assert np.mean(widths) == pytest.approx(true, rel=0.35 if seeds == 2 else 0.15)


def test_seeds_that_agree_change_no_interval() -> None:
    values, names = np.random.default_rng(0).random(60), [str(case // 3) for case in range(60)]
    one, three = bootstrap(values, names), bootstrap(np.tile(values, (3, 1)), names)
    assert (three.low, three.high) == pytest.approx((one.low, one.high), abs=1e-6)
    a, b = compare(values, values[::-1], names), compare(np.tile(values, (3, 1)), values[::-1], names)
    assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=1e-6)


def test_a_difference_that_lives_in_one_seed_is_not_significant() -> None:
    stream, names = np.random.default_rng(0), [str(user) for user in range(200)]
    base = stream.random((3, 200)) * 0.01
    ours = base + np.array([0.3, 0.0, 0.0])[:, None]
    assert compare(ours.mean(axis=0), base.mean(axis=0), names).p < 0.001  # as if there were one seed
    assert compare(ours, base, names).p > 0.05
    assert compare(base + 0.3, base, names).p < 0.001  # one that lives in all is


def test_a_false_alarm_over_seeds_and_users_is_no_more_frequent_than_promised() -> None:
    stream, names = np.random.default_rng(1), [str(user) for user in range(60)]
    alarms = [
        compare(of_seeds(5, 60, 0.05, stream), of_seeds(5, 60, 0.05, stream), names, resamples=300).p < 0.05
        for _ in range(200)
    ]
    assert np.mean(alarms) <= 0.1  # five seeds are few for a bootstrap: the level is near, not exact
