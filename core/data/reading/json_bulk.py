"""Reads JSON lines all at once with pyarrow, where every line is one plain object of the same kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def plain_columns(content: bytes, names: Sequence[str]) -> dict[str, Any] | None:
    """Arrow columns of texts, whole numbers or fractions; None where a closer look is due.

    That is where a line is no object of its own, or a value is missing or of another kind than that of the
    first line.

    Args:
        content: UTF-8 without blank lines at its end.
        names: the keys that are wanted.
    """
    import pyarrow as arrow
    from pyarrow.json import ParseOptions, ReadOptions, read_json

    kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
    try:
        first = json.loads(content[: content.find(b"\n") + 1 or len(content)])
        schema = arrow.schema([(name, kinds[type(first[name])]) for name in names])
        options = ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        found = read_json(arrow.BufferReader(content), ReadOptions(block_size=1 << 22), options)
    except (ValueError, KeyError, TypeError, RecursionError):  # arrow's errors are ValueErrors, too
        return None
    breaks = content.count(b"\n") - content.endswith(b"\n")
    apart = content.startswith(b"{") and content.endswith((b"}", b"}\n"))
    if not apart or content.count(b"}\n{") != breaks or found.num_rows != breaks + 1:
        return None
    columns = {name: found.column(name) for name in names}
    return None if any(column.null_count for column in columns.values()) else columns
