"""Files of users' histories to recommend for: JSON lines or Parquet, read a piece at a time."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError, InputError, Interrupted
from core.kinds import is_text
from core.stages import UNWATCHED, Watch

LONGEST_LINE = 1 << 20
"""Bytes of a line of JSON at most."""
ROWS = 1024
"""Rows of a Parquet file that are held at once."""
PARQUET = ".parquet"
SHAPE = 'each row has a user and a history: {"user": "7", "history": ["50", "172"]}, oldest first'


@dataclass(frozen=True)
class Written:
    """One row of such a file."""

    user: str
    history: tuple[str, ...]
    """Item ids as the dataset's source writes them, oldest first."""


def count_rows(path: Path) -> int:
    """How many users a file has.

    Raises:
        InputError: it cannot be read.
        DataError: it is no Parquet file although its name says so.
    """
    if path.suffix == PARQUET:
        return int(_parquet(path).metadata.num_rows)
    with _opened(path) as handle:
        return sum(1 for line in _lines(handle) if line.strip())


def check_users(path: Path, watch: Watch = UNWATCHED) -> int:
    """How many users a file has; all of it is read, so that what is wrong shows before any work.

    It takes 8 bytes of memory a user.

    Raises:
        InputError: it cannot be read, or has a user twice.
        DataError: a row is not as it should be.
        Interrupted: the watch asked to stop.
    """
    stage, marks = watch.stage("histories", count_rows(path)), array("Q")
    for row in read_rows(path):
        marks.append(_mark(row.user))
        if not len(marks) % ROWS:
            stage.advance(ROWS)
            if watch.should_stop():
                raise Interrupted
    stage.advance(len(marks) % ROWS)
    found, times = np.unique(np.asarray(marks), return_counts=True)
    if suspects := set(found[times > 1].tolist()):
        _name_repeated(path, suspects)
    return len(marks)


def _mark(user: str) -> int:
    """64 bits that stand for a user."""
    digest = hashlib.blake2b(user.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _name_repeated(path: Path, marks: set[int]) -> None:
    """Raises `InputError` for the first user who is there twice, if one is among those with these marks."""
    rows: dict[str, int] = {}
    for number, row in enumerate(read_rows(path), start=1):
        if _mark(row.user) in marks and rows.setdefault(row.user, number) != number:
            raise InputError(
                f"{path}: user {row.user} is there twice, in rows {rows[row.user]} and {number}",
                "give each user one row",
            )


def read_rows(path: Path) -> Iterator[Written]:
    """The rows of a file, in its order, in little memory.

    Raises:
        InputError: it cannot be read.
        DataError: a row is not as it should be; the message has its number, from 1.
    """
    if path.suffix == PARQUET:
        number = 0
        file = _parquet(path)
        if missing := {"user", "history"} - set(file.schema_arrow.names):
            raise DataError(f"{path}: no column {sorted(missing)[0]!r}", SHAPE)
        with _undamaged(path):
            for batch in file.iter_batches(batch_size=ROWS, columns=["user", "history"]):
                for record in batch.to_pylist():
                    number += 1
                    yield _row(record, path, number)
        return
    with _opened(path) as handle:
        for number, line in enumerate(_lines(handle), start=1):
            if len(line) > LONGEST_LINE:
                raise DataError(f"{path}, line {number}: more than {LONGEST_LINE >> 20} MiB", SHAPE)
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number}: not JSON", SHAPE) from error
            yield _row(record, path, number)


def _lines(handle: Any) -> Iterator[bytes]:
    """The lines of a file; of an overlong one, pieces that are each too long."""
    return iter(lambda: handle.readline(LONGEST_LINE + 1), b"")


def _row(record: Any, path: Path, number: int) -> Written:
    user, history = (record.get("user"), record.get("history")) if isinstance(record, dict) else (None, None)
    if not _is_name(user) or not isinstance(history, list) or not all(map(_is_name, history)):
        raise DataError(f"{path}, row {number}: not a user with a history", SHAPE)
    return Written(str(user), tuple(map(str, history)))


def _is_name(value: Any) -> bool:
    """Whether a value can name a user or an item."""
    return is_text(value) or (isinstance(value, int) and not isinstance(value, bool))


def _opened(path: Path) -> Any:
    try:
        if not path.is_file():
            raise InputError(f"no file {path}", "give a file of JSON lines, or one that ends in .parquet")
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check its permissions") from error


def _parquet(path: Path) -> Any:
    with _opened(path):
        pass
    import pyarrow.parquet as pq

    with _undamaged(path):
        return pq.ParquetFile(path)


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Raises `DataError` where the parquet library cannot make out what a file says."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: not a parquet file", "the file is cut off or damaged") from error
