"""What a numeric setting may be: its bound stands in its field, is checked there and shown by --help."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from core.errors import InputError

WHOLE = (1 << 53) - 1
"""The largest number that every file of ours, TOML and JSON, gives back as it was."""
_BOUND = "bound"
"""In a field's metadata."""


@dataclass(frozen=True)
class Bound:
    """What a setting may be."""

    low: float
    high: float
    words: str
    """What it is called in a message."""
    open: bool = False
    """Whether `low` itself is too small."""

    def __str__(self) -> str:
        """The range in words, such as `1 to 1024`."""
        low = f"more than {_written(self.low)}, up to" if self.open else f"{_written(self.low)} to"
        return f"{low} {_written(self.high)}"

    def check(self, value: float) -> None:
        """Raises `InputError` unless the value lies within; nothing that is not a number does."""
        inside = self.low <= value <= self.high and not (self.open and value == self.low)
        if not inside:
            raise InputError(f"{self.words} is {brief(value)}", f"give {self}")


SEED = Bound(0, WHOLE, "the seed")
SEEDS = Bound(1, 1000, "--seeds")
TOP = Bound(1, 10**6, "--top")
RETRIEVED = Bound(2, 10**9, "the number of candidates")
"""How many items of the catalogue may be ranked; a catalogue of fewer gives all it has."""
CLUSTERS = Bound(2, 1000, "the number of clusters")
WINDOWS = Bound(2, 10**6, "the number of windows of a cluster")
JOBS = Bound(1, 256, "--jobs")
TRIALS = Bound(1, 1000, "the number of trials")
BATCH = Bound(1, 10**4, "--batch")
WAITING = Bound(1, 10**6, "--waiting")
MINUTES = Bound(0, 10**6, "the budget in minutes", open=True)


def bounded(default: Any, low: float, high: float, words: str, open: bool = False) -> Any:
    """A dataclass field with a bound, which `check_bounds` checks and `--help` shows."""
    return field(default=default, metadata={_BOUND: Bound(low, high, words, open)})


def bounds_of(settings: Any) -> dict[str, Bound]:
    """Name -> what it may be, of every bounded field of a settings class or object."""
    return {one.name: one.metadata[_BOUND] for one in fields(settings) if _BOUND in one.metadata}


def check_bounds(settings: Any) -> None:
    """Raises `InputError` unless every bounded setting lies within its bounds."""
    for name, bound in bounds_of(settings).items():
        bound.check(getattr(settings, name))


def brief(value: float) -> str:
    """A number for a message, however many digits it has."""
    if isinstance(value, int) and abs(value) > WHOLE:
        return f"a number of about {int(abs(value).bit_length() * math.log10(2)) + 1} digits"
    return str(value)


def _written(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
