"""Reads tables of interactions as coded columns: millions of lines at once where all is well.

The fast reader understands only what it can check in bulk. Whatever it does not understand is left to the
careful reader, which goes line by line and names the one that is broken.
"""

from __future__ import annotations

import dataclasses
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from core.data import times
from core.data.reading.bulk import even, unquoted, usual_dates
from core.data.reading.codes import Coded, Ints, cell_text, code, code_column, plain_codes
from core.data.reading.impressions import read_clicks
from core.data.reading.json_bulk import plain_columns
from core.data.reading.lines import (
    CONTROL,
    BrokenLine,
    Lines,
    broken,
    place_of,
    short,
    trimmed,
    utf8,
)
from core.data.reading.parquet import read_parquet
from core.data.reading.pickles import read_frame
from core.data.tables import InteractionsTable
from core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


_BLOCK = 1 << 19  # dates read together: millions of different ones take much memory


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
    lines: Ints | None = None  # (lines,)
    """Number of each line with data, where they do not follow each other."""

    def __len__(self) -> int:
        return len(self.timestamps)

    def broken(self, row: int, problem: str, about: str = "") -> BrokenLine:
        """The error to raise about an entry."""
        line = self.first + row if self.lines is None else int(self.lines[row])
        return broken(self.file, line, problem, self.word, about)


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
        return _fast(content, table) or _careful(content, table)
    if table.format == "jsonl":
        return _fast_json(content, table) or _careful(content, table)
    if table.format == "impressions":
        return _clicked(content, table)
    wanted = (table.user, table.item, table.rating, table.timestamp)
    columns = [str(column) for column in wanted if column is not None]
    if table.format == "parquet":
        return _of_frame(read_parquet(content, table.file, columns), table)
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


def _careful(content: bytes, table: InteractionsTable) -> Columns:
    lines = Lines(content, table)
    users, items = lines.texts("user", table.user), lines.texts("item", table.item)
    ratings, seconds = np.full(len(lines), np.nan), np.zeros(len(lines), np.int64)
    if table.rating is not None:
        ratings = lines.numbers("rating", table.rating)
    if table.timestamp is not None:
        seconds = lines.times("timestamp", table.timestamp, table.time_format)
    numbers = np.array(lines.lines, np.int64)
    return Columns(table.file, code(users), code(items), ratings, seconds, lines=numbers)


def _clicked(content: bytes, table: InteractionsTable) -> Columns:
    clicks = read_clicks(content, table)
    return Columns(
        file=table.file,
        users=code(clicks.users),
        items=code(clicks.items),
        ratings=np.full(len(clicks.items), np.nan),
        timestamps=np.array(clicks.seconds, np.int64),
        lines=np.array(clicks.lines, np.int64),
    )


# --- text, all at once -----------------------------------------------------------------------------------


def _fast(content: bytes, table: InteractionsTable) -> Columns | None:
    """What the careful reader would return, or None where that takes a closer look."""
    bare = _bare(content, table)
    if bare is None:
        return None
    separator, head, body = bare
    header = head.decode().split(separator) if table.header else []
    width = len(header) if table.header else body.partition(b"\n")[0].count(separator.encode()) + 1
    if not body or width < 2 or not even(body, separator, width):
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


def _bare(content: bytes, table: InteractionsTable) -> tuple[str, bytes, bytes] | None:
    """Separator, header and body of a file whose every separator separates and every line end ends a line."""
    separator = table.separator
    content = trimmed(utf8(content, table))
    if b"\0" in content or (table.escaped and b"\\" in content):
        return None
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    if separator == "::" and b"\t" not in content:
        content, separator = content.replace(b"::", b"\t"), "\t"
    if b"\r" in content or len(separator) > 1 or not separator.isascii():
        return None
    if not content.endswith(b"\n"):
        content += b"\n"
    if table.quoted and b'"' in content:
        bare = unquoted(content, separator)
        if bare is None:
            return None
        content = bare
    if not table.header:
        return separator, b"", content
    head, _, body = content.partition(b"\n")
    return separator, head, body


