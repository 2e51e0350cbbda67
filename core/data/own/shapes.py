"""What texts look like: ids and numbers have few shapes, titles have many."""

from __future__ import annotations

import re

SAMPLE = 200
"""Records that are looked at where not the whole file is."""


def shape(text: str) -> str:
    """What a text looks like: B0001 and C12 are both a9."""
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", text.strip()))[:40]
