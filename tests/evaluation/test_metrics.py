"""Ranks and metrics keep their promises: ties hurt, order does not matter, NaN is never ranked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from core.errors import ModelError
from core.evaluation.metrics import METRICS, per_case, ranks_from_scores, summarize

some_scores = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(2, 20)),
    # few distinct values, so that ties are common
    elements=st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.inf, -math.inf])),
)


def test_a_rank_counts_the_candidates_at_least_as_good():
    scores = np.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    assert ranks_from_scores(scores, np.array([0, 1, 2])).tolist() == [1, 3, 2]


def test_equal_scores_rank_the_target_last():
    assert ranks_from_scores(np.zeros((2, 20)), np.array([0, 19])).tolist() == [20, 20]


@given(some_scores, st.randoms())
def test_permuting_the_candidates_keeps_the_rank(scores, random):
    order = list(range(scores.shape[1]))
    random.shuffle(order)
    target = random.randrange(scores.shape[1])
    targets = np.full(len(scores), target)
    moved = np.full(len(scores), order.index(target))
    assert (ranks_from_scores(scores, targets) == ranks_from_scores(scores[:, order], moved)).all()


@given(some_scores)
def test_ranks_agree_with_the_definition(scores):
    ranks = ranks_from_scores(scores, np.zeros(len(scores), dtype=int))
    for row, rank in zip(scores, ranks, strict=True):
        assert rank == 1 + sum(other >= row[0] for other in row[1:])


@pytest.mark.parametrize("column", [0, 3])
def test_a_score_that_is_not_a_number_is_an_error_wherever_it_stands(column):
    scores = np.zeros((5, 4))
    scores[2, column] = np.nan
    with pytest.raises(ModelError, match="1 of 5 cases") as caught:
        ranks_from_scores(scores, np.zeros(5, dtype=int))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("scores", "targets"),
    [(np.zeros(3), [0]), (np.zeros((2, 3)), [0]), (np.zeros((1, 3)), [3]), (np.zeros((1, 3)), [-1])],
)
def test_shapes_and_targets_must_fit(scores, targets):
    with pytest.raises(ValueError):
        ranks_from_scores(scores, np.array(targets))


def test_metrics_of_known_ranks():
    ranks = np.array([1, 2, 5, 6, 10, 11])
    assert per_case(ranks, "HR@1").tolist() == [1, 0, 0, 0, 0, 0]
    assert per_case(ranks, "HR@5").tolist() == [1, 1, 1, 0, 0, 0]
    assert per_case(ranks, "NDCG@10") == pytest.approx(
        [1, 1 / math.log2(3), 1 / math.log2(6), 1 / math.log2(7), 1 / math.log2(11), 0]
    )
    assert per_case(ranks, "MRR") == pytest.approx([1, 0.5, 0.2, 1 / 6, 0.1, 1 / 11])


@given(st.lists(st.integers(1, 50), min_size=1))
def test_metrics_are_ordered_and_between_zero_and_one(ranks):
    means = summarize(np.array(ranks))
    assert list(means) == list(METRICS)
    assert 0 <= means["HR@1"] <= means["HR@5"] <= 1
    assert means["HR@1"] <= means["NDCG@10"] <= 1
    assert means["HR@1"] <= means["MRR"] <= 1


@given(st.lists(st.integers(2, 50), min_size=1))
def test_a_better_rank_never_lowers_a_metric(ranks):
    worse, better = np.array(ranks), np.array(ranks) - 1
    assert all((per_case(better, metric) >= per_case(worse, metric)).all() for metric in METRICS)


def test_nothing_is_not_averaged_and_nonsense_is_refused():
    with pytest.raises(ValueError, match="no cases"):
        summarize(np.array([], dtype=int))
    with pytest.raises(ValueError, match="unknown metric"):
        per_case(np.array([1]), "HR@3")
    with pytest.raises(ValueError, match="start at 1"):
        per_case(np.array([0]), "MRR")
