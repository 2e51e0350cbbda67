"""What a paired test of two rows could have seen, and what it would need, from the ranks on disk."""

from __future__ import annotations

from core.errors import ResultError
from core.evaluation.metrics import HEADLINE
from core.evaluation.power import Variances, variances_of
from core.results.tables import Row, Table


def power_of(table: Table, row: Row, base: Row, test_set: str, metric: str = HEADLINE) -> Variances:
    """The variances of a row's differences from a base, over the seeds that both have.

    Raises:
        ResultError: they share no seed, there is one user only, or the base's mean is zero.
    """
    shared = [seed for seed in row.seeds if seed in base.seeds]
    names = f"{row.label} and {base.label}"
    if not shared:
        raise ResultError(f"{names} share no training seed", "run both with the same --seeds")
    ours, theirs = (
        one.values(test_set, metric)[[one.seeds.index(seed) for seed in shared]] for one in (row, base)
    )
    try:
        return variances_of(ours, theirs, row.users(test_set))
    except ValueError as error:
        hint = "more test users are needed, or another --metric"
        raise ResultError(f"{names} on {test_set} of {table.dataset}: {error}", hint) from error
