"""What lists are beside right or wrong is what LensKit, Elliot and Steck mean by it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from core.evaluation import lists as lists_module
from core.evaluation.exposure import Exposure, coverage, estimate_exposure, gini
from core.evaluation.lists import (
    NOTHING,
    genre_table,
    mean_over,
    miscalibration,
    overlap,
    popularity_ranks,
    self_information,
    shares,
    similarity,
)
from tests.evaluation import with_lenskit as run


def ours() -> dict[str, object]:
    """Our figures of the run that LensKit measured."""
    lists, owners = run.lists(3), np.arange(run.USERS)
    exposure = Exposure.of(lists, owners).drawn(np.ones((1, run.USERS)))
    return {
        "exposure_gini": float(gini(exposure, run.ITEMS)[0]),
        "popularity_rank": mean_over(popularity_ranks(run.counts()), lists).tolist(),
        "rbo": overlap(lists, run.lists(4)).tolist(),
        "genre_similarity": similarity(lists, genre_table(run.genres())).tolist(),
    }


def check(found: dict[str, object]) -> None:
    for key in found.keys() - {"version"}:
        assert ours()[key] == pytest.approx(found[key], abs=1e-6), key


def test_figures_are_those_that_lenskit_gave() -> None:
    record = json.loads(run.RECORD.read_text())
    assert {"version", "exposure_gini", "popularity_rank", "rbo"} <= record.keys()
    check(record)


def test_figures_are_those_of_the_lenskit_that_is_installed() -> None:
    pytest.importorskip("lenskit")
    check(run.found_by_lenskit())


def test_similarity_is_the_mean_cosine_of_every_two_items() -> None:
    table, lists = genre_table(run.genres()), run.lists(3)
    unit = table / np.maximum(1e-12, np.linalg.norm(table, axis=1, keepdims=True))
    pairs = [np.triu(unit[row] @ unit[row].T, 1).sum() / (run.TOP * (run.TOP - 1) / 2) for row in lists]
    assert similarity(lists, table) == pytest.approx(np.array(pairs))


def test_popular_items_have_high_ranks_and_untrained_ones_none() -> None:
    assert popularity_ranks(np.array([0.0, 5, 2, 5, 1])).tolist() == [0, 3.5 / 4, 2 / 4, 3.5 / 4, 1 / 4]
    assert popularity_ranks(np.zeros(3)).tolist() == [0, 0, 0]


def test_rare_items_carry_more_bits_and_untrained_ones_as_many_as_the_rarest() -> None:
    assert self_information(np.array([4.0, 2, 1, 1, 0])).tolist() == [1, 2, 3, 3, 3]
    with pytest.raises(ValueError, match="trained"):
        self_information(np.zeros(3))


def test_shorter_lists_count_what_they_have() -> None:
    lists = np.array([[0, 2, NOTHING], [1, NOTHING, NOTHING], [NOTHING] * 3])
    assert mean_over(np.array([1.0, 5, 3]), lists)[:2].tolist() == [2, 5]
    assert math.isnan(mean_over(np.array([1.0, 5, 3]), lists)[2])
    table = genre_table([("a",), ("b",), ("a", "b")])
    assert similarity(lists, table)[:2].tolist() == pytest.approx([math.sqrt(0.5), 1])
    assert overlap(lists[:1], lists[:1])[0] < 1  # as LensKit: what is not there is in common with nothing


def test_alike_lists_overlap_wholly_and_strangers_not_at_all() -> None:
    a, b = np.array([[1, 2, 3]]), np.array([[4, 5, 6]])
    assert overlap(a, a)[0] == pytest.approx(1) and overlap(a, b)[0] == 0
    front, back = np.array([[1, 8, 9]]), np.array([[8, 9, 1]])
    assert overlap(a, front)[0] > overlap(a, back)[0]


def test_calibration_is_stecks_divergence() -> None:
    table = genre_table([("action",), ("romance",), ("action", "romance"), ()])
    history = np.array([[0, 0, 0, 0, 0, 0, 0, 1, 1, 1]])
    assert shares(history, table)[0].tolist() == pytest.approx([0.7, 0.3])
    only_action = np.array([[0, 0, 3]])
    smooth = (0.99 + 0.007, 0.003)
    expected = 0.7 * math.log(0.7 / smooth[0]) + 0.3 * math.log(0.3 / smooth[1])
    assert miscalibration(history, only_action, table)[0] == pytest.approx(expected)
    assert miscalibration(history, history, table)[0] == pytest.approx(0, abs=1e-12)
    assert miscalibration(history, np.array([[3]]), table)[0] == pytest.approx(math.log(100))
    assert math.isnan(miscalibration(np.array([[3]]), history, table)[0])


def test_parts_of_many_lists_are_what_the_whole_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lists, table = run.lists(3), genre_table(run.genres())
    whole = similarity(lists, table), shares(lists, table), overlap(lists, run.lists(4))
    monkeypatch.setattr(lists_module, "_CELLS", 50)
    parts = similarity(lists, table), shares(lists, table), overlap(lists, run.lists(4))
    for one, other in zip(whole, parts, strict=True):
        assert one == pytest.approx(other)


# --- all lists together -----------------------------------------------------------------------------------


def test_exposure_that_is_even_or_on_one_item_has_the_ends_of_the_scale() -> None:
    assert gini(np.ones((1, 4)), 4)[0] == pytest.approx(0)
    assert gini(np.array([[7.0]]), 100)[0] == pytest.approx(0.99)
    assert gini(np.array([[3.0, 0, 1]]), 5)[0] == pytest.approx(gini(np.array([[3.0, 1]]), 5)[0])
    assert coverage(np.array([[3.0, 0, 1]]), 5)[0] == pytest.approx(0.4)


def test_an_interval_of_coverage_holds_the_value_although_draws_show_fewer_items() -> None:
    users = [str(user) for user in range(run.USERS)]
    found = estimate_exposure([run.lists(3)], users, run.ITEMS, resamples=500)
    for one in found.values():
        assert one.low < one.value < one.high and one.n == one.users == run.USERS
    assert found["coverage"].value == len(np.unique(run.lists(3))) / run.ITEMS
    monkey = estimate_exposure([run.lists(3)], users[:1] * run.USERS, run.ITEMS)
    assert all(math.isnan(one.low) for one in monkey.values())  # one user cannot be resampled


def test_of_several_seeds_the_mean_is_told_and_the_interval_knows_of_them() -> None:
    users = [str(user) for user in range(run.USERS)]
    runs = [run.lists(3), run.lists(4), run.lists(5)]
    found = estimate_exposure(runs, users, run.ITEMS, resamples=500)
    alone = [estimate_exposure([one], users, run.ITEMS, resamples=500) for one in runs]
    for name, one in found.items():
        assert one.value == pytest.approx(np.mean([other[name].value for other in alone]))
        assert one.seeds == 3 and one.seed_std > 0


def test_lists_without_any_item_are_refused() -> None:
    with pytest.raises(ValueError, match="no list"):
        estimate_exposure([np.full((2, 3), NOTHING)], ["a", "b"], 5)
