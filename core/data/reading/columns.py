"""Reads tables of interactions as coded columns: millions of lines at once where all is well.

The fast reader understands only what it can check in bulk. Whatever it does not understand is left to the
careful reader, which goes line by line and names the one that is broken.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from core.data import times
from core.data.reading.bulk import Unclear
from core.data.reading.codes import Ints, cell_text, code, code_column, plain_codes
from core.data.reading.fast import fast_json, fast_text
from core.data.reading.impressions import read_clicks
from core.data.reading.lines import Lines, broken, short
from core.data.reading.parquet import parquet_parts
from core.data.reading.pickles import read_frame
from core.data.reading.pieces import Columns, joined
from core.data.reading.values import moments
from core.data.tables import InteractionsTable
from core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Columns", "read_columns"]


def read_columns(content: bytes, table: InteractionsTable) -> Columns:
    """The columns of a file of interactions.

    Raises:
        DataError: names the file and the line.
        InputError: it is a parquet file, and what reads these is not installed.
    """
    found = _read(content, table)
    if table.timestamp is not None:
        _check_unit(found, table.time_format)
    return dataclasses.replace(found, users=plain_codes(found.users), items=plain_codes(found.items))


def _read(content: bytes, table: InteractionsTable) -> Columns:
    if table.format == "text":
        return fast_text(content, table) or careful(content, table)
    if table.format == "jsonl":
        return fast_json(content, table) or careful(content, table)
    if table.format == "impressions":
        return read_clicks(content, table)
    wanted = (table.user, table.item, table.rating, table.timestamp)
    columns = [str(column) for column in wanted if column is not None]
    if table.format == "parquet":
        parts = parquet_parts(content, table.file, columns)
        whole = joined(_of_frame(part, table) for part in parts)
        if whole is None:
            raise DataError(f"{table.file} has no rows", "it was cut off, or is the wrong file")
        return whole
    return _of_frame(_exploded(read_frame(content, table.file, tuple(columns)), columns, table.file), table)


def _check_unit(found: Columns, form: str) -> None:
    """Refuses times of which some are in seconds and some in smaller units: their order would be none."""
    seconds = found.timestamps
    if form in ("seconds", "decimal"):
        odd = seconds >= 10**11 if seconds.min() < 10**11 else np.zeros(0, np.bool_)
    elif form in times.UNITS:
        odd = (seconds > 0) & (seconds < 10**7) if seconds.max() > 10**8 else np.zeros(0, np.bool_)
    else:
        return
    if odd.any():
        row = int(np.argmax(odd))
        raise found.broken(row, "its time has another unit than those of other lines", "time")


# --- text, line by line ----------------------------------------------------------------------------------


def careful(content: bytes, table: InteractionsTable) -> Columns:
    """The columns of a file of text, line by line."""
    lines = Lines(content, table)
    users, items = lines.texts("user", table.user), lines.texts("item", table.item)
    ratings, seconds = np.full(len(lines), np.nan), np.zeros(len(lines), np.int64)
    if table.rating is not None:
        ratings = lines.numbers("rating", table.rating)
    if table.timestamp is not None:
        seconds = lines.times("timestamp", table.timestamp, table.time_format)
    numbers = np.array(lines.lines, np.int64)
    return Columns(table.file, code(users), code(items), ratings, seconds, lines=numbers)


# --- tables that are no text -----------------------------------------------------------------------------


def _exploded(frame: pd.DataFrame, columns: list[str], file: str) -> pd.DataFrame:
    """One row per interaction, from one row per user with lists of items and times."""
    for row, entry in enumerate(frame[columns[1:]].itertuples(index=False), start=1):
        lengths = {len(value) if isinstance(value, (list, tuple)) else -1 for value in entry}
        if len(lengths) != 1 or lengths <= {-1, 0}:
            raise broken(file, row, "its lists are empty or differ in length", "row")
    return frame.explode(columns[1:])


def _of_frame(frame: pd.DataFrame, table: InteractionsTable) -> Columns:
    if not len(frame):
        raise DataError(f"{table.file} has no rows", "it was cut off, or is the wrong file")
    rows = frame.index.to_numpy(np.int64) + 1
    ratings, seconds = np.full(len(frame), np.nan), np.zeros(len(frame), np.int64)
    if table.rating is not None:
        ratings = _numbers(frame[table.rating], "rating", table.file, rows)
    if table.timestamp is not None:
        seconds = _moments(frame[table.timestamp], table, rows)
    users = code_column(frame[table.user], "user", table.file, rows)
    items = code_column(frame[table.item], "item", table.file, rows)
    return Columns(table.file, users, items, ratings, seconds, word="row", lines=rows)


def _numbers(column: pd.Series[Any], what: str, file: str, rows: Ints) -> npt.NDArray[np.float64]:
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    try:
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError, OverflowError):
        values = np.full(len(column), np.nan)
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = short(cell_text(column.iloc[row]))
        raise broken(file, int(rows[row]), f"{what} {shown} is not a number", "row", "number")
    return values


def _moments(column: pd.Series[Any], table: InteractionsTable, rows: Ints) -> Ints:
    """Times as whole seconds; columns of dates need no format."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column):
        seconds = column.to_numpy("datetime64[s]").astype(np.int64)
        seconds[column.isna().to_numpy()] = -1
    elif (
        pd.api.types.is_integer_dtype(column) and table.time_format in times.UNITS and not column.isna().any()
    ):
        seconds = column.to_numpy(np.int64) // times.UNITS[table.time_format]
    else:
        codes, values = _distinct(column)
        form = "decimal" if table.time_format == "seconds" else table.time_format
        seconds = np.append(_seconds([cell_text(value) for value in values], form), -1)[codes]
    wrong = (seconds < 0) | (seconds >= times.LATEST)
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = short(cell_text(column.iloc[row]))
        raise broken(table.file, int(rows[row]), f"timestamp {shown} is not a time", "row", "time")
    return seconds


def _seconds(texts: list[str], form: str) -> Ints:
    """Seconds of texts, in bulk where all are plain; -1 where one is no time."""
    import pyarrow as pa

    try:
        return moments(pa.array(texts, pa.string()), form)
    except Unclear:
        read = times.reader(form)
        return np.array([-1 if (value := read(text)) is None else value for text in texts], np.int64)


def _distinct(column: pd.Series[Any]) -> tuple[Ints, list[Any]]:
    """Every cell as a place among the different ones; -1 for those that are missing or no plain value."""
    import pandas as pd

    try:
        codes, values = pd.factorize(column)
    except TypeError:
        return np.full(len(column), -1, np.int64), []
    return codes.astype(np.int64), list(values)
