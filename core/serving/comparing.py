"""Runs beside each other, from their result files: who gains and who loses, and how each one learnt."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.errors import IloraError, ResultError
from core.runs.store import result_of
from core.serving.protocol import CaseDiffered, CurveListed, Differed


def differences(request: int, run: Path, other: Path) -> Differed:
    """Target ranks of two runs' test cases side by side, from their result files.

    Raises:
        ResultError: a result file is missing, or the two met other cases.
    """
    from core.results.pairing import paired_ranks

    results = [result_of(path) for path in (run, other)]
    tested = [name for name in ("spread", "last") if all(name in found.metrics for found in results)]
    if not tested:
        raise ResultError("the two runs share no test set", "run the benchmark for both")
    places, ranks = paired_ranks(results, tested[0])
    cases: list[CaseDiffered] = [
        {"user": user, "position": position, "rank": int(rank), "other": int(other)}
        for (user, position), rank, other in zip(places, *ranks, strict=True)
    ]
    cases.sort(key=lambda case: -abs(case["other"] - case["rank"]))
    gained = sum(case["rank"] < case["other"] for case in cases)
    lost = sum(case["rank"] > case["other"] for case in cases)
    return Differed(request, str(run), str(other), tested[0], cases, gained, lost, len(cases) - gained - lost)


def curves(runs: Iterable[str]) -> Iterator[CurveListed]:
    """How each run learnt, from its result file; a run that was deleted or is damaged is left out."""
    for run in runs:
        with contextlib.suppress(IloraError):
            yield {"run": run, "points": [dict(point) for point in result_of(Path(run)).history]}
