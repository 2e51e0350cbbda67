"""Finds out what double quotes mean in a text file, from all of it."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.data.own.shapes import SAMPLE, shape
from core.data.reading.bulk import Unclear, blocks
from core.data.reading.lines import broken, cut, trimmed


@dataclass(frozen=True)
class Quotes:
    """What double quotes mean in a file."""

    quoted: bool = False
    escaped: bool = False


QUOTING = {"none": Quotes(), "double": Quotes(True), "backslash": Quotes(True, True)}
"""What `--quoting` takes."""


def quotes_of(content: bytes, separator: str, file: str) -> Quotes:
    """What double quotes mean, decided over the whole file.

    Where every line alone is a whole row, none is ever merged with one that looks like a row of the file.
    Quotes that open and close around fields are no part of them; else they are letters.

    Args:
        content: UTF-8 without a byte-order mark.
        separator: what is between columns.
        file: its name, for messages.

    Raises:
        DataError: a quote opens and closes over several lines that look like rows of their own.
    """
    content = trimmed(content)
    if b'"' not in content or len(separator) > 1:
        return QUOTING["none"]
    bulk = _quotes_in_bulk(content, separator)
    if bulk is not None:
        return bulk
    wrong = _wrong_lines(content, separator)
    if b'\\"' not in content:
        wrong.pop("backslash")
    if not wrong["none"]:
        fitting = next(name for name, count in wrong.items() if not count)
        return QUOTING[_over_lines(content, separator, wrong) if fitting == "none" else fitting]
    for name in ("double", "backslash"):
        if name in wrong and (not wrong[name] or _whole(content, separator, QUOTING[name])):
            merged = _merged_rows(content, separator, QUOTING[name]) if wrong[name] else None
            if merged is None:
                return QUOTING[name]
            if wrong["none"] < wrong[name]:
                return QUOTING["none"]
            first, last = merged
            fault = broken(
                file,
                first,
                f"a quote opens here and closes in line {last}, over rows of their own",
                about="quotes",
            )
            fault.hint = "mend the line; or say --quoting none, or --quoting double if it is one field"
            raise fault
    return QUOTING[min(wrong, key=lambda name: wrong[name])]


def _over_lines(content: bytes, separator: str, wrong: Mapping[str, int]) -> str:
    """What quotes mean where every line alone is a row if they are letters, and some would stand over lines.

    They do where no line within them looks like the rows of the file.
    """
    for name in ("double", "backslash"):
        quotes = QUOTING[name]
        if name in wrong and _whole(content, separator, quotes):
            known = bool(_regular_of(content, separator, quotes))
            if known and _merged_rows(content, separator, quotes) is None:
                return name
    return "none"


def _quotes_in_bulk(content: bytes, separator: str) -> Quotes | None:
    """What quotes mean where all of them plainly stand around fields; None where that takes a closer look."""
    for name in ("double", "backslash"):
        try:
            several = _several_lines(content, separator, QUOTING[name])
        except (Unclear, csv.Error):
            if b'\\"' not in content or _whole(content, separator, QUOTING["double"]):
                return None
            continue
        return None if several else QUOTING[name]
    return None


def _several_lines(content: bytes, separator: str, quotes: Quotes) -> bool:
    """Whether a record takes several lines of which each after the first looks like a row of its own.

    Raises:
        Unclear: it takes a closer look than one in bulk; so do lines that are all whole rows without quotes.
    """
    regular: dict[int, frozenset[str]] = {}
    spans = False
    for block in blocks(content, separator, quotes.quoted, quotes.escaped):
        if not block.spans:
            continue
        if not spans:
            _refuse_whole_lines(content, separator)
            singles = (
                fields for first, last, fields in _records(content, separator, quotes) if first == last
            )
            regular, spans = _regular(list(itertools.islice(singles, SAMPLE))), True
        lines = block.content.split(b"\n")
        ends = [*block.starts[1:].tolist(), block.n_lines]
        for start, end in zip(block.starts.tolist(), ends, strict=True):
            if end - start > 1 and _rows_alike(lines[start + 1 : end], separator, block.width, regular):
                return True
    return False


def _refuse_whole_lines(content: bytes, separator: str) -> None:
    try:
        for _ in blocks(content, separator):
            pass
    except Unclear:
        return
    raise Unclear("every line alone is a whole row")


def _rows_alike(
    lines: Sequence[bytes], separator: str, width: int, regular: dict[int, frozenset[str]]
) -> bool:
    """Whether lines look like rows of their own; no rows do where nothing is known of them."""
    rows = [line.decode("utf-8", "replace").split(separator) for line in lines]
    return bool(regular and rows) and all(len(row) == width and _alike(row, regular) for row in rows)


def _wrong_lines(content: bytes, separator: str) -> dict[str, int]:
    """How many lines alone are no row of the first line's width, for each meaning of quotes."""
    mark = separator.encode()
    widths: dict[str, int] = {}
    counts = dict.fromkeys(("double", "backslash", "none"), 0)
    usual = 0  # the width that a line without quotes has whatever they mean
    for line in io.BytesIO(content):
        alone = line.rstrip(b"\r\n")
        plain = alone.count(mark) + 1
        if plain == usual and b'"' not in alone:
            continue
        for name in counts:
            width = plain if name == "none" or b'"' not in alone else _width(alone, separator, QUOTING[name])
            counts[name] += width != widths.setdefault(name, width) or width == 0
        usual = plain if set(widths.values()) == {plain} else usual
    return counts


