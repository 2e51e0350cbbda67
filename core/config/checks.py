"""Checks that every setting goes through, and the checksum of settings."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from core.errors import InputError
from core.kinds import NAMES, PLAIN_NAME

DATASET_NAME = PLAIN_NAME
"""What a dataset may be called; nothing of the kind is a path."""
JOINT = "+"
"""What stands between the names of datasets that are used as one."""
DATASET_NAMES = NAMES
"""What one dataset, or several as one, may be called in settings, runs and results."""


def check(condition: bool, title: str, hint: str = "") -> None:
    """Raises `InputError` with this title and hint unless the condition holds."""
    if not condition:
        raise InputError(title, hint)


def check_choice(value: str, choices: tuple[str, ...], what: str) -> None:
    """Raises `InputError` naming the choices unless the value is one of them."""
    shown = value if len(value) <= 80 else f"{value[:77]}..."
    check(value in choices, f"unknown {what}: {shown}", f"choose one of: {', '.join(choices)}")


def check_dataset(name: str, whole: bool, special: bool) -> None:
    """Raises `InputError` unless this names one dataset, or several of which less can be asked.

    Args:
        name: of one or several.
        whole: whether a whole catalogue is to be ranked.
        special: whether cold items or short histories are to be test sets of their own.
    """
    check(
        bool(re.fullmatch(DATASET_NAMES, name)),
        f"{name[:80]!r} is no dataset's name",
        "ilora-app data lists the names, ilora-app data add makes one of your own files",
    )
    check(
        not whole or JOINT not in name,
        "several datasets as one have no catalogue of their own to rank",
        "leave --candidates out, or name one dataset",
    )
    check(
        not special or JOINT not in name,
        "several datasets as one have no sets of cold items or short histories",
        "leave --cold-items and --min-history out, or name one dataset",
    )


def check_negatives(kind: str, count: int, kinds: tuple[str, ...], among: int) -> None:
    """Raises `InputError` for an unknown kind of negatives, or more candidates than hard ones there are."""
    check_choice(kind, kinds, "kind of negatives")
    check(
        kind != "hard" or count <= among,
        f"hard negatives are drawn among the encoder's best {among}, too few for {count} candidates",
        f"give --train-candidates {among} or less",
    )


def sha256_of(record: Any) -> str:
    """Checksum of plain values, independent of key order."""
    return hashlib.sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
