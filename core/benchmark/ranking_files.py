"""Ranking files of results on disk: whether they are whole; else made again from the trained model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.benchmark.testing import ask_all
from core.errors import IloraError, Interrupted
from core.events import Emit, Notice, ShouldStop
from core.recommenders.base import Task
from core.results.format import Result
from core.results.rankings import RankingFile, load_rankings, ranking_file, save_rankings
from core.results.store import result_path, save_result
from core.runs.store import open_run, run_folder
from core.training import parallel


def whole(result: Result | None, out: Path, emit: Emit, should_stop: ShouldStop) -> Result | None:
    """A result whose ranking file is whole or can be made again from the saved model; else None.

    A result of an older version, which has no ranking file, is taken as it is. One made again replaces
    the broken one only where every rank is the one that the result states.

    Raises:
        Interrupted: `should_stop` said so.
    """
    if result is None or result.rankings_sha256 is None:
        return result
    file = result_path(out, *result.key)
    try:
        load_rankings(result, file)
    except IloraError as error:
        emit(Notice(f"{error.title}: it is made again", "warning"))
        return _restored(result, out, emit, should_stop)
    return result


def _restored(result: Result, out: Path, emit: Emit, should_stop: ShouldStop) -> Result | None:
    """The result with a ranking file from its saved model; None without such a model, or with other ranks."""
    folder = run_folder(out, *result.key)
    if parallel.size() > 1 or not folder.is_dir():
        return None
    try:
        run = open_run(folder, emit, (result.precision or "auto"), should_stop)
        task = Task(run.dataset, run.samples, run.info.config, run.info.seed, folder, emit, should_stop)
        found = ask_all(run.recommender, task)
    except Interrupted:
        raise
    except IloraError as error:
        emit(Notice(f"{folder.name} cannot be opened ({error.title}), the method is run again", "warning"))
        return None
    if tuple(found.cases) != result.cases:
        emit(Notice(f"{folder.name} ranks otherwise than its result, the method is run again", "warning"))
        return None
    return with_rankings(result, ranking_file(found.rankings, run.dataset.catalogue.ids), out)


def with_rankings(result: Result, found: RankingFile, out: Path) -> Result:
    """Writes a ranking file and the result that states its checksum, and returns that result."""
    file = result_path(out, *result.key)
    save_rankings(found, file)
    stated = replace(result, rankings_sha256=found.sha256)
    save_result(stated, out)
    return stated
