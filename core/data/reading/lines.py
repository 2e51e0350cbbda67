"""Cuts text files into columns and checks them one by one, so that every complaint names file and line."""

from __future__ import annotations

import csv
import io
import math
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data import times
from core.data.reading.json_lines import json_records
from core.data.tables import Column, InteractionsTable, ItemsTable
from core.data.times import NUMBER
from core.errors import DataError

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BREAKS = re.compile("[\t\r\n]+")
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_WHOLE_ID = re.compile(r"(\d+)(\.0+)?", re.ASCII)
_REMEMBERED = 1 << 18  # different texts of a column that are kept only once
_BLOCK = 1 << 24
LOOK_AT_CARD = "the file is cut off, damaged, or not what its card says"
"""The hint about a line where nothing better is known."""
csv.field_size_limit(1 << 30)  # a long description is no reason to refuse a table; the file's size is a bound


class BrokenLine(DataError):
    """A line that breaks its file's contract.

    Args:
        title: what is wrong, with file and line.
        hint: the next step.
        about: what kind of thing is wrong, for those who know of a better next step: `encoding`, `widths`,
            `quotes`, `number`, `time`, `id`, `repeated` or `unknown`.
    """

    def __init__(self, title: str, hint: str, about: str = "") -> None:
        super().__init__(title, hint)
        self.about = about


class Lines:
    """The columns of a text file that its table names, with checks whose messages name file and line."""

    def __init__(self, content: bytes, table: InteractionsTable | ItemsTable, before: int = 0) -> None:
        """Reads the lines.

        Args:
            content: the file, or a part of it.
            table: how it is written.
            before: how many lines of the file come before this part.
        """
        self.file = table.file
        self.word = "line"
        self.header: list[str] = []
        self.width = 0
        self.lines = array("q")
        """Number in the file of each line with data; where a field takes several lines, the first."""
        self._columns: dict[int, list[str]] = {}
        names = _named(table)
        if table.format == "jsonl":
            self.header = [str(name) for name in names]
            found = json_records(utf8(content, table), self.header, self._broken)
        else:
            found = records(trimmed(utf8(content, table)), table)
            if table.header:
                _, self.header = next(found, (1, []))
        self._collect(((line + before, fields) for line, fields in found), names)
        if not self.lines:
            raise DataError(f"{table.file} has no lines", "it was cut off, or is the wrong file")

    def __len__(self) -> int:
        return len(self.lines)

    def texts(self, what: str, column: Column, empty: bool = False) -> list[str]:
        """A column of ids or titles; an empty field is refused unless `empty`.

        Line breaks and tabs within a field, possible between quotes, become one space.
        """
        values = self._columns[place_of(what, column, self.header, self.width, self.file)]
        if not empty and "" in values:
            raise self.broken(values.index(""), f"no {what}", "id")
        if any(
            CONTROL.search("".join(values[start : start + 4096])) for start in range(0, len(values), 4096)
        ):
            row = next(row for row, value in enumerate(values) if CONTROL.search(value))
            raise self.broken(row, f"{what} {short(values[row])} has control characters", "encoding")
        return values

    def numbers(self, what: str, column: Column) -> npt.NDArray[np.float64]:
        """A column of finite numbers; 3,5 is 3.5."""
        values = self.texts(what, column)
        found = np.empty(len(values))
        for row, value in enumerate(values):
            read = number(value)
            if read is None:
                raise self.broken(row, f"{what} {short(value)} is not a number", "number")
            found[row] = read
        return found

    def times(self, what: str, column: Column, form: str) -> npt.NDArray[np.int64]:
        """A column of times as whole seconds since 1970."""
        values, read = self.texts(what, column), times.reader(form)
        found = array("q")
        for row, value in enumerate(values):
            second = read(value)
            if second is None:
                raise self.broken(row, f"{what} {short(value)} is not {times.due(form)}", "time")
            found.append(second)
        return np.array(found, np.int64)

    def flags(self, what: str, place: int) -> list[bool]:
        """A column of 0 and 1."""
        values = self.texts(what, place)
        for row, value in enumerate(values):
            if value not in ("0", "1"):
                raise self.broken(row, f"the flag of '{what}' is {short(value)}, not 0 or 1")
        return [value == "1" for value in values]

    def broken(self, row: int, problem: str, about: str = "") -> BrokenLine:
        """The error to raise about a line, given its place among those with data."""
        return self._broken(self.lines[row], problem, about)

    def _broken(self, line: int, problem: str, about: str = "") -> BrokenLine:
        return broken(self.file, line, problem, self.word, about)

    def _collect(self, found: Iterator[tuple[int, list[str]]], names: Sequence[Column]) -> None:
        """Keeps the named columns of all records, every text once while there are few."""
        kept: list[tuple[int, list[str], dict[str, str]]] = []
        for line, fields in found:
            if not self.lines:
                self.width = len(self.header or fields)
                places = {self.header.index(name) if isinstance(name, str) else name
                          for name in names if not isinstance(name, str) or name in self.header}  # fmt: skip
                self._columns = {place: [] for place in places if place < self.width}
                kept = [(place, column, {}) for place, column in self._columns.items()]
            if len(fields) != self.width:
                raise self._broken(line, f"{len(fields)} columns where {self.width} are due", "widths")
            self.lines.append(line)
            for place, column, known in kept:
                text = fields[place]
                value = known.get(text)
                if value is None:
                    value = plain_text(text)
                    if len(known) < _REMEMBERED:
                        known[text] = value
                column.append(value)


