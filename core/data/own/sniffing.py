"""Finds out how a text file is written, from all of it: encoding, separator, quotes, a line of names."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Sequence

from core.data.own.quotes import QUOTING, Quotes
from core.data.own.shapes import SAMPLE, shape
from core.data.reading.lines import broken, check_utf8, cut
from core.data.times import NUMBER
from core.errors import DataError, InputError

SEPARATORS = ("\t", "::", ",", "|", ";")
_ENCODING = "say --encoding: utf-8, cp1252, latin-1, cp1251, gb18030, shift_jis, …"


# --- encoding --------------------------------------------------------------------------------------------


def encoding_of(content: bytes, file: str) -> str:
    """UTF-8 or UTF-16 where it is that, else the encoding of Western text.

    Raises:
        DataError: it is neither, or UTF-8 with a damaged place; names the line.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if content.isascii():
        return "utf-8"
    try:
        check_utf8(content)
        return "utf-8"
    except UnicodeDecodeError as error:
        fault = broken(
            file,
            content.count(b"\n", 0, error.start) + 1,
            "not utf-8 text, and no other is sure",
            about="encoding",
        )
        fault.hint = _ENCODING
        if not _western(content):
            raise fault from error
        if not re.search(rb"[\x80-\x9f]", content):
            return "latin-1"
        if re.search(rb"[\x81\x8d\x8f\x90\x9d]", content):
            raise fault from error
        return "cp1252"


def _western(content: bytes) -> bool:
    """Whether bytes beyond ASCII stand alone among letters, as accents do, and form no UTF-8."""
    high = len(re.findall(rb"[\x80-\xff]", content))
    in_runs = sum(len(run) for run in re.findall(rb"[\x80-\xff]{3,}", content))
    in_utf8 = sum(map(len, re.findall(rb"[\xc3-\xf4][\x80-\xbf]{1,3}", content)))
    return in_runs <= 0.2 * high and in_utf8 <= 0.2 * high


# --- separator -------------------------------------------------------------------------------------------


def separator_of(text: str, known: frozenset[str], file: str) -> str:
    """What is between the columns, judged by how evenly and how sensibly it cuts the first lines.

    Args:
        text: the first lines.
        known: names of columns in small letters, without marks.
        file: its name, for messages.

    Raises:
        DataError: nothing is between columns.
    """
    scored = [(_score(text, mark, known), mark) for mark in SEPARATORS if mark in text]
    usable = [entry for entry in scored if entry[0] is not None]
    if not usable:
        fault = broken(file, 1, "no tab, comma, |, ; or :: between columns", about="widths")
        fault.hint = "is it a table? say --separator if it is another character"
        raise fault
    return max(usable, key=lambda entry: (entry[0], -SEPARATORS.index(entry[1])))[1]


def _score(text: str, mark: str, known: frozenset[str]) -> tuple[float, ...] | None:
    rows = max((_cut(text, mark, quotes) for quotes in QUOTING.values()), key=_evenness)
    if not rows or len(rows[0]) < 2:
        return None
    others = [other for other in SEPARATORS if other != mark]
    named = sum(plain_name(name) in known for name in rows[0])
    clean = sum(not any(other in field for other in others) for row in rows for field in row[:1]) / len(rows)
    prose = sum(row[1].startswith(" ") for row in rows if len(row) > 1) / len(rows)
    return (round(_evenness(rows)[0], 1), named, clean, -prose, len(rows[0]))


