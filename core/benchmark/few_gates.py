"""What it costs when N adapters serve everybody: a trained iLoRA asked with the gates of N clusters.

The clusters are those that `export --users … --clusters N` writes: made of training histories alone. Their
number is chosen on validation; the test cases only report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.data.types import Sample
from core.encoders.job import target_columns
from core.errors import InputError, Interrupted
from core.evaluation.metrics import (
    HEADLINE,
    Scores,
    compare_by,
    pairs_alike,
    per_case,
    ranks_from_scores,
)
from core.evaluation.statistics import Comparison, Estimate, bootstrap
from core.ilora.gate_clusters import given_gates, read_gates
from core.runs.exporting_clusters import fit_clusters, gated_model
from core.runs.store import OpenRun
from core.stages import UNWATCHED, Watch

COUNTS = (1, 4, 16, 64)
VALIDATION = "validation"


@dataclass(frozen=True)
class FewGates:
    """N adapters on a set of cases, beside each history's own."""

    set: str
    """`validation`, or a test set's name."""
    adapters: int
    """How many there are; 0 stands for each history's own gate."""
    hits: Estimate
    """HR@1."""
    against_own: Comparison | None
    """HR@1 against each history's own gate; None for that itself."""
    same_first: Estimate
    """Share of cases with the same best candidate as under its own gate."""
    same_pairs: Estimate
    """Share of pairs of candidates in the same order as under its own gate."""


def ask_few_gates(run: OpenRun, counts: Sequence[int] = COUNTS, watch: Watch = UNWATCHED) -> list[FewGates]:
    """Ranks validation and test cases with each history's own gate, then with N clusters' gates.

    Args:
        run: an iLoRA whose cases have sampled candidates.
        counts: how many clusters.
        watch: told how far it is, and may stop it.

    Raises:
        InputError: the run has no gate, its cases no candidates, or a number cannot be used.
        Interrupted: the watch asked to stop.
    """
    model = gated_model(run)
    if run.info.config.data.whole:
        raise InputError(
            "this run is tested against the whole catalogue", "clusters are measured among sampled candidates"
        )
    sets = {VALIDATION: run.samples.validation, **run.samples.test}
    asked = list(dict.fromkeys(case for samples in sets.values() for case in samples))
    clusters = fit_clusters(run, counts, watch)
    stage = watch.stage("test", len(asked) * (1 + len(clusters)))

    def tell(cases: int) -> None:
        if watch.should_stop():
            raise Interrupted
        stage.advance(cases)

    histories = [tuple(case.history) for case in asked]
    omega = read_gates(model, histories)
    scores = {0: _scores(run, asked, tell)}
    for found in clusters.values():
        with given_gates(model, dict(zip(histories, found.nearest(omega), strict=True))):
            scores[len(found.centres)] = _scores(run, asked, tell)
    places = {case: row for row, case in enumerate(asked)}
    return [
        _measure(
            name, count, samples, *(side[[places[case] for case in samples]] for side in (found, scores[0]))
        )
        for name, samples in sets.items()
        for count, found in scores.items()
    ]


def _scores(run: OpenRun, cases: Sequence[Sample], tell: Callable[[int], None]) -> Scores:
    """(n, C) scores."""
    run.recommender.after_batch = tell
    try:
        return run.recommender.score([case.history for case in cases], [case.candidates for case in cases])
    finally:
        run.recommender.after_batch = None


def _measure(name: str, count: int, samples: Sequence[Sample], scores: Scores, own: Scores) -> FewGates:
    columns, users = target_columns(samples), [case.user for case in samples]
    hits, before = (per_case(ranks_from_scores(side, columns), HEADLINE) for side in (scores, own))
    return FewGates(
        set=name,
        adapters=count,
        hits=bootstrap(hits, users),
        against_own=compare_by(HEADLINE, hits, before, users) if count else None,
        same_first=bootstrap((scores.argmax(1) == own.argmax(1)).astype(np.float64), users),
        same_pairs=bootstrap(pairs_alike(scores, own), users),
    )