def _named(table: InteractionsTable | ItemsTable) -> list[Column]:
    """The columns that a table names."""
    if isinstance(table, InteractionsTable):
        columns = [table.user, table.item, table.rating, table.timestamp, table.history]
    else:
        flags = [(table.flags or 0) + place for place in range(len(table.flag_names))]
        columns = [table.id, table.title, table.year, table.tags, *flags]
    return list(dict.fromkeys(column for column in columns if column is not None))


# --- cutting ---------------------------------------------------------------------------------------------


def records(
    content: bytes, table: InteractionsTable | ItemsTable, separator: str = ""
) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every record; of a record of several lines the number of the first.

    Args:
        content: UTF-8.
        table: how it is written.
        separator: what is between columns, if not the table's.
    """
    lines = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")
    separator = separator or table.separator
    if len(separator) > 1:
        for place, text in enumerate(lines, start=1):
            yield place, text.rstrip("\r\n").split(separator)
        return
    reader = cut(lines, separator, table.quoted, table.escaped)
    started = 1
    try:
        for fields in reader:
            yield started, fields
            started = reader.line_num + 1
    except csv.Error as error:
        ended = "" if reader.line_num <= started else f", or in the lines up to {reader.line_num}"
        problem = f"a quote is not closed, or closes too early ({error}{ended})"
        raise broken(table.file, started, problem, about="quotes") from error


def cut(lines: Iterable[str], separator: str, quoted: bool, escaped: bool, strict: bool = True) -> Any:
    """A reader of `csv` for a table's separator and quotes."""
    return csv.reader(
        lines,
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        escapechar="\\" if quoted and escaped else None,
        strict=strict,
    )


def utf8(content: bytes, table: InteractionsTable | ItemsTable) -> bytes:
    """The file's text as UTF-8 without a byte-order mark.

    Raises:
        DataError: it is empty, or not text of the card's encoding.
    """
    if not re.search(rb"[^\s\x00]", content):
        raise DataError(f"{table.file} is empty", "it was cut off, or is the wrong file")
    if not content.isascii() or table.encoding.startswith("utf-16"):
        try:
            if table.encoding == "utf-8":
                check_utf8(content)
            else:
                content = content.decode(table.encoding).encode("utf-8")
        except UnicodeError as error:
            line = content.count(b"\n", 0, getattr(error, "start", 0)) + 1
            raise broken(table.file, line, f"not {table.encoding} text", about="encoding") from error
    return content.removeprefix(b"\xef\xbb\xbf")


def check_utf8(content: bytes) -> None:
    """Raises UnicodeDecodeError, with a place in the whole content, where it is not UTF-8."""
    start = 0
    while start < len(content):
        end = content.rfind(b"\n", start, start + _BLOCK) + 1 or len(content)
        try:
            content[start:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise UnicodeDecodeError(
                "utf-8", content[start:end], start + error.start, start + error.end, error.reason
            ) from error
        start = end


def trimmed(content: bytes) -> bytes:
    """The text without blank lines at its end."""
    end = len(content)
    while end and content[end - 1] in b" \t\r\n":
        end -= 1
    following = content.find(b"\n", end)
    return content if following < 0 else content[: following + 1]


# --- parts -----------------------------------------------------------------------------------------------


def place_of(what: str, column: Column, header: list[str], width: int, file: str) -> int:
    """The place of a column, from 0.

    Raises:
        DataError: the file has no such column.
    """
    if isinstance(column, str):
        if column not in header:
            raise broken(file, 1, f"no column {short(column)} for the {what}", about="widths")
        return header.index(column)
    if column >= width:
        raise broken(file, 1, f"no column {column} for the {what}", about="widths")
    return column


def plain_text(text: str) -> str:
    """A field without spaces around it; line ends and tabs within become one space."""
    return _BREAKS.sub(" ", text).strip()


def number(text: str) -> float | None:
    """A finite number, also where it has a comma; else None."""
    if _COMMA.fullmatch(text):
        text = text.replace(",", ".")
    return float(text) if NUMBER.fullmatch(text) and math.isfinite(float(text)) else None


def plain_ids(ids: Sequence[str]) -> Sequence[str]:
    """Ids as they are; but where all are whole numbers and some are written as 9.0, these as 9."""
    if not any("." in item and item.endswith("0") for item in ids):
        return ids
    found = [_WHOLE_ID.fullmatch(item) for item in ids]
    return [match[1] for match in found if match] if all(found) else ids


def broken(file: str, line: int, problem: str, word: str = "line", about: str = "") -> BrokenLine:
    """The error about a line of a file, or a row of a table."""
    return BrokenLine(f"{file}, {word} {line}: {problem}", LOOK_AT_CARD, about)


def short(text: str) -> str:
    """`text` in quotes, cut where it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
