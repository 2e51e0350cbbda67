"""Reads tables of interactions as coded columns: millions of lines at once where all is well.

The fast reader understands only what it can check in bulk. Whatever it does not understand is left to the
careful reader, which goes line by line and names the one that is broken.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from core.data.reading.lines import CONTROL, Lines, broken, date_seconds, decode, place_of, short
from core.data.reading.pickles import read_frame
from core.data.tables import InteractionsTable
from core.errors import DataError, InputError

if TYPE_CHECKING:
    import pandas as pd

Ints = npt.NDArray[np.int64]
_CHUNK = 1 << 24  # bytes looked at together
_LATEST = 10**18  # times of more digits are refused


@dataclass(frozen=True)
class Coded:
    """A column of ids: the different ones, and for every line which of them it has."""

    ids: tuple[str, ...]
    codes: Ints  # (lines,)


@dataclass(frozen=True)
class Columns:
    """A table of interactions in file order."""

    file: str
    users: Coded
    items: Coded
    ratings: npt.NDArray[np.float64]  # (lines,) NaN where the source has none
    timestamps: Ints  # (lines,) seconds since 1970; zeros where the source has none
    first: int = 1
    """Number of the first line with data, for messages."""
    word: str = "line"
    """What one entry is called in messages."""

    def __len__(self) -> int:
        return len(self.timestamps)

    def broken(self, row: int, problem: str) -> DataError:
        """The error to raise about an entry."""
        return broken(self.file, self.first + row, problem, self.word)


def read_columns(content: bytes, table: InteractionsTable) -> Columns:
    """The columns of a file of interactions.

    Raises:
        DataError: names the file and the line.
        InputError: it is a parquet file, and what reads these is not installed.
    """
    if table.format == "text":
        return _fast(content, table) or _careful(content, table)
    if table.format == "parquet":
        return _of_frame(read_parquet(content, table.file), table)
    columns = [str(column) for column in (table.user, table.item, table.timestamp) if column is not None]
    return _of_frame(_exploded(read_frame(content, table.file, tuple(columns)), columns, table.file), table)


def code(values: Sequence[str]) -> Coded:
    """Ids as codes, in the order of their first appearance."""
    places: dict[str, int] = {}
    codes = [places.setdefault(value, len(places)) for value in values]
    return Coded(tuple(places), np.array(codes, np.int64))


# --- text, line by line ----------------------------------------------------------------------------------


def _careful(content: bytes, table: InteractionsTable) -> Columns:
    lines = Lines(content, table)
    users, items = lines.texts("user", table.user), lines.texts("item", table.item)
    ratings, times = np.full(len(lines), np.nan), np.zeros(len(lines), np.int64)
    if table.rating is not None:
        ratings = lines.numbers("rating", table.rating)
    if table.timestamp is not None:
        times = lines.times("timestamp", table.timestamp, table.time_format)
    return Columns(table.file, code(users), code(items), ratings, times, lines.first)


# --- text, all at once -----------------------------------------------------------------------------------


def _fast(content: bytes, table: InteractionsTable) -> Columns | None:
    """What the careful reader would return, or None where that takes a closer look."""
    plain = _plain(content, table)
    if plain is None:
        return None
    separator, head, body = plain
    header = head.decode(table.encoding).split(separator) if table.header else []
    width = len(header) if table.header else body.partition(b"\n")[0].count(separator.encode()) + 1
    if not body or width < 2 or not _even(body, separator, width):
        return None
    if re.search(rb"(\A|[\n" + re.escape(separator.encode()) + rb"])\s*\+", body):
        return None  # a signed number, which is no time for the careful reader
    wanted = {"user": table.user, "item": table.item, "rating": table.rating, "timestamp": table.timestamp}
    places = {
        name: place_of(name, column, header, width, table.file)
        for name, column in wanted.items()
        if column is not None
    }
    if len(set(places.values())) < len(places):
        return None
    frame = _parsed(body, table, separator, places, width)
    return None if frame is None else _columns(frame, table, places)


def _plain(content: bytes, table: InteractionsTable) -> tuple[str, bytes, bytes] | None:
    """Separator, header and body of a file whose every separator separates and every line end ends a line."""
    if (table.quoted and b'"' in content) or b"\0" in content or not content.strip():
        return None
    if not content.isascii():
        decode(content, table)
    content = content.removeprefix(b"\xef\xbb\xbf") if table.encoding == "utf-8" else content
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    separator = table.separator
    if separator == "::" and b"\t" not in content:
        content, separator = content.replace(b"::", b"\t"), "\t"
    if b"\r" in content or len(separator) > 1 or not separator.isascii():
        return None
    if not content.endswith(b"\n"):
        content += b"\n"
    if not table.header:
        return separator, b"", content
    head, _, body = content.partition(b"\n")
    return separator, head, body


def _even(body: bytes, separator: str, width: int) -> bool:
    """Whether every line has `width` fields."""
    buffer = np.frombuffer(body, np.uint8)
    parts = [buffer[start : start + _CHUNK] for start in range(0, len(buffer), _CHUNK)]
    marks = np.concatenate([part[(part == ord(separator)) | (part == 10)] for part in parts])
    if len(marks) % width:
        return False
    rows = marks.reshape(-1, width)
    return bool((rows[:, :-1] != 10).all() and (rows[:, -1] == 10).all())


def _parsed(
    body: bytes, table: InteractionsTable, separator: str, places: dict[str, int], width: int
) -> pd.DataFrame | None:
    import pandas as pd

    texts = {"user", "item"} | ({"timestamp"} if table.time_format == "date" else set())
    try:
        return pd.read_csv(
            io.BytesIO(body),
            sep=separator,
            header=None,
            names=list(range(width)),
            usecols=sorted(places.values()),
            dtype={place: object for name, place in places.items() if name in texts},
            encoding=table.encoding,
            quoting=3,
            na_filter=False,
            skip_blank_lines=False,
            index_col=False,
            float_precision="round_trip",
        )
    except (ValueError, OverflowError, pd.errors.ParserError):
        return None


def _columns(frame: pd.DataFrame, table: InteractionsTable, places: dict[str, int]) -> Columns | None:
    users, items = _coded(frame[places["user"]]), _coded(frame[places["item"]])
    ratings, times = np.full(len(frame), np.nan), np.zeros(len(frame), np.int64)
    if "rating" in places:
        column = frame[places["rating"]]
        if column.dtype not in (np.int64, np.float64) or not np.isfinite(column).all():
            return None
        ratings = column.to_numpy(np.float64)
    if "timestamp" in places:
        found = _times(frame[places["timestamp"]], table.time_format)
        if found is None:
            return None
        times = found
    if users is None or items is None:
        return None
    return Columns(table.file, users, items, ratings, times, 2 if table.header else 1)


def _coded(column: pd.Series[Any]) -> Coded | None:
    import pandas as pd

    codes, values = pd.factorize(column.to_numpy(object))
    ids = tuple(str(value).strip() for value in values)
    if "" in ids or len(set(ids)) < len(ids) or CONTROL.search("".join(ids)):
        return None
    if max(map(len, ids)) > 1000:  # beyond some length the careful reader refuses a field
        return None
    return Coded(ids, codes.astype(np.int64))


def _times(column: pd.Series[Any], form: str) -> Ints | None:
    if form == "date":
        dates = _coded(column)
        seconds = [date_seconds(value) for value in dates.ids] if dates else [None]
        return None if dates is None or None in seconds else np.array(seconds, np.int64)[dates.codes]
    values = column.to_numpy()
    if values.dtype not in ((np.int64,) if form == "seconds" else (np.int64, np.float64)):
        return None
    low, high = values.min(), values.max()
    if not (low > 0 and high < _LATEST):  # 0 may have been written as -0
        return None
    return values.astype(np.int64)


# --- tables that are no text -----------------------------------------------------------------------------


def read_parquet(content: bytes, file: str) -> pd.DataFrame:
    """The table in a parquet file.

    Raises:
        DataError: it is damaged.
        InputError: pyarrow is not installed.
    """
    import pandas as pd

    try:
        return pd.read_parquet(io.BytesIO(content), engine="pyarrow")
    except ImportError as error:
        raise InputError(f"{file}: reading parquet needs pyarrow", "pip install pyarrow") from error
    except (ValueError, OSError, TypeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{file}: not a parquet file ({reason})", "the file is cut off or damaged") from error


def _exploded(frame: pd.DataFrame, columns: list[str], file: str) -> pd.DataFrame:
    """One row per interaction, from one row per user with lists of items and times."""
    for row, entry in enumerate(frame[columns[1:]].itertuples(index=False), start=1):
        lengths = {len(value) if isinstance(value, (list, tuple)) else -1 for value in entry}
        if len(lengths) != 1 or lengths <= {-1, 0}:
            raise broken(file, row, "its lists are empty or differ in length", "row")
    return frame.explode(columns[1:], ignore_index=True)


def _of_frame(frame: pd.DataFrame, table: InteractionsTable) -> Columns:
    def column(what: str, name: object) -> pd.Series[Any]:
        if name not in frame.columns:
            known = ", ".join(map(str, frame.columns))[:100]
            raise DataError(f"{table.file}: no column '{name}' for the {what}", f"it has: {known}")
        return frame[name]

    if not len(frame):
        raise DataError(f"{table.file} has no rows", "it was cut off, or is the wrong file")
    ratings, times = np.full(len(frame), np.nan), np.zeros(len(frame), np.int64)
    if table.rating is not None:
        ratings = _numbers(column("rating", table.rating), "rating", table.file)
    if table.timestamp is not None:
        times = _moments(column("timestamp", table.timestamp), table)
    users = code_column(column("user", table.user), "user", table.file)
    items = code_column(column("item", table.item), "item", table.file)
    return Columns(table.file, users, items, ratings, times, word="row")


def code_column(column: pd.Series[Any], what: str, file: str) -> Coded:
    """A column of ids as codes; whole numbers are written without a fraction.

    Raises:
        DataError: an id is missing, empty or not printable; names the file and the row.
    """
    import pandas as pd

    codes, values = pd.factorize(column)
    ids = [id_text(value) for value in values]
    wrong = [not text or CONTROL.search(text) is not None for text in ids]
    bad = codes < 0 if not any(wrong) else (codes < 0) | np.array(wrong)[codes]
    if bad.any():
        row = int(np.argmax(bad))
        value = "" if codes[row] < 0 else ids[codes[row]]
        raise broken(
            file, row + 1, f"{what} {short(value)} has control characters" if value else f"no {what}", "row"
        )
    merged = code(ids)  # 1 and "1" are the same id
    return Coded(merged.ids, merged.codes[codes.astype(np.int64)])


def id_text(value: object) -> str:
    """An id as text."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _numbers(column: pd.Series[Any], what: str, file: str) -> npt.NDArray[np.float64]:
    import pandas as pd

    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise broken(file, row + 1, f"{what} {short(str(column.iloc[row]))} is not a number", "row")
    return values


def _moments(column: pd.Series[Any], table: InteractionsTable) -> Ints:
    """Times as whole seconds; columns of dates need no format."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column):
        seconds = column.to_numpy("datetime64[s]").astype(np.int64).astype(np.float64)
        seconds[column.isna().to_numpy()] = -1
    elif table.time_format == "date":
        found = [date_seconds(str(value)) for value in column]
        seconds = np.array([-1 if value is None else value for value in found], np.float64)
    else:
        seconds = _numbers(column, "timestamp", table.file)
    wrong = (seconds < 0) | (seconds >= _LATEST)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise broken(table.file, row + 1, f"timestamp {short(str(column.iloc[row]))} is not a time", "row")
    return seconds.astype(np.int64)
