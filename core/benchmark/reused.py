"""A model that was trained when twenty candidates were asked for also ranks the whole catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.benchmark.costs import Stage, untrained
from core.config.settings import DataConfig, RunConfig
from core.errors import IloraError
from core.events import Notice
from core.recommenders.base import FitReport, Recommender, Task
from core.results.format import Result
from core.runs.store import open_run, read_run, result_of


def twenty_of(config: RunConfig) -> RunConfig:
    """The same settings, asked about twenty candidates."""
    plain = DataConfig()
    data = replace(config.data, candidates=plain.candidates, retrieve=plain.retrieve)
    return replace(config, data=data)


def trained_before(method: str, task: Task, folder: Path) -> tuple[Recommender, FitReport] | None:
    """A trained method and how its training went, from its run of twenty candidates; None if it is unusable.

    What the target is ranked against at test changes nothing in how a method is trained.

    Args:
        method: its name.
        task: the whole catalogue's.
        folder: the run folder of twenty candidates.

    Raises:
        Interrupted: the task asked to stop.
    """
    try:
        info, stated = read_run(folder), result_of(folder)
        if twenty_of(info.config).data != twenty_of(task.config).data:
            return None
        opened = open_run(folder, task.emit, stated.precision or "auto", task.should_stop)
    except IloraError as error:
        task.emit(Notice(f"{folder.name} cannot be used ({error.title}): training again", "warning"))
        return None
    text = f"{method}, seed {task.seed}: taken as it was trained for twenty candidates"
    task.emit(Notice(text))
    return opened.recommender, _report(stated)


def without_trained_before(
    stages: Sequence[Sequence[Stage]], folders: Sequence[Path | None]
) -> list[list[Stage]]:
    """What is left of runs, given where those of twenty candidates lie: they are not trained again."""
    return [
        [*of_run] if folder is None else untrained(of_run)
        for of_run, folder in zip(stages, folders, strict=True)
    ]


def _report(stated: Result) -> FitReport:
    size, timings = stated.parameters, stated.timings
    return FitReport(
        trainable_parameters=size.trainable,
        adapter_parameters=size.adapter,
        gate_parameters=size.extra_over_lora,
        total_parameters=size.total,
        load_seconds=timings.get("load_seconds", 0.0),
        train_seconds=timings.get("train_seconds", 0.0),
        samples_per_second=timings.get("samples_per_second", 0.0),
        curve=[dict(point) for point in stated.history],
        notes=list(stated.notes),
    )
