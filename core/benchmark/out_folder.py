"""The output folder of a benchmark: made, rid of what killed runs left, and shared by several processes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from core.assets.spec import home
from core.errors import ResultError
from core.events import Emit, Notice
from core.files import remove_leftovers, temporary_folder
from core.methods import METHODS
from core.recommenders.base import Task, lock_of
from core.recommenders.encoders import clear_known_encoders
from core.recommenders.registry import method_class
from core.results.format import Result
from core.results.naming import RunKey
from core.results.store import load_result, result_path, save_result
from core.runs.store import run_folder
from core.training import parallel

WORK = "work"
"""Where methods keep what they need until they are done, below the output folder."""
OWN_FOLDERS = ("", "results", "models", "cases", "tuning", WORK, f"{WORK}/*", f"{WORK}/checkpoints/*")
"""Where a run writes, below the output folder; whatever else lies there is somebody else's."""


def prepare_out(out: Path) -> None:
    """Makes the output folder, and removes what killed runs left in it and in the cache.

    Raises:
        ResultError: it is a file, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise ResultError(f"{out} is a file, not a folder", "name a folder with --out")
    try:
        with temporary_folder(out):
            pass
    except OSError as error:
        raise ResultError(
            f"cannot write to {out}: {error.strerror}", "choose another folder with --out"
        ) from error
    if parallel.is_main():
        for pattern in OWN_FOLDERS:
            for folder in out.glob(pattern) if pattern else [out]:
                remove_leftovers(folder)
        for folder in (home(), *home().glob("*/"), *home().glob("datasets/*/")):
            remove_leftovers(folder)
        clear_known_encoders(out / WORK)


def known_result(out: Path, key: RunKey, samples_sha256: str, with_model: bool) -> Result | None:
    """The result on disk, if it is of these very samples and, where asked for, its model is there too.

    Raises:
        ResultError: there is a file and it is damaged or of another version.
    """
    path = result_path(out, *key)
    if not path.exists() or (with_model and not run_folder(out, *key).is_dir()):
        return None
    result = load_result(path)
    return result if result.samples_sha256 == samples_sha256 else None


def take_turn(turn: ExitStack, task: Task, method: str, key: RunKey) -> None:
    """Waits until no other process works on a run, and keeps the others off it until `turn` ends.

    Raises:
        Interrupted: the task was stopped while waiting.
    """
    lock = lock_of(task.folder, key.name)
    turn.enter_context(
        task.watch(method).alone(lock, f"working on {method}, seed {task.seed}, in this folder")
    )


def forget_work(task: Task, method: str) -> None:
    """Removes the checkpoints of a run that has its result, also those that a killed process left."""
    if (task.folder / "checkpoints").is_dir():
        method_class(method)().forget(task)


def check_written(out: Path, results: Sequence[Result], with_models: bool, emit: Emit) -> None:
    """Writes results again that somebody removed meanwhile; with them went models, which is said.

    Raises:
        ResultError: a result cannot be written, or its model was removed and was to be kept.
    """
    for result in results:
        place, folder = result_path(out, *result.key), run_folder(out, *result.key)
        gone = not place.is_file()
        if gone:
            emit(Notice(f"{place} vanished meanwhile and is written again", "warning"))
            save_result(result, out)
        if METHODS[result.method].keeps_model and not folder.is_dir():
            if with_models:
                raise ResultError(f"{folder} vanished meanwhile", "the same command trains it again")
            if gone:
                emit(Notice(f"{folder} vanished meanwhile; ilora-app train makes it again", "warning"))
