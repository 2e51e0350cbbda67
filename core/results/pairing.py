"""The one way to pair results: by user and position of each case, on exactly the same cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from core.config.choices import CONTROL_GATES
from core.data.types import pool_of
from core.errors import ResultError
from core.results.format import Case, Result


def has_control_gate(result: Result) -> bool:
    """Whether its gate is a control, which says nothing of the method when it is ahead."""
    gate = result.config.get("gate")
    return isinstance(gate, dict) and gate.get("kind") in CONTROL_GATES


def cases_of(result: Result, test_set: str | None = None) -> list[Case]:
    """The cases of a test set, or every case once, ranked among all items; sorted by user and position."""
    among_all = {name for name in result.metrics if not pool_of(name)} or {*result.metrics}
    sets = among_all if test_set is None else {test_set}
    found = {case.place: case for case in result.cases if case.set in sets}
    return [found[place] for place in sorted(found)]


def paired_ranks(
    results: Sequence[Result], test_set: str | None = None
) -> tuple[list[tuple[str, int]], npt.NDArray[np.int64]]:
    """User and position of each case, sorted, and the target's ranks, (results, n), in that order.

    Args:
        results: of one dataset and split.
        test_set: whose cases; every case once where it is None.

    Raises:
        ResultError: they met other cases.
    """
    cases = [cases_of(result, test_set) for result in results]
    places = [[case.place for case in own] for own in cases]
    alike = {(result.dataset, result.split, result.samples_sha256) for result in results}
    if len(alike) > 1 or any(own != places[0] for own in places):
        raise ResultError("the runs met different test cases", "compare runs of one dataset and preset")
    return places[0], np.array([[case.rank for case in own] for own in cases], dtype=np.int64)
