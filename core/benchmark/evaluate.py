"""Ranks the test cases again with a saved run, and says whether its stated figures come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.benchmark.testing import rank_cases
from core.events import Emit, ShouldStop, never, silent
from core.recommenders.base import Task
from core.results.format import Case, MetricValue, measure
from core.runs.store import RunInfo, open_run, result_of

TOLERANCE = 1e-9
"""Figures are means of the same ranks or they are not; this is for the last digit of a float."""


@dataclass(frozen=True)
class Evaluation:
    """A run's figures, made anew, beside those that it states."""

    info: RunInfo
    metrics: Mapping[str, Mapping[str, MetricValue]]
    """Test set -> metric -> value, as ranked now."""
    stated: Mapping[str, Mapping[str, MetricValue]]
    """The same, from the result that was saved with the run."""
    users: Mapping[str, int]
    """Test set -> number of users."""
    cases: int
    """Cases in all test sets together."""
    moved: int
    """Those of them whose target has another rank now."""
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether every stated figure came out, and no other."""
        return self.metrics.keys() == self.stated.keys() and all(
            values.keys() == self.stated[name].keys()
            and all(
                abs(value.value - self.stated[name][metric].value) <= TOLERANCE
                for metric, value in values.items()
            )
            for name, values in self.metrics.items()
        )


def evaluate_run(
    path: Path, emit: Emit = silent, should_stop: ShouldStop = never, precision: str = "auto"
) -> Evaluation:
    """Opens a run and ranks its test cases, computed in this precision.

    Raises:
        ResultError: the folder or its result is missing or damaged, or its cases are no longer made.
        AssetError, DataError, ModelError: the data or the language model cannot be loaded.
        Interrupted: `should_stop` said so.
    """
    result = result_of(path)
    run = open_run(path, emit, precision, should_stop)
    task = Task(run.dataset, run.samples, run.info.config, run.info.seed, path, emit, should_stop)
    cases, seconds = rank_cases(run.recommender, task)
    return Evaluation(
        info=run.info,
        metrics=measure(cases, run.info.config.data.whole),
        stated=result.metrics,
        users={name: len({case.user for case in cases if case.set == name}) for name in run.samples.test},
        cases=len(cases),
        moved=_moved(cases, result.cases),
        seconds=seconds,
    )


def _moved(cases: list[Case], before: tuple[Case, ...]) -> int:
    """Cases whose rank is another one, or that are on one side only."""
    now, then = ({(c.set, c.user, c.position): c.rank for c in side} for side in (cases, before))
    return sum(now.get(case) != then.get(case) for case in now.keys() | then.keys())
