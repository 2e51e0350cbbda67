"""What a split keeps from training: all that is later than a moment, and cold items; what it tests on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config.settings import DataConfig
from core.data.card_files import parse_card
from core.data.cold import draw_cold
from core.data.reading.interactions import build_dataset, parse_catalogue, parse_interactions
from core.data.samples import later_than_test, make_samples, trained_on, training_candidates
from core.data.types import Dataset, Samples, UserSequence
from core.errors import InputError
from tests import wide

CARD = parse_card(wide.card(), "wide.toml")
CATALOGUE = parse_catalogue(wide.films(), CARD.sources[0].items, CARD.titles)
DATASET = build_dataset(
    CARD, CATALOGUE, parse_interactions(wide.ratings(), CARD.sources[0].interactions, CATALOGUE)
)
SPLITS = ("paper", "leave-one-out", "temporal")


def of_training(dataset: Dataset, samples: Samples) -> Iterator[int]:
    """Every item that training meets: in sequences, as target, in a history, as a negative."""
    for sequence in trained_on(dataset, samples).values():
        yield from sequence.items.tolist()
    for place, case in enumerate(samples.train):
        yield from (case.target, *case.history)
        if place % 7 == 0:
            yield from training_candidates(dataset, samples, case, 12, 0, "train-1")


def of_validation(samples: Samples) -> Iterator[int]:
    for case in samples.validation:
        yield from (case.target, *case.history, *case.candidates)


# --- by time -----------------------------------------------------------------------------------------------


def times_of(dataset: Dataset, samples: Samples) -> tuple[list[int], list[int], list[int]]:
    """When the interactions of training, and the targets of validation and test were."""
    trained = [time for one in trained_on(dataset, samples).values() for time in one.timestamps.tolist()]
    sides = [
        [int(dataset.sequences[case.user].timestamps[case.position]) for case in cases]
        for cases in (samples.validation, samples.asked.values())
    ]
    return trained, sides[0], sides[1]


def test_training_ends_before_validation_and_validation_before_the_test_for_all_users_alike() -> None:
    samples = make_samples(DATASET, CARD, "temporal")
    moments = samples.moments
    assert moments is not None
    trained, validated, tested = times_of(DATASET, samples)
    assert max(trained) < moments.validation <= min(validated)
    assert max(validated) < moments.test <= min(tested)
    assert later_than_test(DATASET, samples) == (len(list(_trained(samples))), 0)


def _trained(samples: Samples) -> Iterator[int]:
    """Items of users with a training case, up to their last one."""
    last = {case.user: case.position for case in samples.train}
    for user, end in last.items():
        yield from trained_on(DATASET, samples)[user].items[: end + 1].tolist()


def test_a_share_of_the_interactions_is_earlier_than_the_test_and_a_date_is_taken_as_it_is() -> None:
    times = np.concatenate([one.timestamps for one in DATASET.sequences.values()])
    samples = make_samples(DATASET, CARD, "temporal", test_from="0.7")
    assert samples.moments is not None
    assert (times < samples.moments.test).mean() == pytest.approx(0.7, abs=0.02)
    assert (times < samples.moments.validation).mean() == pytest.approx(0.63, abs=0.02)
    dated = make_samples(DATASET, CARD, "temporal", test_from="1970-01-02T04:00")
    assert dated.moments is not None and dated.moments.test == 28 * 3600
    zoned = make_samples(DATASET, CARD, "temporal", test_from="1970-01-02T05:00+01:00")
    assert dated == zoned


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_whatever_happens_after_the_moment_training_is_the_same(data: st.DataObject) -> None:
    """The strongest form of the promise: another future, the same training, down to every negative."""
    moment = 101_200
    future = {}
    for user, sequence in DATASET.sequences.items():
        end = int(np.searchsorted(sequence.timestamps, moment))
        more = data.draw(st.lists(st.integers(0, wide.ITEMS - 1), min_size=0, max_size=8, unique=True))
        items = np.concatenate([sequence.items[:end], np.array(more, np.int64)])
        times = np.concatenate([sequence.timestamps[:end], moment + 7 * np.arange(len(more))])
        future[user] = UserSequence(user, items, times, items)
    user, sequence = next(iter(future.items()))  # somebody is there to be tested
    items = np.concatenate([sequence.items, [3]])
    times = np.concatenate([sequence.timestamps, [moment + 900]])
    future[user] = UserSequence(user, items, times, items)
    other = dataclasses.replace(DATASET, sequences=future)
    asked = {"split": "temporal", "test_from": "1970-01-02T04:06:40"}
    before, after = (make_samples(dataset, CARD, **asked) for dataset in (DATASET, other))
    assert before.moments == after.moments and before.withheld == after.withheld
    assert list(before.train) == list(after.train)
    assert before.validation == after.validation
    for case in list(before.train)[::9]:
        drawn = [
            training_candidates(dataset, samples, case, 12, 0, "train-0")
            for dataset, samples in ((DATASET, before), (other, after))
        ]
        assert drawn[0] == drawn[1]


def test_items_that_nobody_had_chosen_yet_are_in_no_training() -> None:
    samples = make_samples(DATASET, CARD, "temporal", test_from="0.6")
    met = {item for one in trained_on(DATASET, samples).values() for item in one.items.tolist()}
    assert samples.withheld == frozenset(range(wide.ITEMS)) - met
    assert samples.withheld and not samples.withheld & set(of_training(DATASET, samples))


def test_test_histories_hold_what_the_user_had_and_the_usual_rules_draw_their_candidates() -> None:
    samples = make_samples(DATASET, CARD, "temporal")
    assert set(samples.test) == {"last", "spread"} and set(samples.test["last"]) <= set(
        samples.test["spread"]
    )
    for case in samples.asked.values():
        mine = DATASET.sequences[case.user]
        assert case.target == mine.items[case.position]
        assert case.history == tuple(mine.items[max(0, case.position - 10) : case.position])
        assert len(set(case.candidates)) == 20 and not (set(case.candidates) - {case.target}) & mine.seen


def test_fewer_test_users_are_asked_of_a_split_by_time_as_of_the_papers() -> None:
    everybody = make_samples(DATASET, CARD, "temporal")
    few = make_samples(DATASET, CARD, "temporal", test_users=2)
    assert len({case.user for case in few.asked.values()}) == 2
    assert few.left_out == len({case.user for case in everybody.asked.values()}) - 2


# --- cold items --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_a_cold_item_is_in_no_training_and_no_validation(split: str) -> None:
    samples = make_samples(DATASET, CARD, split, cold_items=0.4)
    assert len(samples.cold) == 48 and samples.cold <= samples.withheld
    assert not samples.cold & set(of_training(DATASET, samples))
    assert not samples.cold & set(of_validation(samples))
    met = {case.target for case in samples.train}
    assert met and {case.target for case in samples.validation}


@pytest.mark.parametrize("split", SPLITS)
def test_cold_targets_are_sets_of_their_own_among_cold_items_and_among_all(split: str) -> None:
    samples = make_samples(DATASET, CARD, split, cold_items=0.4)
    cold, among_all = samples.test["cold"], samples.test["cold-all"]
    assert [case.place for case in cold] == [case.place for case in among_all] != []
    for case in cold:
        assert set(case.candidates) <= samples.cold and len(set(case.candidates)) == 20
        assert not (set(case.candidates) - {case.target}) & DATASET.sequences[case.user].seen
    assert any(set(case.candidates) - samples.cold for case in among_all)
    usual = [case for name in samples.test.keys() - {"cold", "cold-all"} for case in samples.test[name]]
    assert usual and not {case.target for case in usual} & samples.cold
    assert {case.target for case in cold} <= samples.cold
    assert len(samples.questions) == len(samples.asked) + len(cold)


def test_histories_of_test_cases_stay_as_the_user_had_them() -> None:
    samples = make_samples(DATASET, CARD, "paper", cold_items=0.4)
    for case in samples.questions:
        mine = DATASET.sequences[case.user].items
        assert case.history == tuple(mine[max(0, case.position - 10) : case.position])
    assert any(set(case.history) & samples.cold for case in samples.asked.values())


def test_leave_one_out_tests_the_last_item_and_trains_on_what_is_known_before_it() -> None:
    samples = make_samples(DATASET, CARD, "leave-one-out", cold_items=0.4)
    last = {case.user: case.position for case in samples.validation}
    for case in samples.asked.values():
        assert case.position == len(DATASET.sequences[case.user].items) - 1
        known = trained_on(DATASET, samples)[case.user].items
        warm = len(known) - (case.target not in samples.cold)
        assert last.get(case.user, warm - 1) == warm - 1


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 3))
def test_a_larger_share_holds_the_items_of_a_smaller_one(one: float, other: float, seed: int) -> None:
    ids = CATALOGUE.ids
    small, large = (draw_cold("d", ids, share, seed) for share in sorted((one, other)))
    assert small <= large and len(large) == round(max(one, other) * len(ids))


def test_the_draw_of_cold_items_depends_on_seed_and_dataset_and_not_on_the_catalogues_order() -> None:
    ids = CATALOGUE.ids
    drawn = {ids[item] for item in draw_cold("d", ids, 0.3, 0)}
    turned = ids[::-1]
    assert drawn == {turned[item] for item in draw_cold("d", turned, 0.3, 0)}
    assert drawn != {ids[item] for item in draw_cold("d", ids, 0.3, 1)}
    assert drawn != {ids[item] for item in draw_cold("e", ids, 0.3, 0)}


def test_without_cold_items_and_moments_nothing_changes() -> None:
    for split in ("paper", "leave-one-out"):
        samples = make_samples(DATASET, CARD, split)
        assert not samples.withheld and samples.moments is None and not samples.apart
        assert trained_on(DATASET, samples) == DATASET.sequences


# --- short histories ---------------------------------------------------------------------------------------


def test_short_histories_are_a_set_of_their_own_and_change_no_other() -> None:
    usual, samples = make_samples(DATASET, CARD), make_samples(DATASET, CARD, min_history=1)
    assert {case.position for case in samples.test["short"]} == {1, 2}
    assert {case.user for case in samples.test["short"]} == {case.user for case in samples.test["last"]}
    assert {name: samples.test[name] for name in usual.test} == usual.test
    assert (samples.train, samples.validation) == (usual.train, usual.validation)
    assert samples.sha256 != usual.sha256
    assert {case.position for case in make_samples(DATASET, CARD, min_history=2).test["short"]} == {2}


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"split": "temporal", "test_from": "1970-01-01"}, "there must be interactions before and after it"),
        ({"split": "temporal", "test_from": "2030-01-01"}, "there must be interactions before and after it"),
        ({"split": "temporal", "test_from": "0.0001"}, "there must be interactions before and after it"),
        ({"split": "temporal", "test_from": "0.01"}, "leaves no"),
        ({"cold_items": 0.1}, "are 12, and a case among cold items needs 20"),
        ({"cold_items": 1.0}, "--cold-items leaves no training case"),
        ({"cold_items": 0.17}, "of the cold items, user '.*' of wide has .* unseen items, 19 are needed"),
        ({"min_history": 3}, "asks about histories of 3 items anyway"),
        ({"min_history": 1, "split": "leave-one-out"}, "no test case of wide has a history of 1 or more"),
    ],
)
def test_what_cannot_be_divided_is_refused_in_one_line_with_a_hint(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        make_samples(DATASET, CARD, **asked)
    assert "\n" not in caught.value.title and caught.value.hint


def test_data_without_times_is_not_split_by_time() -> None:
    timeless = parse_card(wide.card(times=False), "wide.toml")
    assert "temporal" in CARD.splits and "temporal" not in timeless.splits
    with pytest.raises(InputError, match="wide has no times") as caught:
        make_samples(DATASET, timeless, "temporal")
    assert "paper, leave-one-out" in caught.value.hint
    same = {
        user: dataclasses.replace(one, timestamps=np.full_like(one.timestamps, 7))
        for user, one in DATASET.sequences.items()
    }
    with pytest.raises(InputError, match="have no times"):
        make_samples(dataclasses.replace(DATASET, sequences=same), CARD, "temporal")


@pytest.mark.parametrize("text", ["", "soon", "1.5", "0", "nan", "-0.2", "1998", "1998-13-01"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--test-from") as caught:
        DataConfig(split="temporal", test_from=text)
    assert "such as 0.9" in caught.value.hint


def test_a_moment_belongs_to_a_split_by_time() -> None:
    with pytest.raises(InputError, match="belongs to a split by time, and this one is paper"):
        DataConfig(test_from="0.8")