def _evenness(rows: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Share of rows as wide as the first, and how many there are."""
    if not rows:
        return (0.0, 0)
    return (sum(len(row) == len(rows[0]) for row in rows) / len(rows), len(rows))


def _cut(text: str, mark: str, quotes: Quotes) -> list[list[str]]:
    """The first lines in columns; none where they cannot be cut so."""
    if len(mark) > 1:
        return [line.split(mark) for line in text.splitlines()]
    reader = cut(io.StringIO(text, newline=""), mark, quotes.quoted, quotes.escaped, strict=False)
    try:
        return list(itertools.islice(reader, SAMPLE))
    except csv.Error:
        return []


# --- the first line --------------------------------------------------------------------------------------


def has_header(rows: Sequence[Sequence[str]], known: frozenset[str]) -> bool:
    """Whether the first line names columns.

    It does where it has no number and stands over numbers, or has names that columns often have; or where
    it counts the columns from 0, as pandas does.
    """
    first = [field.strip() for field in rows[0]]
    below = [row for row in rows[1:] if len(row) == len(first)]
    if counted(first):
        return _counted_header(first, below)
    if any(NUMBER.fullmatch(field) for field in first):
        return False
    columns = [[row[place].strip() for row in below] for place in range(len(first))]
    named = sum(plain_name(field) in known for field in first)
    if named < 2 and any(_same_code(field, column) for field, column in zip(first, columns, strict=True)):
        return False
    over_numbers = any(
        column and sum(NUMBER.fullmatch(field) is not None for field in column) >= 0.9 * len(column)
        for column in columns
    )
    if over_numbers or named > 1:
        return True
    other_shape = any(
        len(set(map(shape, column))) == 1 and shape(field) != shape(column[0])
        for field, column in zip(first, columns, strict=True)
        if column
    )
    return named == 1 and (other_shape or not below)


def _same_code(field: str, column: Sequence[str]) -> bool:
    """Whether a field looks like all below it, and these are codes such as B0001."""
    found = set(map(shape, column))
    return len(found) == 1 and re.search("9.*a|a.*9", min(found)) is not None and found == {shape(field)}


def counted(names: Sequence[str]) -> bool:
    """Whether names are 0, 1, 2 …, perhaps after that of an index."""
    rest = names[1:] if names and is_index(names[0]) else names
    return len(rest) > 1 and list(rest) == [str(place) for place in range(len(rest))]


def _counted_header(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether 0,1,2 counts columns, and is not the first line of somebody with the number 0."""
    if is_index(first[0]):
        return True
    return not any(row[0].strip() == "0" for row in below)


def is_index(name: str) -> bool:
    """Whether a column's name is that of an index which a program wrote along."""
    return (
        name.strip() in ("", "index") or re.fullmatch(r"Unnamed: \d+|__index_level_\d+__", name) is not None
    )


def plain_name(name: str) -> str:
    """A column's name without capitals, marks, and RecBole's type after the colon."""
    return re.sub("[^a-z0-9]", "", name.partition(":")[0].lower())


def said_separator(text: str) -> str:
    """A separator as written on a command line.

    Raises:
        InputError: it is neither one character nor `::`.
    """
    named = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
    separator = named.get(text.lower(), text)
    if separator != "::" and (len(separator) != 1 or separator in '\r\n"\0'):
        raise InputError(f"--separator cannot be {text[:20]!r}", "one character, ::, or: tab, space")
    return separator


def check_text(content: bytes, file: str) -> None:
    """Refuses what is plainly no text.

    Raises:
        DataError: it is empty, a pickle, or UTF-32, or holds NUL bytes and no mark of UTF-16.
    """
    if not re.search(rb"[^\s\x00]", content):
        raise DataError(f"{file} is empty", "it was cut off, or is the wrong file")
    if content.startswith(b"\x80") and content.rstrip()[-1:] == b".":
        raise DataError(f"{file} is a pickle", "save the table as CSV or parquet")
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        raise DataError(f"{file} is UTF-32 text", "save it as UTF-8")
    if b"\0" in content[:4096] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{file} is no text", "save it as CSV; or say --encoding utf-16")


def check_beginning(text: bytes, file: str) -> None:
    """Refuses text that begins with what is no row, in words that say so.

    Raises:
        DataError: the first line is blank or a note for a spreadsheet; or all is a JSON list of lists.
    """
    first = text[:4096].partition(b"\n")[0].strip()
    if not first or re.fullmatch(rb"(?i)\"?sep=.\"?", first):
        kind = "a note for a spreadsheet program" if first else "blank"
        raise DataError(f"{file}, line 1: {kind}", "remove that line")
    if re.match(rb"\s*\[\s*\[", text[:4096]) and text.rstrip()[-1:] == b"]":
        raise DataError(
            f"{file} is a JSON list of lists, whose values have no names",
            "write one JSON object a line (pandas: to_json with orient='records' and lines=True)",
        )
