"""Result files on disk: one per (dataset, split, method, seed, config), so that a benchmark can go on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from core.errors import DataError, ResultError
from core.files import LARGEST_RESULT, atomic_write
from core.records import read_text
from core.results.checking import RERUN
from core.results.format import Result, completed
from core.results.naming import RunKey


def result_path(out: Path, dataset: str, split: str, method: str, seed: int, config_sha256: str) -> Path:
    """Where the result of such a run lies below the output folder `out`."""
    return out / "results" / f"{RunKey(dataset, split, method, seed, config_sha256).name}.json"


def save_result(result: Result, out: Path) -> Path:
    """Writes the result whole, below `out`, and returns its path; a file of the same run is replaced.

    Raises:
        ResultError: the folder cannot be written.
    """
    path = result_path(out, *result.key)
    try:
        atomic_write(path, result.to_json())
    except OSError as error:
        raise ResultError(
            f"cannot write {path}: {error.strerror}", "choose another folder with --out"
        ) from error
    return path


def load_result(path: Path) -> Result:
    """The result in one file.

    Raises:
        ResultError: the file cannot be read, breaks the format, or has metrics its cases do not bear out.
    """
    try:
        text = read_text(path, LARGEST_RESULT)
    except DataError as error:
        raise ResultError(error.title, RERUN) from error
    result = Result.from_json(text, path.name)
    try:
        return completed(result)
    except ResultError as error:
        hint = "the file was changed; run the benchmark again or remove it"
        raise ResultError(f"{path.name}: {error.title}", hint) from error


def load_results(out: Path) -> tuple[list[Result], list[str]]:
    """All results below the output folder `out`, and one line for each file that had to be left out.

    A damaged, older or edited file does not hide the others. A missing folder holds no results.

    Raises:
        ResultError: `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise ResultError(f"{out} is a file, not a folder", "name a folder with --out")
    results: dict[RunKey, Result] = {}
    problems = []
    for path in sorted((out / "results").glob("*.json")):
        if path.name.startswith("."):  # a temporary file of a run in progress
            continue
        try:
            result = load_result(path)
        except ResultError as error:
            problems.append(f"{error.title} – {error.hint}")
            continue
        if result.key in results:
            problems.append(f"{path.name}: the same run as another file – remove one of the two")
            continue
        results[result.key] = result
    return list(results.values()), problems


def check_there(paths: Iterable[Path], hint: str) -> None:
    """Refuses to call written what somebody removed meanwhile.

    Raises:
        ResultError: one of the files is not there; `hint` says what to do.
    """
    if gone := [path for path in paths if not path.exists()]:
        raise ResultError(f"{gone[0]} vanished meanwhile", hint)