def _parsed(
    body: bytes, table: InteractionsTable, separator: str, places: dict[str, int], width: int
) -> pd.DataFrame | None:
    import pandas as pd

    texts = {"user", "item"} | ({"timestamp"} if table.time_format not in times.UNITS else set())
    try:
        return pd.read_csv(
            io.BytesIO(body),
            sep=separator,
            header=None,
            names=list(range(width)),
            usecols=sorted(places.values()),
            dtype={place: object for name, place in places.items() if name in texts},
            encoding="utf-8",
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
    ratings, seconds = np.full(len(frame), np.nan), np.zeros(len(frame), np.int64)
    if "rating" in places:
        column = frame[places["rating"]]
        if column.dtype not in (np.int64, np.float64) or not np.isfinite(column).all():
            return None
        ratings = column.to_numpy(np.float64)
    if "timestamp" in places:
        found = _times(frame[places["timestamp"]], table.time_format)
        if found is None:
            return None
        seconds = found
    if users is None or items is None:
        return None
    return Columns(table.file, users, items, ratings, seconds, 2 if table.header else 1)


def _coded(column: pd.Series[Any]) -> Coded | None:
    import pandas as pd

    codes, values = pd.factorize(column.to_numpy(object))
    return _plain(tuple(str(value).strip() for value in values), codes.astype(np.int64))


def _plain(ids: tuple[str, ...], codes: Ints) -> Coded | None:
    """Coded ids, or None where one of them is odd."""
    if "" in ids or len(set(ids)) < len(ids) or CONTROL.search("".join(ids)):
        return None
    if max(map(len, ids)) > 1000:  # beyond some length the careful reader refuses a field
        return None
    return Coded(ids, codes)


def _fast_json(content: bytes, table: InteractionsTable) -> Columns | None:
    """What the careful reader would return for JSON lines, or None where that takes a closer look."""
    wanted = (table.user, table.item, table.rating, table.timestamp)
    names = [str(column) for column in wanted if column is not None]
    columns = plain_columns(trimmed(utf8(content, table)), names)
    if columns is None or len(set(names)) < len(names):
        return None
    users, items = (_coded_json(columns.pop(str(name))) for name in (table.user, table.item))
    if users is None or items is None:
        return None
    ratings, seconds = np.full(len(users.codes), np.nan), np.zeros(len(users.codes), np.int64)
    if table.rating is not None:
        found = columns.pop(str(table.rating)).to_numpy()
        if found.dtype not in (np.int64, np.float64) or not np.isfinite(found).all():
            return None
        ratings = found.astype(np.float64)
    if table.timestamp is not None:
        moments = _times(columns.pop(str(table.timestamp)).to_pandas(), table.time_format)
        if moments is None:
            return None
        seconds = moments
    return Columns(table.file, users, items, ratings, seconds)


def _coded_json(column: Any) -> Coded | None:
    """The ids of a column of texts or whole numbers; a fraction may be written in several ways."""
    if str(column.type) not in ("string", "int64"):
        return None
    coded = column.combine_chunks().dictionary_encode()
    ids = tuple(str(value).strip() for value in coded.dictionary.to_pylist())
    return _plain(ids, coded.indices.to_numpy().astype(np.int64))


def _times(column: pd.Series[Any], form: str) -> Ints | None:
    if form not in times.UNITS:
        parts = [_dates(column[start : start + _BLOCK], form) for start in range(0, len(column), _BLOCK)]
        whole = [part for part in parts if part is not None]
        return np.concatenate(whole) if len(whole) == len(parts) else None
    values = column.to_numpy()
    if values.dtype not in ((np.int64,) if form != "decimal" else (np.int64, np.float64)):
        return None
    if not np.isfinite(values).all():
        return None
    low, high = values.min(), values.max()
    if not (low > 0 and high // times.UNITS[form] < times.LATEST):  # 0 may have been written as -0
        return None
    return values.astype(np.int64) // times.UNITS[form]


def _dates(column: pd.Series[Any], form: str) -> Ints | None:
    dates, read = _coded(column), times.reader(form)
    if dates is None:
        return None
    usual = usual_dates(dates.ids) if form == "date" else None
    if usual is not None:
        return usual[dates.codes]
    seconds = [read(value) for value in dates.ids]
    return None if None in seconds else np.array(seconds, np.int64)[dates.codes]


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
        read = times.reader("decimal" if table.time_format == "seconds" else table.time_format)
        found = [read(cell_text(value)) for value in values]
        seconds = np.array([-1 if value is None else value for value in (*found, None)], np.int64)[codes]
    wrong = (seconds < 0) | (seconds >= times.LATEST)
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = short(cell_text(column.iloc[row]))
        raise broken(table.file, int(rows[row]), f"timestamp {shown} is not a time", "row", "time")
    return seconds


def _distinct(column: pd.Series[Any]) -> tuple[Ints, list[Any]]:
    """Every cell as a place among the different ones; -1 for those that are missing or no plain value."""
    import pandas as pd

    try:
        codes, values = pd.factorize(column)
    except TypeError:
        return np.full(len(column), -1, np.int64), []
    return codes.astype(np.int64), list(values)
