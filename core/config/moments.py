"""A point in time as settings say it: the share of all interactions that come before it, or a date."""

from __future__ import annotations

from datetime import UTC, datetime

from core.config.checks import check
from core.errors import InputError

TEST_FROM, ENCODER_UNTIL = "--test-from", "--encoder-until"
"""The options that name a moment."""
_HINT = "give a share of the interactions, such as 0.9, or a date, such as 1998-03-01 or 1998-03-01T12:00"


def moment_of(text: str, option: str = TEST_FROM) -> float | int:
    """A share between 0 and 1, or whole seconds since 1970 for a date: UTC unless it names a zone.

    Args:
        text: what was given.
        option: which one says so.

    Raises:
        InputError: it is neither.
    """
    try:
        share = float(text)
    except ValueError:
        return _seconds(text, option)
    check(0 < share < 1, f"{option} {text[:40]} is no share between 0 and 1", _HINT)
    return share


def check_moment(text: str, split: str, usual: str, option: str = TEST_FROM) -> None:
    """Raises `InputError` unless this is a moment, and the usual one where the split has none."""
    if text != usual:
        moment_of(text, option)
    check(
        split == "temporal" or text == usual,
        f"{option} {text[:40]} belongs to a split by time, and this one is {split}",
        "add --split temporal",
    )


def _seconds(text: str, option: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as error:
        raise InputError(f"{option} {text[:40]!r} is neither a share nor a date", _HINT) from error
    return seconds


def said(seconds: int) -> str:
    """A moment as ISO 8601 in UTC, such as 1998-03-08T16:02:31+00:00."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
