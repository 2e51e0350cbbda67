"""Packed files are read by what they hold, and bombs are refused before they unfold."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.assets import unpacking as bounds
from core.data.reading.unpacking import unpacked
from core.errors import DataError


def zipped(*names: str, content: bytes = b"a,b", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name in names:
            archive.writestr(name, content)
    return sink.getvalue()


def tarred(content: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("ratings.csv"), io.BytesIO(content))
    return sink.getvalue()


PACKERS: list[Callable[[bytes], bytes]] = [
    gzip.compress,
    bz2.compress,
    lzma.compress,
    lambda content: zipped("a.csv", content=content),
]


@pytest.mark.parametrize("pack", PACKERS)
@settings(deadline=None, max_examples=30, derandomize=True)
@given(content=st.binary(max_size=300), at=st.integers(0, 400), new=st.binary(max_size=4))
def test_what_was_packed_comes_out_and_damage_is_refused(
    pack: Callable[[bytes], bytes], content: bytes, at: int, new: bytes
) -> None:
    packed = pack(content)
    assert unpacked(packed, "x") == content or content[:2] in (b"PK", b"BZ", b"\x1f\x8b")
    try:
        unpacked(packed[:at] + new + packed[at + len(new) + 1 :], "x")
    except DataError as error:
        assert error.title.startswith("x") and error.hint and "\n" not in error.title


@pytest.mark.parametrize("pack", PACKERS)
def test_a_bomb_is_refused(pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LEAST_LIMIT", 1 << 20)
    with pytest.raises(DataError, match="x unfolds to more than"):
        unpacked(pack(bytes(30 << 20)), "x")


def test_several_streams_one_after_the_other_are_one_file() -> None:
    for pack in PACKERS[:3]:
        assert unpacked(pack(b"a,") + pack(b"b"), "x") == b"a,b"


def test_archives_of_several_files_and_other_packing_say_what_to_do() -> None:
    assert unpacked(zipped("a.csv", "__MACOSX/._a.csv", ".hidden", "folder/"), "x") == b"a,b"
    for content, words in (
        (zipped("ml-1m/ratings.dat", "ml-1m/movies.dat"), "x holds 2 files: 'ml-1m/ratings.dat'"),
        (zipped("xl/workbook.xml", "y"), "x is an Excel workbook"),
        (zipped("a.csv", method=zipfile.ZIP_LZMA), "packed in an unusual way"),
        (tarred(b""), "x is a tar archive"),
        (zipped(), "x holds 0 files"),
    ):
        with pytest.raises(DataError) as caught:
            unpacked(content, "x")
        assert words in caught.value.title and caught.value.hint
