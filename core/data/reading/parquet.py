"""Reads parquet tables with pyarrow: only columns asked for, and no more rows than the file can hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_LEAST_ROWS = 1 << 20
_PART = 1 << 20  # rows read together
_ROWS_PER_BYTE = 50  # repeated values take next to nothing; ids and times do


def read_parquet(
    content: bytes, file: str, columns: Sequence[str] | None = None, rows: int | None = None
) -> pd.DataFrame:
    """The table in a parquet file; texts come as categories, an index of pandas as a column.

    Args:
        content: the file.
        file: its name, for messages.
        columns: those wanted; without them all.
        rows: how many rows from the top; without it all.

    Raises:
        DataError: it is damaged, lacks a column, or claims more rows than its bytes can hold.
    """
    with _named_errors(file):
        import pyarrow as pa

        opened, names = _opened(content, file, columns)
        if rows is None:
            found = opened.read(columns=names)
        else:
            found = next(opened.iter_batches(batch_size=rows, columns=names), pa.table({}))
        return found.to_pandas(ignore_metadata=True)  # type: ignore[no-any-return]


def parquet_parts(content: bytes, file: str, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The table in parts that follow each other, each with the numbers of its rows from 0 as its index.

    Raises:
        DataError: as `read_parquet`.
    """
    start = 0
    with _named_errors(file):
        opened, names = _opened(content, file, columns)
        parts = opened.iter_batches(batch_size=_PART, columns=names)
    while True:
        with _named_errors(file):
            part = next(parts, None)
            if part is None:
                return
            frame = part.to_pandas(ignore_metadata=True)
            frame.index = range(start, start + len(frame))
            start += len(frame)
        yield frame


def _opened(content: bytes, file: str, columns: Sequence[str] | None) -> tuple[Any, list[str]]:
    """The file, whose texts come as dictionaries, and the names of the wanted columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    opened = pq.ParquetFile(pa.BufferReader(content))
    schema = opened.schema_arrow
    names = _wanted(schema.names, columns, file)
    claimed = opened.metadata.num_rows
    if claimed > max(_LEAST_ROWS, _ROWS_PER_BYTE * len(content)):
        raise DataError(f"{file} claims {claimed:,} rows in {len(content):,} bytes", "the file is damaged")
    texts = [name for name in names if _is_text(schema.field(name).type)]
    return pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts), names


@contextlib.contextmanager
def _named_errors(file: str) -> Iterator[None]:
    """Gives what pyarrow complains about the file's name."""
    import pyarrow as pa

    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{file}: not a parquet file ({reason})", "the file is cut off or damaged") from error


def _wanted(known: list[str], columns: Sequence[str] | None, file: str) -> list[str]:
    if len(set(known)) < len(known):
        twice = next(name for name in known if known.count(name) > 1)
        raise DataError(f"{file}: column {twice[:40]!r} is there twice", "give the columns different names")
    for name in columns or ():
        if name not in known:
            shown = ", ".join(repr(column)[:40] for column in known[:10])
            raise DataError(f"{file}: no column {name[:40]!r}", f"it has: {shown}")
    return list(dict.fromkeys(known if columns is None else columns))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))
