"""Results are paired by the user and position of each case, and only on the same cases."""

from __future__ import annotations

import dataclasses

import pytest

from core.errors import ResultError
from core.results.pairing import cases_of, paired_ranks
from tests.made_up import result


def test_ranks_are_paired_whatever_the_order_of_the_cases() -> None:
    one = result("ilora")
    other = dataclasses.replace(one, cases=tuple(reversed(one.cases)))
    places, ranks = paired_ranks((one, other), "spread")
    assert places == sorted(places)
    assert (ranks[0] == ranks[1]).all()
    known = {case.place: case.rank for case in one.cases if case.set == "spread"}
    assert [known[place] for place in places] == ranks[0].tolist()


def test_every_case_counts_once_over_all_sets() -> None:
    made = result("ilora")
    assert len(cases_of(made)) == len({case.place for case in made.cases})


@pytest.mark.parametrize("change", ["samples", "cases", "split"])
def test_results_of_other_cases_are_never_paired(change: str) -> None:
    one = result("ilora")
    changes = {
        "samples": {"samples_sha256": "0" * 64},
        "cases": {"cases": one.cases[1:]},
        "split": {"split": "x"},
    }
    with pytest.raises(ResultError, match="different test cases"):
        paired_ranks((one, dataclasses.replace(one, **changes[change])))
