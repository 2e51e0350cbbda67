"""Checks millions of lines of text at once: whether all have as many fields, their quotes, their dates."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_CHUNK = 1 << 24  # bytes looked at together
_TICK = ord('"')
_USUAL = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d( UTC|Z)?", re.ASCII)


def unquoted(content: bytes, separator: str) -> bytes | None:
    """The text without its quotes, where each pair of them stands around one whole and plain field."""
    parts, start = [], 0
    while start < len(content):
        end = content.rfind(b"\n", start, start + _CHUNK) + 1
        block = content[start:end]
        if not block or not _quotes_are_plain(np.frombuffer(block, np.uint8), ord(separator)):
            return None
        parts.append(block.replace(b'"', b""))
        start = end
    return b"".join(parts)


def _quotes_are_plain(block: npt.NDArray[np.uint8], separator: int) -> bool:
    """Whether quotes come in pairs, the first after a separator, the second before one, and none between."""
    ticks = np.flatnonzero(block == _TICK)
    bounds = np.flatnonzero((block == separator) | (block == 10))
    opened, closed = ticks[0::2], ticks[1::2]
    if len(opened) != len(closed):
        return False
    before, after = block[np.maximum(opened - 1, 0)], block[closed + 1]  # a line end follows the last
    opens = (opened == 0) | (before == separator) | (before == 10)
    closes = (after == separator) | (after == 10)
    inside = np.searchsorted(bounds, opened) != np.searchsorted(bounds, closed)
    return bool(opens.all() and closes.all() and not inside.any())


def even(body: bytes, separator: str, width: int) -> bool:
    """Whether every line of a text that ends with a line end has `width` fields, quotes left aside."""
    buffer = np.frombuffer(body, np.uint8)
    parts = [buffer[start : start + _CHUNK] for start in range(0, len(buffer), _CHUNK)]
    marks = np.concatenate([part[(part == ord(separator)) | (part == 10)] for part in parts])
    if len(marks) % width:
        return False
    rows = marks.reshape(-1, width)
    return bool((rows[:, :-1] != 10).all() and (rows[:, -1] == 10).all())


def usual_dates(values: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """Seconds of dates that are all written as 2014-07-01 12:30:00, all at once; None where one is not."""
    if not all(map(_USUAL.fullmatch, values)):
        return None
    try:
        seconds = np.array([value[:19] for value in values], "U19").astype("datetime64[s]").astype(np.int64)
    except ValueError:  # such as the 30th of February
        return None
    return seconds if len(seconds) and seconds.min() >= 0 else None
