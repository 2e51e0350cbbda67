"""Reads millions of lines block by block; what is not understood in bulk is left to the careful reader."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from core.data.reading import values
from core.data.reading.bulk import Block, Unclear, blocks, breaks_are_spaces
from core.data.reading.lines import place_of, records, trimmed, utf8
from core.data.reading.pieces import Columns, joined
from core.data.tables import Column, InteractionsTable

_BLOCK = 1 << 24  # bytes of JSON read together
_SPACES = b" \t\r\n"  # of JSON
_SPACE = 64  # bytes between two objects of a list at most
_BETWEEN = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*\{")
"""Two objects of a list; what looks like it within a text or an object leads to a closer look."""

_ON_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")


def fast_text(content: bytes, table: InteractionsTable) -> Columns | None:
    """What the careful reader would return for a table of text, or None where that takes a closer look.

    Raises:
        DataError: the file is empty, not text of its encoding, or lacks a column.
    """
    try:
        return joined(_parts(trimmed(utf8(content, table)), table))
    except Unclear:
        return None


def _named(table: InteractionsTable) -> dict[str, Column]:
    wanted = {"user": table.user, "item": table.item, "rating": table.rating, "timestamp": table.timestamp}
    return {what: column for what, column in wanted.items() if column is not None}


def _parts(content: bytes, table: InteractionsTable) -> Iterator[Columns]:
    places: dict[str, int] = {}
    before = 0
    for block in blocks(content, table.separator, table.quoted, table.escaped):
        skipped = 1 if table.header and not before else 0
        if not before:
            header = _header(block, table) if skipped else []
            places = {
                what: place_of(what, column, header, block.width, table.file)
                for what, column in _named(table).items()
            }
            if block.width < 2 or len(set(places.values())) < len(places):
                raise Unclear("a column twice")
        if len(block.starts) > skipped:
            yield _piece(block, table, places, skipped, before)
        before += block.n_lines


def _header(block: Block, table: InteractionsTable) -> list[str]:
    first = block.content[: int(block.ends[0]) + 1]
    return next(records(first, table, block.separator))[1]


def _piece(
    block: Block, table: InteractionsTable, places: dict[str, int], skipped: int, before: int
) -> Columns:
    found = _cut(block, table, places, skipped)
    rows = len(block.starts) - skipped
    lines = block.starts[skipped:] + (before + 1)
    return _columns(table, found, rows, lines)


def _cut(block: Block, table: InteractionsTable, places: dict[str, int], skipped: int) -> dict[str, Any]:
    """The wanted columns of a block, as arrays of Arrow."""
    import pyarrow as pa
    from pyarrow import csv

    body = memoryview(block.content)[int(block.ends[0]) + 1 if skipped else 0 :]
    names = [str(place) for place in range(block.width)]
    text, coded = pa.string(), pa.dictionary(pa.int32(), pa.string())
    kinds = {str(place): coded if what in ("user", "item") else text for what, place in places.items()}
    try:
        found = csv.read_csv(
            pa.BufferReader(body),
            csv.ReadOptions(column_names=names, block_size=len(block.content) + 1, use_threads=False),
            csv.ParseOptions(
                delimiter=block.separator,
                quote_char='"' if table.quoted else False,
                escape_char="\\" if table.quoted and table.escaped else False,
                newlines_in_values=block.spans,
                ignore_empty_lines=False,
            ),
            csv.ConvertOptions(
                column_types=kinds,
                include_columns=list(kinds),
                strings_can_be_null=False,
                null_values=[],
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise Unclear(str(error)) from None
    if found.num_rows != len(block.starts) - skipped:
        raise Unclear("another number of records")
    return {what: _one(found.column(str(place))) for what, place in places.items()}


def _one(column: Any) -> Any:
    """A column of Arrow as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _columns(table: InteractionsTable, found: dict[str, Any], rows: int, lines: Any) -> Columns:
    ratings, seconds = np.full(rows, np.nan), np.zeros(rows, np.int64)
    if "rating" in found:
        ratings = values.numbers(found["rating"])
    if "timestamp" in found:
        seconds = values.moments(found["timestamp"], table.time_format)
    return Columns(
        table.file, values.ids(found["user"]), values.ids(found["item"]), ratings, seconds, lines=lines
    )


# --- JSON ------------------------------------------------------------------------------------------------