def _width(line: bytes, separator: str, quotes: Quotes) -> int:
    """Fields of a line that is whole on its own, or 0."""
    text = line.decode("utf-8", "replace")
    try:
        rows = list(cut([text], separator, quotes.quoted, quotes.escaped))
    except csv.Error:
        return 0
    return len(rows[0]) if rows else 0


def _records(content: bytes, separator: str, quotes: Quotes) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and fields of every record."""
    lines = io.TextIOWrapper(io.BytesIO(content), "utf-8", errors="replace", newline="")
    reader = cut(lines, separator, quotes.quoted, quotes.escaped)
    started = 1
    for fields in reader:
        yield started, reader.line_num, fields
        started = reader.line_num + 1


def _whole(content: bytes, separator: str, quotes: Quotes) -> bool:
    """Whether the whole file is rows of one width."""
    try:
        records = _records(content, separator, quotes)
        width = len(next(records)[2])
        return all(len(fields) == width for _, _, fields in records)
    except (csv.Error, StopIteration):
        return False


def _merged_rows(content: bytes, separator: str, quotes: Quotes) -> tuple[int, int] | None:
    """First and last line of a record of several lines, each after the first being like a row; or None."""
    regular = _regular_of(content, separator, quotes)
    if not regular:
        return None
    lines = content.splitlines()
    for first, last, fields in _records(content, separator, quotes):
        if last > first and _rows_alike(lines[first:last], separator, len(fields), regular):
            return first, last
    return None


def _regular_of(content: bytes, separator: str, quotes: Quotes) -> dict[int, frozenset[str]]:
    """What is regular in the first records of one line."""
    singles = (fields for first, last, fields in _records(content, separator, quotes) if first == last)
    return _regular(list(itertools.islice(singles, SAMPLE)))


def _regular(rows: Sequence[Sequence[str]]) -> dict[int, frozenset[str]]:
    """Place -> shapes, for columns whose texts have few shapes, such as ids and numbers."""
    if len(rows) < 8:
        return {}
    shapes = {
        place: frozenset(map(shape, column)) for place, column in enumerate(zip(*rows[1:], strict=False))
    }
    return {place: found for place, found in shapes.items() if len(found) <= 3 and " " not in "".join(found)}


def _alike(row: Sequence[str], regular: dict[int, frozenset[str]]) -> bool:
    return all(shape(row[place].rstrip('"')) in found for place, found in regular.items())
