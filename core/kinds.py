"""Types of values in saved records, each with its rule: names, counts, shares, times, plain tables."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

_UNPRINTABLE = re.compile("[\ud800-\udfff]")  # halves of characters, which no file or screen can take


@dataclass(frozen=True)
class Rule:
    """What a value must be beyond its type: `Annotated[int, Rule(...)]`."""

    words: str
    """What it must be, in words."""
    holds: Callable[[Any], bool]


def is_text(value: object) -> bool:
    """Whether a value is text that can be written to a file."""
    return isinstance(value, str) and _UNPRINTABLE.search(value) is None


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda value: re.fullmatch(pattern, value) is not None


def _is_moment(value: str) -> bool:
    try:
        return bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def is_plain(value: Any) -> bool:
    """Whether a value is plain JSON whose texts can be written to a file."""
    if isinstance(value, Mapping):
        return all(map(is_text, value)) and all(map(is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 1 << 63
    return value is None or isinstance(value, bool) or is_text(value) or _is_finite(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


PLAIN_NAME = "[a-z0-9][a-z0-9-]{0,63}"
"""What datasets, splits, methods and test sets may be called; nothing of the kind is a path."""
NAMES = rf"{PLAIN_NAME}(\+{PLAIN_NAME}){{0,9}}"
"""Plain names with a plus between them: what several datasets as one are called."""
_MOST = 10**15  # beyond it nothing is an amount of seconds, bytes or samples

Name = Annotated[str, Rule("text that is a plain name", _matches(PLAIN_NAME))]
Names = Annotated[str, Rule("a plain name, or several with a plus between them", _matches(NAMES))]
Filled = Annotated[str, Rule("text that is not empty", bool)]
Checksum = Annotated[str, Rule("a checksum", _matches("[0-9a-f]{1,64}"))]
Moment = Annotated[str, Rule("a time such as 2026-01-31T12:00:00Z", _is_moment)]
Count = Annotated[int, Rule("a whole number, 0 or more", lambda value: 0 <= value < 1 << 53)]
Positive = Annotated[int, Rule("a whole number, 1 or more", lambda value: 1 <= value < 1 << 53)]
Amount = Annotated[float, Rule("a number, 0 or more", lambda value: 0 <= value < _MOST)]
Share = Annotated[float, Rule("a number between 0 and 1", lambda value: 0 <= value <= 1)]
Plain = Annotated[Mapping[str, Any], Rule("a table of plain values", is_plain)]
