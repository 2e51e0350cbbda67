"""Cuts text files into fields and checks them one by one, so that every complaint names file and line."""

from __future__ import annotations

import csv
import io
import math
import re
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from core.data.tables import Column, InteractionsTable, ItemsTable
from core.errors import DataError

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
WHOLE = re.compile(r"\d{1,18}", re.ASCII)
_BREAKS = re.compile("[\t\r\n]+")


class Lines:
    """A file's lines cut into fields, with checks whose messages name file and line."""

    def __init__(self, content: bytes, table: InteractionsTable | ItemsTable) -> None:
        self.file = table.file
        self._cut(decode(content, table), table.separator, table.quoted)
        self.header = self.rows.pop(0) if table.header and self.rows else []
        self.first = 2 if table.header else 1  # number in the file of the first line with data
        if not self.rows:
            raise DataError(f"{table.file} has no lines", "it was cut off, or is the wrong file")
        self._check_widths()

    def __len__(self) -> int:
        return len(self.rows)

    def texts(self, what: str, column: Column, empty: bool = False) -> list[str]:
        """A column of ids or titles; an empty field is refused unless `empty`.

        Line breaks and tabs within a field, possible between quotes, become one space.
        """
        place = place_of(what, column, self.header, len(self.rows[0]), self.file)
        values = [_BREAKS.sub(" ", fields[place]).strip() for fields in self.rows]
        if not empty and "" in values:
            raise self.broken(values.index(""), f"no {what}")
        if CONTROL.search("".join(values)):
            row = next(row for row, value in enumerate(values) if CONTROL.search(value))
            raise self.broken(row, f"{what} {short(values[row])} has control characters")
        return values

    def numbers(self, what: str, column: Column) -> npt.NDArray[np.float64]:
        """A column of finite numbers."""
        values = self.texts(what, column)
        for row, value in enumerate(values):
            if not NUMBER.fullmatch(value) or not math.isfinite(float(value)):
                raise self.broken(row, f"{what} {short(value)} is not a number")
        return np.array(values, np.float64)

    def times(self, what: str, column: Column, form: str) -> npt.NDArray[np.int64]:
        """A column of times as whole seconds since 1970."""
        values = self.texts(what, column)
        seconds = [_READERS[form](value) for value in values]
        if None in seconds:
            row = seconds.index(None)
            raise self.broken(row, f"{what} {short(values[row])} is not {_FORMS[form]}")
        return np.array(seconds, np.int64)

    def flags(self, what: str, place: int) -> list[bool]:
        """A column of 0 and 1."""
        values = self.texts(what, place)
        for row, value in enumerate(values):
            if value not in ("0", "1"):
                raise self.broken(row, f"the flag of '{what}' is {short(value)}, not 0 or 1")
        return [value == "1" for value in values]

    def broken(self, row: int, problem: str) -> DataError:
        """The error to raise about a line, given its place among those with data."""
        line = self.first + row if self._lines is None else self._lines[self.first - 1 + row]
        return broken(self.file, line, problem)

    def _cut(self, text: str, separator: str, quoted: bool) -> None:
        self._lines: list[int] | None = None
        if len(separator) > 1:
            self.rows = [line.split(separator) for line in text.replace("\r\n", "\n").splitlines()]
            return
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting, strict=True)
        try:
            if not quoted:
                self.rows = list(reader)
                return
            self.rows, self._lines, line = [], [], 1
            for fields in reader:  # a field between quotes may take several lines
                self.rows.append(fields)
                self._lines.append(line)
                line = reader.line_num + 1
        except csv.Error as error:
            raise broken(self.file, reader.line_num, str(error)) from error

    def _check_widths(self) -> None:
        width = len(self.header or self.rows[0])
        for row, fields in enumerate(self.rows):
            if len(fields) != width:
                raise self.broken(row, f"{len(fields)} columns where {width} are due")


def place_of(what: str, column: Column, header: list[str], width: int, file: str) -> int:
    """The place of a column, from 0.

    Raises:
        DataError: the file has no such column.
    """
    if isinstance(column, str):
        if column not in header:
            raise broken(file, 1, f"no column '{column}' for the {what}")
        return header.index(column)
    if column >= width:
        raise broken(file, 1, f"no column {column} for the {what}")
    return column


def decode(content: bytes, table: InteractionsTable | ItemsTable) -> str:
    """The file's text without a byte-order mark.

    Raises:
        DataError: it is empty, or not text of the card's encoding.
    """
    if not content.strip():
        raise DataError(f"{table.file} is empty", "it was cut off, or is the wrong file")
    try:
        return content.decode(table.encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise broken(table.file, line, f"not {table.encoding} text") from error


def broken(file: str, line: int, problem: str, word: str = "line") -> DataError:
    """The error about a line of a file, or a row of a table."""
    return DataError(
        f"{file}, {word} {line}: {problem}", "the file is cut off, damaged, or not what its card says"
    )


def short(text: str) -> str:
    """`text` in quotes, cut where it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def whole_seconds(text: str) -> int | None:
    """Seconds from digits alone, or None."""
    return int(text) if WHOLE.fullmatch(text) else None


def decimal_seconds(text: str) -> int | None:
    """Seconds from a number of at least 0, its fraction dropped, or None."""
    value = float(text) if NUMBER.fullmatch(text) else -1.0
    return int(value) if 0 <= value < 1e18 else None


def date_seconds(text: str) -> int | None:
    """Seconds from an ISO 8601 date since 1970, or None."""
    try:
        moment = datetime.fromisoformat(text)
        seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None


_READERS = {"seconds": whole_seconds, "decimal": decimal_seconds, "date": date_seconds}
_FORMS = {
    "seconds": "a whole number of seconds",
    "decimal": "a number of seconds since 1970",
    "date": "a date since 1970, such as 2014-07-01",
}
