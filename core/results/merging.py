"""Results of several output folders read as one, or copied into one."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data.types import Place
from core.errors import ResultError
from core.files import atomic_path
from core.results.case_facts import (
    CaseFacts,
    ExpertUse,
    experts_path,
    facts_path,
    load_experts,
    load_facts,
)
from core.results.format import Result
from core.results.item_facts import item_facts_path
from core.results.naming import RunKey
from core.results.rankings import rankings_path
from core.results.store import check_there, load_results, result_path
from core.results.tables import Table
from core.results.trials import load_searches, search_path


@dataclass(frozen=True)
class Merged:
    """What a merge did."""

    results: int
    """Results now in the target that were not there before."""
    problems: tuple[str, ...]
    """One line for each file that was left out."""


def load_folders(folders: Sequence[Path]) -> tuple[list[Result], list[str]]:
    """All results of several output folders, and one line for each file that had to be left out.

    A run that several folders hold counts once; where its figures differ, the first folder's are kept.

    Raises:
        ResultError: a folder is a file.
    """
    found: dict[RunKey, tuple[Path, Result]] = {}
    problems = []
    for folder in folders:
        results, complaints = load_results(folder)
        problems += complaints
        for result in results:
            first, known = found.setdefault(result.key, (folder, result))
            if known.cases != result.cases or known.samples_sha256 != result.samples_sha256:
                problems.append(f"{_file(folder, result)}: {first} has the same run with other figures")
    return [result for _, result in found.values()], problems


def restricted(
    results: Sequence[Result],
    methods: Sequence[str] = (),
    split: str | None = None,
    test_set: str | None = None,
) -> list[Result]:
    """Those results, or those parts of them, that were asked for; nothing given means everything."""
    kept = []
    for result in results:
        if (methods and result.method not in methods) or split not in (None, result.split):
            continue
        if test_set is not None:
            if test_set not in result.metrics:
                continue
            cases = tuple(case for case in result.cases if case.set == test_set)
            result = dataclasses.replace(  # noqa: PLW2901
                result, metrics={test_set: result.metrics[test_set]}, cases=cases
            )
        kept.append(result)
    return kept


def facts_for(folders: Sequence[Path], table: Table) -> dict[Place, CaseFacts] | None:
    """What the first folder that has it knows of a table's cases; None where none does.

    Raises:
        ResultError: a file is damaged.
    """
    for folder in folders:
        found = load_facts(folder, table.dataset, table.split, table.samples_sha256)
        if found is not None:
            return found
    return None


def experts_for(folders: Sequence[Path], result: Result) -> ExpertUse | None:
    """The gate's weights of a result, from the first folder that has them; None where none does.

    Raises:
        ResultError: a file is damaged.
    """
    for folder in folders:
        found = load_experts(folder, _file(folder, result))
        if found is not None:
            return found
    return None


def merge(sources: Sequence[Path], target: Path) -> Merged:
    """Copies the results of several output folders, with what belongs to them, into one; models stay.

    A run that the target has already is not replaced.

    Raises:
        ResultError: a source is missing or a file, there is nothing to copy, or the target cannot be written.
    """
    for source in sources:
        if not source.is_dir():
            raise ResultError(f"{source} is no folder", "name folders that `ilora-app bench --out` wrote to")
    results, problems = load_folders([target, *sources])
    if not results:
        raise ResultError(f"no results in {', '.join(map(str, sources))}", "; ".join(problems[:1]))
    copied = 0
    for result in results:
        copied += not _file(target, result).exists()
        source = next(folder for folder in [target, *sources] if _file(folder, result).exists())
        if source == target:
            continue
        key = (result.dataset, result.split, result.samples_sha256)
        for facts in (facts_path, item_facts_path):
            _copy(facts(source, *key), facts(target, *key))
        for path in (experts_path, _rankings, _itself):  # the result last: what is there is complete
            _copy(path(source, _file(source, result)), path(target, _file(target, result)))
    for search in load_searches(sources)[0]:
        source = next(folder for folder in sources if search_path(folder, search).exists())
        _copy(search_path(source, search), search_path(target, search))
    check_there((_file(target, result) for result in results), "the same command copies it again")
    return Merged(copied, tuple(problems))


def _copy(source: Path, target: Path) -> None:
    if not source.exists() or target.exists():
        return
    try:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise ResultError(
            f"cannot write {target}: {error.strerror}", "choose another folder with --out"
        ) from error


def _rankings(folder: Path, file: Path) -> Path:
    del folder
    return rankings_path(file)


def _itself(folder: Path, file: Path) -> Path:
    del folder
    return file


def _file(folder: Path, result: Result) -> Path:
    return result_path(folder, *result.key)
