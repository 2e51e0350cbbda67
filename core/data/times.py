"""Reads times in the forms that people write them, and finds the form of a column."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from statistics import median_low

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"\d{1,18}", re.ASCII)
LATEST = 10**18
"""Seconds since 1970 from which on nothing is a time."""
UNITS = {"seconds": 1, "decimal": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
"""Forms that are numbers since 1970, and how many of them make a second."""
FORMS = (*UNITS, "date")
WORDS = (
    "seconds, milliseconds, microseconds or nanoseconds since 1970, ISO 8601 dates such as "
    "2014-07-01 12:30:00 UTC, or a pattern such as %d/%m/%Y"
)
"""All forms, for hints."""

_CLOCK = re.compile(r" %[HI]")
_DIRECTIVE = re.compile("%(.)")
_REMEMBERED = 1 << 18
_ZONE = re.compile(r" (UTC|GMT|Z)$")
_OFFSET = re.compile(r"\s+([+-]\d\d:?\d\d)$")
_DAY = re.compile(r"(19[7-9]|20\d)\d(0[1-9]|1[0-2])([0-2]\d|3[01])", re.ASCII)
_MOMENT = re.compile(_DAY.pattern + r"([01]\d|2[0-3])[0-5]\d[0-5]\d", re.ASCII)
_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p")
_DAYS = ("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%m %d, %Y")
_NAMED = ("%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y")
_PATTERNS = (
    *(day + clock for day in (*_DAYS, *_NAMED) for clock in _CLOCKS),
    "%a %b %d %H:%M:%S %z %Y",
    "%a, %d %b %Y %H:%M:%S %Z",
    "%a, %d %b %Y %H:%M:%S %z",
)


def reader(form: str) -> Callable[[str], int | None]:
    """What turns a text into whole seconds since 1970, or None where it is not of the form."""
    if form == "seconds":
        return whole_seconds
    if form in UNITS:
        return lambda text: _seconds(text, UNITS[form])
    return date_seconds if form == "date" else _Pattern(form)


def due(form: str) -> str:
    """What a time of this form is, for messages."""
    if form == "date":
        return "a date since 1970, such as 2014-07-01"
    if form in UNITS:
        return {"seconds": "a whole number of seconds", "decimal": "a number of seconds"}.get(
            form, f"a number of {form}"
        ) + ("" if form == "seconds" else " since 1970")
    return f"a date written as {form}"


def is_form(form: str) -> bool:
    """Whether a card may name this form: one of `FORMS`, or a pattern of a whole date."""
    if form in FORMS:
        return True
    sample = datetime(2014, 7, 21, 13, 30, tzinfo=UTC)
    try:
        return datetime.strptime(sample.strftime(form), form).date() == sample.date()
    except (ValueError, re.error):
        return False


def whole_seconds(text: str) -> int | None:
    """Seconds from digits alone, or None."""
    return int(text) if WHOLE.fullmatch(text) else None


def date_seconds(text: str) -> int | None:
    """Seconds from an ISO 8601 date since 1970, also before " UTC" or an offset after a space; or None."""
    try:
        return _since_1970(datetime.fromisoformat(_OFFSET.sub(r"\1", _ZONE.sub("", text))))
    except ValueError:
        return None


def pattern_seconds(text: str, pattern: str) -> int | None:
    """Seconds from a date in a pattern of `strptime`, or None."""
    try:
        return _since_1970(datetime.strptime(text, pattern))
    except ValueError:
        return None


class _Pattern:
    """Reads dates in a pattern; of day and clock, where a space parts them, each is read only once.

    `strptime` takes ten microseconds, so that millions of different moments would take minutes.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.known: dict[str, int | None] = {}
        day, clock = pattern, ""
        if (start := _CLOCK.search(pattern)) is not None:
            day, clock = pattern[: start.start()], pattern[start.start() + 1 :]
        self.day, self.clock = day, clock
        self.spaces = clock.count(" ") + 1
        parted = set(_DIRECTIVE.findall(day)).isdisjoint("HIMSpfzZcXx%")
        self.parted = bool(clock) and parted and set(_DIRECTIVE.findall(clock)) <= set("HIMSp")

    def __call__(self, text: str) -> int | None:
        words = text.split(" ")
        if not self.parted or len(words) <= self.spaces or words != text.split():
            return pattern_seconds(text, self.pattern)
        day = self._known(" ".join(words[: -self.spaces]), self.day)
        clock = self._known(" ".join(words[-self.spaces :]), self.clock)
        return None if day is None or clock is None else day + clock

    def _known(self, text: str, pattern: str) -> int | None:
        if text not in self.known:
            if len(self.known) > _REMEMBERED:
                self.known.clear()
            # a clock alone is one of 1900, which is before 1970
            whole = (text, pattern) if pattern == self.day else (f"1970 {text}", f"%Y {pattern}")
            self.known[text] = pattern_seconds(*whole)
        return self.known[text]


def fitting(values: Sequence[str]) -> list[str]:
    """All forms that every value has, likeliest first; none for no values.

    Numbers have one form, by their size: of seconds since 1970 there are 10 digits, of milliseconds 13.
    """
    if not values:
        return []
    if all(_DAY.fullmatch(value) and date_seconds(value) is not None for value in values):
        return ["date"]
    if all(_MOMENT.fullmatch(value) for value in values):
        return ["%Y%m%d%H%M%S"]
    if all(NUMBER.fullmatch(value) for value in values):
        return _numeric(values)
    if all(date_seconds(value) is not None for value in values):
        return ["date"]
    return [form for form in _PATTERNS if all(pattern_seconds(value, form) is not None for value in values)]


def plausible(values: Sequence[str]) -> bool:
    """Whether numbers lie between 1990 and 2100, whatever their unit, or values are dates."""
    forms = fitting(values)
    if not forms or forms[0] not in UNITS:
        return bool(forms)
    read = reader(forms[0])
    seconds = [read(value) for value in values]
    return all(second is not None and 631_152_000 <= second < 4_102_444_800 for second in seconds)


def unit_of(value: float) -> str:
    """The unit that a number since 1970 must have, by its size."""
    for unit, least in (("nanoseconds", 1e17), ("microseconds", 1e14), ("milliseconds", 1e11)):
        if value >= least:
            return unit
    return "seconds"


def _numeric(values: Sequence[str]) -> list[str]:
    numbers = [float(value) for value in values]
    if min(numbers) < 0 or max(numbers) >= 9.2e18:
        return []
    unit = unit_of(median_low(numbers))
    whole = all(WHOLE.fullmatch(value) for value in values)
    return ["decimal" if unit == "seconds" and not whole else unit]


def _seconds(text: str, unit: int) -> int | None:
    if not NUMBER.fullmatch(text):
        return None
    if text.isdecimal() and len(text) < 20:
        value = int(text) // unit
    else:
        number = float(text)
        value = int(number / unit) if 0 <= number < 1e36 else -1
    return value if 0 <= value < LATEST else None


def _since_1970(moment: datetime) -> int | None:
    try:
        seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None