def fast_json(content: bytes, table: InteractionsTable) -> Columns | None:
    """What the careful reader would return for JSON, or None where that takes a closer look.

    That is where a line is no object of its own, or a value is missing or of another kind than those of the
    first object.
    """
    names = {what: str(column) for what, column in _named(table).items()}
    if len(set(names.values())) < len(names):
        return None
    try:
        return joined(_objects(trimmed(utf8(content, table)), table, names))
    except (ValueError, KeyError, TypeError, RecursionError):  # arrow's errors are ValueErrors, too
        return None


def _objects(content: bytes, table: InteractionsTable, names: dict[str, str]) -> Iterator[Columns]:
    kinds: dict[str, type] = {}
    before = 0
    for block in _listed(content) if content.lstrip(_SPACES)[:1] == b"[" else _lines(content):
        if not kinds:
            first = json.loads(block[: block.find(b"\n") + 1 or len(block)])
            kinds = {what: type(first[name]) for what, name in names.items()}
        found = _read(block, names, kinds)
        rows = len(found["user"])
        yield _columns(table, found, rows, np.arange(before + 1, before + rows + 1))
        before += rows


def _lines(content: bytes) -> Iterator[bytes]:
    """Whole lines, so many at a time."""
    start = 0
    while start < len(content):
        end = content.rfind(b"\n", start, start + _BLOCK) + 1 if start + _BLOCK < len(content) else 0
        yield content[start : end or len(content)]
        start = end or len(content)


def _listed(content: bytes) -> Iterator[bytes]:
    """The objects of one list as lines, so many at a time; what looks like the end of one may be none."""
    start, stop = content.index(b"[") + 1, content.rindex(b"]")
    if content[stop + 1 :].strip(_SPACES):
        raise Unclear("something after the list")
    while start < stop:
        end = _last_object(content, start, start + _BLOCK) if start + _BLOCK < stop else stop
        block = content[start:end].strip(_SPACES)
        yield _apart(block.removesuffix(b",").rstrip(_SPACES) if end < stop else block)
        start = end


def _apart(block: bytes) -> bytes:
    """Objects with commas between them as lines; an object of several lines becomes one."""
    lines = _BETWEEN.sub(b"}\n{", block)
    if lines.count(b"\n") == lines.count(b"}\n{"):
        return lines
    if not breaks_are_spaces(block):
        raise Unclear("a text of several lines")
    return _BETWEEN.sub(b"}\n{", block.translate(_ON_ONE_LINE))


def _last_object(content: bytes, start: int, stop: int) -> int:
    """Where the last object begins that stands behind another one and a comma."""
    while (stop := content.rfind(b"{", start + 1, stop)) > 0:
        before = content[max(start, stop - _SPACE) : stop].rstrip(_SPACES)
        if before.endswith(b",") and before[:-1].rstrip(_SPACES).endswith(b"}"):
            return stop
    raise Unclear("an object without an end")


def _read(block: bytes, names: dict[str, str], kinds: dict[str, type]) -> dict[str, Any]:
    """The wanted values of all objects; whole numbers may turn out to be fractions, but not those of ids."""
    import pyarrow as pa

    try:
        return _arrow(block, names, kinds)
    except pa.ArrowInvalid:
        wider = {
            what: float if kind is int and what in ("rating", "timestamp") else kind
            for what, kind in kinds.items()
        }
        if wider == kinds:
            raise
        return _arrow(block, names, wider)


def _arrow(block: bytes, names: dict[str, str], kinds: dict[str, type]) -> dict[str, Any]:
    import pyarrow as pa
    from pyarrow.json import ParseOptions, ReadOptions, read_json

    known = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, known[kinds[what]]) for what, name in names.items()])
    options = ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    found = read_json(pa.BufferReader(block), ReadOptions(block_size=1 << 22), options)
    breaks = block.count(b"\n") - block.endswith(b"\n")
    apart = block.startswith(b"{") and block.endswith((b"}", b"}\n"))
    if not apart or block.count(b"}\n{") != breaks or found.num_rows != breaks + 1:
        raise Unclear("not one object a line")
    columns = {what: _one(found.column(name)) for what, name in names.items()}
    if any(column.null_count for column in columns.values()):
        raise Unclear("a missing value")
    if any(str(columns[what].type) == "double" for what in ("user", "item")):
        raise Unclear("an id with a fraction")  # which may be written in several ways
    return columns
