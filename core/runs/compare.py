"""What sets two runs apart: their settings, and their figures on the same cases."""

from __future__ import annotations

from typing import Any

from core.evaluation.metrics import compare_by, metrics_for, per_case
from core.evaluation.statistics import Comparison
from core.results.format import Result
from core.results.pairing import paired_ranks
from core.runs.store import RunInfo


def settings_apart(a: RunInfo, b: RunInfo) -> dict[str, tuple[Any, Any]]:
    """Method, seed and settings in which two runs differ: name -> both values; None where one has no such."""
    sides = []
    for run in (a, b):
        flat = {"method": run.method, "seed": run.seed}
        for part, values in run.config.to_dict().items():
            flat |= {f"{part}.{name}": value for name, value in values.items()}
        sides.append(flat)
    ours, theirs = sides
    both = {name: (ours.get(name), theirs.get(name)) for name in {**ours, **theirs}}
    return {name: (own, other) for name, (own, other) in both.items() if own != other}


def compare_runs(a: Result, b: Result) -> dict[str, dict[str, Comparison]]:
    """Test set -> metric -> paired comparison on the same cases; positive numbers favour `a`.

    Raises:
        ResultError: the two met other cases.
    """
    found: dict[str, dict[str, Comparison]] = {}
    for test_set in (name for name in a.metrics if name in b.metrics):
        places, (ours, theirs) = paired_ranks((a, b), test_set)
        users = [user for user, _ in places]
        found[test_set] = {
            metric: compare_by(metric, per_case(ours, metric)[None], per_case(theirs, metric)[None], users)
            for metric in metrics_for(a.whole)
        }
    return found
