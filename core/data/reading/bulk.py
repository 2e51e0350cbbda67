"""Cuts text into blocks of whole records, and checks each at once: its quotes, widths and lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_CHUNK = 1 << 24  # bytes looked at together
_LONGEST = 1 << 26  # bytes in which a record must end
_TICK, _BACKSLASH, _BREAK = b'"\\\n'

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Unclear(ValueError):
    """A text that takes a closer look than one at millions of lines at once."""


@dataclass(frozen=True)
class Block:
    """Whole records of one width that follow each other; every line ends with a line feed alone."""

    content: bytes
    starts: Ints
    """(records,) How many lines of the block come before each record."""
    ends: Ints
    """(records,) Where each record's line end is in `content`."""
    n_lines: int
    width: int
    separator: str
    """What is between columns here: one character, also where the file has two."""

    @property
    def spans(self) -> bool:
        """Whether some record takes several lines."""
        return self.n_lines > len(self.starts)


def blocks(content: bytes, separator: str, quoted: bool = False, escaped: bool = False) -> Iterator[Block]:
    """The text in blocks, as RFC 4180 cuts it where fields may be quoted.

    Args:
        content: text without blank lines at its end, as UTF-8.
        separator: what is between columns; `::` becomes a character that the text does not have.
        quoted: whether fields may stand in double quotes.
        escaped: whether a backslash takes the meaning from the character after it.

    Raises:
        Unclear: records have different widths, a quote does not stand around a field, or lines end oddly.
    """
    start, size, width = 0, _CHUNK, 0
    if (len(separator) > 1 and separator != "::") or not separator.isascii() or b"\0" in content:
        raise Unclear(separator)
    single = _stand_in(content) if separator == "::" else separator
    while start < len(content):
        raw = content[start : start + size]
        text = _plain_lines(raw.replace(b"::", single.encode()) if separator == "::" else raw)
        if start + size >= len(content) and not text.endswith(b"\n"):
            text += b"\n"
        found = _block(text, single, quoted, escaped, width)
        if found is None:
            size *= 2
            if size > _LONGEST or len(raw) < size // 2:
                raise Unclear("a record without an end")
            continue
        width, size = found.width, _CHUNK
        start += _length(raw, found.n_lines)
        yield found


def _stand_in(content: bytes) -> str:
    """A character that a text does not have."""
    for mark in "\t\x1f\x1e\x1d\x01":
        if mark.encode() not in content:
            return mark
    raise Unclear("no character is left")


def _plain_lines(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n") if b"\r" in text else text


def _length(raw: bytes, n_lines: int) -> int:
    """How many bytes that many lines have."""
    breaks = np.flatnonzero(np.frombuffer(raw, np.uint8) == _BREAK)
    return int(breaks[n_lines - 1]) + 1 if n_lines <= len(breaks) else len(raw)


def _block(text: bytes, separator: str, quoted: bool, escaped: bool, width: int) -> Block | None:
    """The whole records that a text begins with; None where not one ends."""
    view = np.frombuffer(text, np.uint8)
    marks = np.flatnonzero((view == ord(separator)) | (view == _BREAK))
    is_tick = None
    if quoted and (b'"' in text or (escaped and b"\\" in text)):
        is_tick = view == _TICK
        if escaped and b"\\" in text:
            free = ~after_backslash(view)
            is_tick &= free
            if not free[marks].all():
                raise Unclear("an escaped mark")
        within = _within_words(view, is_tick, ord(separator))
        is_tick[within] = False
        inside = np.bitwise_xor.accumulate(is_tick.view(np.uint8))
        if inside[within].any():
            raise Unclear("a quote within quotes")
        marks = marks[inside[marks] == 0]
    ends = marks[view[marks] == _BREAK]
    if not len(ends):
        return None
    stop = int(ends[-1]) + 1
    if is_tick is not None:
        _check_quotes(view[:stop], is_tick[:stop], ord(separator))
    width = width or int(np.searchsorted(marks, ends[0])) + 1
    _check_width(view[marks[: int(np.searchsorted(marks, stop))]], width)
    breaks = np.flatnonzero(view[:stop] == _BREAK)
    starts = np.searchsorted(breaks, ends) + 1 if len(breaks) > len(ends) else np.arange(1, len(ends) + 1)
    body = text[:stop]
    if b"\r" in body:
        raise Unclear("a carriage return alone")
    befores = np.concatenate([[0], starts[:-1]]).astype(np.int64)
    return Block(body, befores, ends, len(breaks), width, separator)


def after_backslash(view: Bytes) -> Flags:
    """Whether a character stands after an odd number of backslashes, the last of which is its own."""
    places = np.arange(len(view), dtype=np.int32)
    before = np.where(view == _BACKSLASH, np.int32(-1), places)
    before = np.concatenate([np.full(1, -1, np.int32), np.maximum.accumulate(before)[:-1]])
    return np.asarray((places - 1 - before) % 2 == 1)


def _within_words(view: Bytes, is_tick: Flags, separator: int) -> Ints:
    """Places of single quotes with letters on both sides, as in 12" mix: no field begins or ends there."""
    places = np.flatnonzero(is_tick)
    places = places[(places > 0) & (places < len(view) - 1)]
    beside = (view[places - 1], view[places + 1])
    alone = ~np.logical_or.reduce([_bounds(near, separator) | (near == _TICK) for near in beside])
    return np.asarray(places[alone])


def _check_quotes(view: Bytes, is_tick: Flags, separator: int) -> None:
    """Every quote opens a field, closes it, or is one of two that stand for one."""
    ticks = np.flatnonzero(is_tick)
    opened, closed = ticks[0::2], ticks[1::2]
    left, right = np.maximum(opened - 1, 0), closed + 1  # a line end follows the last
    opens = (opened == 0) | _bounds(view[left], separator) | is_tick[left]
    closes = _bounds(view[right], separator) | is_tick[right]
    if not (opens.all() and closes.all()):
        raise Unclear("a quote within a field")


def _bounds(found: Bytes, separator: int) -> Flags:
    return np.asarray((found == separator) | (found == _BREAK))


def breaks_are_spaces(text: bytes) -> bool:
    """Whether no line of JSON ends within a text in quotes."""
    view = np.frombuffer(text, np.uint8)
    is_tick = view == _TICK
    if b"\\" in text:
        is_tick &= ~after_backslash(view)
    inside = np.bitwise_xor.accumulate(is_tick.view(np.uint8))
    return not inside[(view == _BREAK) | (view == ord("\r"))].any()


def _check_width(marks: Bytes, width: int) -> None:
    if len(marks) % width:
        raise Unclear("records of different widths")
    rows = marks.reshape(-1, width)
    if (rows[:, :-1] == _BREAK).any() or (rows[:, -1] != _BREAK).any():
        raise Unclear("records of different widths")
