"""Checks that every setting goes through, and the checksum of settings."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from core.errors import InputError


def check(condition: bool, title: str, hint: str = "") -> None:
    """Raises `InputError` with this title and hint unless the condition holds."""
    if not condition:
        raise InputError(title, hint)


def check_choice(value: str, choices: tuple[str, ...], what: str) -> None:
    """Raises `InputError` naming the choices unless the value is one of them."""
    check(value in choices, f"unknown {what}: {value}", f"choose one of: {', '.join(choices)}")


def check_range(value: float, low: float, high: float, what: str) -> None:
    """Raises `InputError` unless the value is a number from `low` to `high`, both included."""
    hint = f"give {low:g} or more" if high == math.inf else f"give {low:g} to {high:g}"
    check(low <= value <= high and math.isfinite(value), f"{what} is {value}", hint)


def sha256_of(record: Any) -> str:
    """Checksum of plain values, independent of key order."""
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
