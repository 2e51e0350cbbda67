"""Reads JSON: one object a line, or one list of objects; numbers and texts become what CSV would hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from core.errors import DataError

_SPACES = re.compile(r"[ \t\n\r]*")


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
        for place, record in enumerate(_listed(content, fail), start=1):
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


def _listed(content: bytes, fail: Fail) -> Iterator[Any]:
    """The entries of one list, one after the other: all of them at once would take ten times the file."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise fail(1 + content.count(b"\n", 0, error.start), "not UTF-8 text", "json") from error
    read, at = json.JSONDecoder().raw_decode, _next(text, text.index("[") + 1)
    more = text[at : at + 1] != "]"
    while more:
        try:
            value, at = read(text, at)
        except json.JSONDecodeError as error:
            raise fail(error.lineno, f"not JSON ({error.msg})", "json") from error
        except (ValueError, RecursionError) as error:
            raise fail(_line(text, at), "JSON with too many digits or levels", "json") from error
        yield value
        at = _next(text, at)
        more = text[at : at + 1] == ","
        if not more and text[at : at + 1] != "]":
            raise fail(_line(text, at), "not JSON (Expecting ',' delimiter)", "json")
        at = _next(text, at + 1) if more else at
    if (at := _next(text, at + 1)) < len(text):
        raise fail(_line(text, at), "not JSON (Extra data)", "json")


def _line(text: str, at: int) -> int:
    return 1 + text.count("\n", 0, at)


def _next(text: str, at: int) -> int:
    """Where the next character is that is no space."""
    found = _SPACES.match(text, at)
    return found.end() if found else at


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
