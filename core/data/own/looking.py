"""Looks at somebody's file: its format, how it is written, its columns, and some of its rows."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.data.own import sniffing
from core.data.own.quotes import QUOTING, Quotes, quotes_of
from core.data.own.shapes import SAMPLE
from core.data.reading.codes import cell_text
from core.data.reading.json_lines import json_objects
from core.data.reading.lines import BrokenLine, Lines, broken, records, trimmed, utf8
from core.data.reading.parquet import read_parquet
from core.data.reading.unpacking import read_content
from core.data.tables import ENCODINGS, Column, ItemsTable, encoding_named
from core.errors import InputError

HEADERS = ("both", "interactions", "items", "none")
"""What `--header` takes: which files begin with a line of names."""


@dataclass(frozen=True)
class Said:
    """What somebody says about how the files are written; None where it is to be found out."""

    encoding: str | None = None
    separator: str | None = None
    quoting: str | None = None
    header: str | None = None
    """One of `HEADERS`; `no` for files that have none, unless one plainly has."""

    def __post_init__(self) -> None:
        if self.encoding is not None:
            object.__setattr__(self, "encoding", encoding_named(self.encoding) or self.encoding)
        _check_choice("--encoding", self.encoding, ENCODINGS)
        _check_choice("--quoting", self.quoting, tuple(QUOTING))
        _check_choice("--header", self.header, (*HEADERS, "no"))
        if self.separator is not None:
            object.__setattr__(self, "separator", sniffing.said_separator(self.separator))

    def names(self) -> list[str]:
        """The options that were given."""
        return [f"--{name}" for name, value in dataclasses.asdict(self).items() if value is not None]


def _check_choice(option: str, value: str | None, known: Sequence[str]) -> None:
    if value is not None and value not in known:
        raise InputError(f"{option} cannot be {value[:40]!r}", f"one of: {', '.join(known)}")


@dataclass(frozen=True)
class Look:
    """A file, how it is written, and its first rows."""

    path: Path
    content: bytes
    rows: list[list[str]]
    """The first rows, that of the names included."""
    separator: str = "\t"
    header: bool = True
    quotes: Quotes = QUOTING["none"]
    encoding: str = "utf-8"
    format: str = "text"

    @property
    def names(self) -> list[str]:
        """Names of the columns; none without a header."""
        return self.rows[0] if self.header else []

    @cached_property
    def data(self) -> list[list[str]]:
        """Rows with data that are as wide as the first."""
        rows = self.rows[1:] if self.header else self.rows
        return [row for row in rows if len(row) == len(self.rows[0])]

    @cached_property
    def columns(self) -> list[int]:
        """Places of the columns, that of an index left out."""
        return [place for place in range(len(self.rows[0])) if not (self.names and self._is_index(place))]

    @property
    def named(self) -> bool:
        """Whether its columns have names that say something."""
        return self.header and not sniffing.counted([self.names[place] for place in self.columns])

    def name(self, place: int) -> Column:
        """How a card calls a column."""
        return self.names[place] if self.header else place

    def place(self, column: Column) -> int:
        """Where a column is."""
        return self.names.index(column) if isinstance(column, str) else column

    def values(self, place: int) -> list[str]:
        """The first values of a column that are not empty."""
        return [row[place].strip() for row in self.data if row[place].strip()]

    def written(self) -> dict[str, Any]:
        """How the file is written, in the words of a card."""
        return {
            "separator": self.separator,
            "header": self.header,
            "quoted": self.quotes.quoted,
            "escaped": self.quotes.escaped,
            "encoding": self.encoding,
            "format": self.format,
        }

    def whole(self, place: int) -> Sequence[str]:
        """All values of a column.

        Raises:
            DataError: a line breaks the file's contract.
        """
        if self.format == "parquet":
            frame = read_parquet(self.content, self.path.name, [str(self.name(place))])
            return [cell_text(value) for value in frame.iloc[:, 0]]
        column = self.name(place)
        table = ItemsTable(self.path.name, id=column, title=column, **self.written())
        return Lines(self.content, table).texts("value", column, empty=True)

    def _is_index(self, place: int) -> bool:
        """Whether a column is an index: by its name, and because it numbers the rows, each differently."""
        if not sniffing.is_index(self.names[place]):
            return False
        numbers = [row[place] for row in self.data]
        return all(map(str.isdecimal, numbers)) and len(set(numbers)) == len(numbers)


def look_at(path: Path, said: Said, which: str, known: frozenset[str]) -> Look:
    """How a file is written, as somebody says or as it is found out.

    Args:
        path: the file.
        said: what is known already.
        which: `interactions` or `items`.
        known: names that columns often have, in small letters without marks.

    Raises:
        DataError: it cannot be read, or is no table.
        InputError: what was said does not fit it.
    """
    content = read_content(path)
    if content.startswith(b"PAR1"):
        frame = read_parquet(content, path.name, rows=SAMPLE)
        rows = [[cell_text(value) for value in row] for row in frame.itertuples(index=False)]
        return Look(path, content, [list(map(str, frame.columns)), *rows], format="parquet")
    if said.encoding is None:
        sniffing.check_text(content, path.name)
    encoding = said.encoding or sniffing.encoding_of(content, path.name)
    file = dataclasses.replace(_FILE, file=path.name, encoding=encoding)
    try:
        text = utf8(content, file)
    except BrokenLine as error:
        error.hint = "say --encoding, such as cp1252 or latin-1; or leave it out"
        raise
    if said.separator is None and text.lstrip()[:1] in (b"{", b"[") and _is_json(text):
        return Look(path, content, _json_rows(text, path.name), encoding=encoding, format="jsonl")
    if said.separator is None:
        sniffing.check_beginning(text, path.name)
    return _text(path, content, text, encoding, said, which, known)


_FILE = ItemsTable("file", id=0, title=0)


def _text(
    path: Path, content: bytes, text: bytes, encoding: str, said: Said, which: str, known: frozenset[str]
) -> Look:
    first = b"".join(itertools.islice(iter(text[: 1 << 22].splitlines(keepends=True)), SAMPLE))
    start = first.decode("utf-8", "replace")
    separator = said.separator
    if separator is None or separator not in start.partition("\n")[0]:
        separator = sniffing.separator_of(start, known, path.name)
    quotes = QUOTING[said.quoting] if said.quoting else quotes_of(text, separator, path.name)
    if len(separator) > 1:
        quotes = QUOTING["none"]
    table = ItemsTable(
        path.name, id=0, title=0, separator=separator, quoted=quotes.quoted, escaped=quotes.escaped
    )
    rows = [fields for _, fields in itertools.islice(records(trimmed(text), table), SAMPLE)]
    return Look(
        path,
        content,
        rows,
        separator=separator,
        header=_header(rows, said, which, known, path.name),
        quotes=quotes,
        encoding=encoding,
    )


def _header(rows: Sequence[Sequence[str]], said: Said, which: str, known: frozenset[str], file: str) -> bool:
    if said.header is None:
        return sniffing.has_header(rows, known)
    if said.header == "no" and sum(sniffing.plain_name(name) in known for name in rows[0]) > 1:
        names = ", ".join(rows[0])[:100]
        other = "items" if which == "items" else "interactions"
        raise InputError(
            f"{file}, line 1: plainly names of columns ({names!r})",
            f"say --header {other} in place of --no-header, or --header none if it is data",
        )
    return said.header in ("both", which)


def _is_json(text: bytes) -> bool:
    if text.lstrip()[:1] == b"{":
        return True
    start = text.lstrip()[:64].replace(b" ", b"").replace(b"\n", b"").replace(b"\r", b"")
    return start.startswith((b"[{", b"[]"))


def _json_rows(text: bytes, file: str) -> list[list[str]]:
    """Names and first values of what is plain in the first objects."""

    def fail(line: int, problem: str, about: str = "") -> BrokenLine:
        return broken(file, line, problem, about=about)

    objects = [record for _, record in itertools.islice(json_objects(text, fail), SAMPLE)]
    names = dict.fromkeys(
        name
        for record in objects
        for name, value in record.items()
        if not isinstance(value, (list, dict)) and name.isprintable()
    )
    if not names:
        raise broken(file, 1, "a JSON object without a single text or number", about="json")
    return [list(names), *([_plain(record, name) for name in names] for record in objects)]


def _plain(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return "" if isinstance(value, (list, dict)) else cell_text(value)
