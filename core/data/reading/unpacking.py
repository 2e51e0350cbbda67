"""Reads a file that may be packed, by its content and not its name; what unfolds without end is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from core.assets.unpacking import CHUNK, limit, open_member
from core.errors import DataError
from core.files import read_regular

_XZ_MEMORY = 256 << 20
_LARGEST = 1 << 40
_UNPACK_FIRST = "unpack it, and name the table inside, or the folder"
_OTHERS = (
    (b"\x28\xb5\x2f\xfd", "zstandard", "unpack it first: zstd -d FILE"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK_FIRST),
    (b"Rar!", "a RAR archive", _UNPACK_FIRST),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "save it as CSV"),
    (b"SQLite format 3", "an SQLite database", "export its tables as CSV"),
    (b"\x89HDF", "an HDF5 file", "save its tables as CSV or parquet"),
    (b"\x93NUMPY", "a numpy array", "save it as CSV or parquet"),
    (b"ARROW1", "an Arrow file", "save it as CSV or parquet"),
    (b"FEA1", "a Feather file", "save it as CSV or parquet"),
    (b"%PDF", "a PDF document", "save its table as CSV"),
)


def read_content(path: Path, hint: str = "check the path") -> bytes:
    """The bytes of a file, unpacked where it is gzip, bzip2, xz, or a zip archive of one file.

    Raises:
        DataError: it cannot be read, is damaged, unfolds to too much, or is of a kind that is not read.
    """
    try:
        content = read_regular(path, _LARGEST)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})", hint) from error
    return unpacked(content, path.name)


def unpacked(content: bytes, name: str) -> bytes:
    """The content of a packed file, or of one that is not packed as it is.

    Raises:
        DataError: it is damaged, unfolds to too much, or is of a kind that is not read.
    """
    for mark, kind, hint in _OTHERS:
        if content.startswith(mark):
            raise DataError(f"{name} is {kind}, no table of text", hint)
    opener = next((opener for mark, opener in _OPENERS.items() if content.startswith(mark)), None)
    if opener is None:
        return content
    try:
        whole = _collected(opener(content, name), limit(len(content)), name)
    except (
        OSError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
        RuntimeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{name}: cannot be unpacked ({reason})", "the file is cut off or damaged") from error
    if whole[257:262] == b"ustar":
        raise DataError(f"{name} is a tar archive, no table", _UNPACK_FIRST)
    return whole


def _collected(chunks: Iterator[bytes], most: int, name: str) -> bytes:
    parts, done = [], 0
    for chunk in chunks:
        done += len(chunk)
        if done > most:
            raise DataError(f"{name} unfolds to more than {most:,} bytes", "unpack it, if you trust it")
        parts.append(chunk)
    return b"".join(parts)


def _read(handle: io.BufferedIOBase | IO[bytes]) -> Iterator[bytes]:
    with handle:
        while chunk := handle.read(CHUNK):
            yield chunk


def _of_gzip(content: bytes, name: str) -> Iterator[bytes]:
    return _read(gzip.GzipFile(fileobj=io.BytesIO(content)))


def _of_bz2(content: bytes, name: str) -> Iterator[bytes]:
    return _read(bz2.BZ2File(io.BytesIO(content)))


def _of_xz(content: bytes, name: str) -> Iterator[bytes]:
    """Stream after stream, with a bound on the memory that a stream may ask for."""
    while content:
        stream = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
        rest = content
        while not stream.eof:
            chunk = stream.decompress(rest, CHUNK)
            if not chunk and stream.needs_input and not stream.eof:
                raise EOFError("it is cut off")
            rest = b""
            yield chunk
        content = stream.unused_data.lstrip(b"\0")


def _of_zip(content: bytes, name: str) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [member for member in archive.infolist() if not _left_out(member.filename)]
        if any(member.filename == "xl/workbook.xml" for member in members):
            raise DataError(f"{name} is an Excel workbook", "save it as CSV")
        if len(members) != 1:
            inside = ", ".join(repr(member.filename)[:40] for member in members[:5])
            raise DataError(f"{name} holds {len(members)} files: {inside}"[:200], _UNPACK_FIRST)
        yield from _read(open_member(archive, members[0].filename))


def _left_out(name: str) -> bool:
    """Folders, and what systems add to archives on their own."""
    last = name.rpartition("/")[2]
    return not last or last.startswith(".") or name.startswith("__MACOSX/")


_OPENERS: dict[bytes, Callable[[bytes, str], Iterator[bytes]]] = {
    b"\x1f\x8b": _of_gzip,
    b"BZh": _of_bz2,
    b"\xfd7zXZ\x00": _of_xz,
    b"PK\x03\x04": _of_zip,
    b"PK\x05\x06": _of_zip,
}
