"""Reads JSON: one object a line, or one list of objects; numbers and texts become what CSV would hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from core.errors import DataError


class Fail(Protocol):
    """Makes the error about a line."""

    def __call__(self, line: int, problem: str, about: str = "") -> DataError:
        """The error, with what is wrong in words and as a kind."""


def json_records(content: bytes, names: Sequence[str], fail: Fail) -> Iterator[tuple[int, list[str]]]:
    """Line number and the named values of every object; a name that is not there gives an empty text.

    Raises:
        DataError: a line is no JSON object, or holds a list where a value is due; names the line.
    """
    for line, record in json_objects(content, fail):
        yield line, [_text(record.get(name), name, line, fail) for name in names]


def json_objects(content: bytes, fail: Fail) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number, or place in the list, of every object; blank lines are passed over.

    Raises:
        DataError: names the line.
    """
    if content.lstrip()[:1] == b"[":
        whole = _parsed(content, 1, fail)
        for place, record in enumerate(whole if isinstance(whole, list) else [whole], start=1):
            yield place, _object(record, place, fail)
        return
    start, line = 0, 0
    while start < len(content):
        end = content.find(b"\n", start) + 1 or len(content)
        line += 1
        text = content[start:end].strip()
        start = end
        if text:
            yield line, _object(_parsed(text, line, fail), line, fail)


def _parsed(text: bytes, line: int, fail: Fail) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise fail(line + error.lineno - 1, f"not JSON ({error.msg})", "json") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or endless levels
        raise fail(line, "JSON with too many digits or levels", "json") from error


def _object(record: Any, line: int, fail: Fail) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise fail(line, f"{type(record).__name__} where a JSON object is due", "json")
    return record


def _text(value: Any, name: str, line: int, fail: Fail) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # half a character may be written as \ud800
    if isinstance(value, (list, dict)):
        raise fail(line, f"{name[:40]!r} is a {type(value).__name__}, not a text or number", "json")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)
