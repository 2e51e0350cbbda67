"""Reads JSON: one object a line, or one list of objects; numbers and texts become what CSV would hold."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from core.errors import DataError

_SPACES = re.compile(r"[ \t\n\r]*")
_PIECE = 1 << 22  # bytes of a list that are held at a time


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
    text = _Text(content, fail)
    if text.mark() != "[":
        raise text.wrong("not JSON (Expecting value)")
    text.at += 1
    more = text.mark() != "]"
    while more:
        yield text.value()
        more = (mark := text.mark()) == ","
        if not more and mark != "]":
            raise text.wrong("not JSON (Expecting ',' delimiter)")
        text.at += more
    text.at += 1
    if text.mark():
        raise text.wrong("not JSON (Extra data)")


class _Text:
    """A long text, of which a piece is held at a time."""

    def __init__(self, content: bytes, fail: Fail) -> None:
        self.content, self.fail = content, fail
        self.held, self.at = "", 0
        """The piece, and the place in it that is read next."""
        self.lines, self.end = 1, 0
        """The line that the piece begins in, and the byte that it ends before."""
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.read = json.JSONDecoder().raw_decode

    def mark(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            found = _SPACES.match(self.held, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.held) or not self._longer():
                return self.held[self.at : self.at + 1]

    def value(self) -> Any:
        """The next value; one that is no list or object may be cut short."""
        self.mark()
        while True:
            try:
                value, self.at = self.read(self.held, self.at)
                return value
            except json.JSONDecodeError as error:
                if not self._longer():
                    self.at = error.pos
                    raise self.wrong(f"not JSON ({error.msg})") from error
            except (ValueError, RecursionError) as error:
                raise self.wrong("JSON with too many digits or levels") from error

    def wrong(self, problem: str) -> DataError:
        """The error about the line that is read next."""
        return self.fail(self.lines + self.held.count("\n", 0, self.at), problem, "json")

    def _longer(self) -> bool:
        """Drops what was read and adds the next piece, as long as what is left; False at the end."""
        self.lines += self.held.count("\n", 0, self.at)
        self.held, self.at = self.held[self.at :], 0
        if self.end >= len(self.content):
            return False
        start, self.end = self.end, self.end + max(_PIECE, len(self.held))
        try:
            self.held += self.decoder.decode(self.content[start : self.end], self.end >= len(self.content))
        except UnicodeDecodeError as error:
            self.at = len(self.held)
            raise self.wrong("not UTF-8 text") from error
        return True


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
