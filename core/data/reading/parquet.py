"""Reads parquet tables with pyarrow: only columns asked for, and no more rows than the file can hold."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_LEAST_ROWS = 1 << 20
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
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(io.BytesIO(content))
        schema = opened.schema_arrow
        names = _wanted(schema.names, columns, file)
        claimed = opened.metadata.num_rows
        if claimed > max(_LEAST_ROWS, _ROWS_PER_BYTE * len(content)):
            raise DataError(
                f"{file} claims {claimed:,} rows in {len(content):,} bytes", "the file is damaged"
            )
        texts = [name for name in names if _is_text(schema.field(name).type)]
        opened = pq.ParquetFile(io.BytesIO(content), read_dictionary=texts)
        if rows is None:
            found = opened.read(columns=names)
        else:
            found = next(opened.iter_batches(batch_size=rows, columns=names), pa.table({}))
        return found.to_pandas(ignore_metadata=True)  # type: ignore[no-any-return]
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        if isinstance(error, DataError):
            raise
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
