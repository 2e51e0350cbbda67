"""Groups divide the cases by what they are, and every group says how many it holds."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import ResultError
from core.evaluation.metrics import METRICS
from core.results.breakdown import by_group, groups
from core.results.case_facts import CaseFacts
from core.results.tables import group_tables
from tests.made_up import answered, case_facts, five_methods

(TABLE,) = group_tables(five_methods(seeds=2))
PLACES = TABLE.rows[0].places["spread"]
FACTS = case_facts(PLACES)


def test_the_groups_of_a_dimension_hold_every_case_exactly_once():
    found = groups(FACTS, PLACES)
    for dimension in ("popularity", "history", "title"):
        members = np.stack([group.members for group in found if group.dimension == dimension])
        assert (members.sum(axis=0) == 1).all()


def test_thirds_are_of_about_the_same_size_and_in_order():
    thirds = [group for group in groups(FACTS, PLACES) if group.dimension == "popularity"]
    popularity = np.array([FACTS[place].popularity for place in PLACES])
    assert [popularity[group.members].max() for group in thirds] == sorted(
        popularity[group.members].max() for group in thirds
    )
    assert all(abs(len(group) - len(PLACES) / 3) < 20 for group in thirds)


def test_targets_that_are_all_equally_popular_are_one_group():
    same = {place: CaseFacts(5, 10, False) for place in PLACES}
    assert [group.name for group in groups(same, PLACES)] == [
        "rare targets (at most 5)",
        "10 items",
        "title of its own",
        "known items",
    ]


def test_the_groups_of_one_dimension_average_to_the_whole():
    found = [group for group in groups(FACTS, PLACES) if group.dimension == "popularity"]
    estimates = by_group(TABLE.rows, "spread", found)
    for place, row in enumerate(TABLE.rows):
        for metric in METRICS:
            mean = sum(of[place][metric].value * of[place][metric].n for of in estimates) / len(PLACES)
            assert mean == pytest.approx(row.metrics["spread"][metric].value)
            assert all(of[place][metric].seeds == 2 for of in estimates)


def test_of_answers_in_words_a_group_has_what_the_row_has():
    (table,) = group_tables([answered("ilora"), answered("lora")])
    thirds = [group for group in groups(FACTS, PLACES) if group.dimension == "popularity"]
    found = by_group(table.rows, "spread", thirds)
    for place, row in enumerate(table.rows):
        whole = row.metrics["spread"]
        assert all(list(of_group[place]) == list(whole) for of_group in found)
        for metric in ("HR@1", "ValidRatio"):
            mean = sum(of[place][metric].value * of[place][metric].n for of in found) / len(PLACES)
            assert mean == pytest.approx(whole[metric].value)


def test_a_case_without_facts_is_an_error():
    with pytest.raises(ResultError, match="nothing is known"):
        groups({}, PLACES)
