"""Work kept in parts beside its result: which job the parts are of, so that no other goes on with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from core.errors import InputError, ResultError
from core.files import atomic_write, sha256_of_file
from core.records import json_of, read_text
from core.runs.store import RunInfo

JOB, LOCK = "job.json", ".lock"


@contextmanager
def claimed(parts: Path) -> Iterator[None]:
    """Lets one process at a time work on these parts; a killed one holds nothing.

    Raises:
        InputError: another process works on them.
        ResultError: somebody removed them meanwhile.
    """
    import filelock

    try:
        with present(parts), filelock.FileLock(parts / LOCK, timeout=0):
            yield
    except filelock.Timeout as error:
        raise InputError(
            f"another process works on {parts}", "wait for it, or choose another --out"
        ) from error


@contextmanager
def present(parts: Path) -> Iterator[None]:
    """Tells of parts that somebody removed while the block worked on them.

    Raises:
        ResultError: they are not there any more.
    """
    try:
        yield
    except (FileNotFoundError, SafetensorError) as error:
        if (parts / LOCK).exists():
            raise
        raise vanished(parts) from error


def vanished(parts: Path) -> ResultError:
    """The error where parts that were written are not there any more."""
    return ResultError(f"{parts} vanished meanwhile", "the same command begins anew")


def job_of(info: RunInfo, histories: Path | None, **more: Any) -> dict[str, Any]:
    """What decides the parts: the run, the users (the dataset's own without a file), and whatever else."""
    return {
        "dataset": info.dataset,
        "trained": info.created,
        "samples_sha256": info.samples_sha256,
        "files": info.files,
        "histories": "the dataset" if histories is None else sha256_of_file(histories),
        **more,
    }


def same_job(parts: Path, job: Mapping[str, Any]) -> None:
    """Writes down what the job is, or raises `ResultError` where another one was begun."""
    if not was_begun(parts, job):
        atomic_write(parts / JOB, json.dumps(job, indent=1) + "\n")


def was_begun(parts: Path, known: Mapping[str, Any]) -> bool:
    """Whether these parts were begun.

    Args:
        parts: the folder.
        known: what is known of the job; what it leaves out is not compared.

    Raises:
        ResultError: they are of another job.
    """
    file = parts / JOB
    if not file.exists():
        return False
    begun = json_of(read_text(file), str(file))
    apart = [name for name in known if not isinstance(begun, dict) or begun.get(name) != known[name]]
    if apart:
        raise ResultError(
            f"{parts} holds the beginning of another job: {', '.join(apart)} differ",
            "give that job's options to go on, or remove the folder to begin anew",
        )
    return True
