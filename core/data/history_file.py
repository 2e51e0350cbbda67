"""Files of users' histories to recommend for: JSON lines or Parquet, read a piece at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import DataError, InputError

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
        return sum(1 for line in handle if line.strip())


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
        for batch in file.iter_batches(batch_size=ROWS, columns=["user", "history"]):
            for record in batch.to_pylist():
                number += 1
                yield _row(record, path, number)
        return
    with _opened(path) as handle:
        for number, line in enumerate(iter(lambda: handle.readline(LONGEST_LINE + 1), b""), start=1):
            if len(line) > LONGEST_LINE:
                raise DataError(f"{path}, line {number}: more than {LONGEST_LINE >> 20} MiB", SHAPE)
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number}: not JSON", SHAPE) from error
            yield _row(record, path, number)


def _row(record: Any, path: Path, number: int) -> Written:
    user, history = (record.get("user"), record.get("history")) if isinstance(record, dict) else (None, None)
    plain = (str, int)
    right = isinstance(user, plain) and isinstance(history, list)
    if not right or isinstance(user, bool) or not all(isinstance(item, plain) for item in history or ()):
        raise DataError(f"{path}, row {number}: not a user with a history", SHAPE)
    return Written(str(user), tuple(map(str, history or ())))


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
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: not a parquet file", "the file is cut off or damaged") from error
