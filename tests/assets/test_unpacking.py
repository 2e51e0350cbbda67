"""What unfolds without end stops early, and nothing is held in memory meanwhile."""

from __future__ import annotations

import io
import zipfile

import pytest

from core.assets.unpacking import LEAST_LIMIT, RATIO, copy_bounded, limit


def test_without_a_size_a_hundred_times_the_archive_is_the_limit() -> None:
    assert limit(10) == LEAST_LIMIT
    assert limit(LEAST_LIMIT) == RATIO * LEAST_LIMIT


def test_copying_stops_at_the_limit() -> None:
    sink = io.BytesIO()
    copy_bounded(io.BytesIO(bytes(1000)), sink, 1000)
    assert len(sink.getvalue()) == 1000
    with pytest.raises(zipfile.BadZipFile, match="more than 999 bytes"):
        copy_bounded(io.BytesIO(bytes(1000)), io.BytesIO(), 999)
