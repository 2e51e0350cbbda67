"""Unpacks piece by piece and never more than is due, so that a small archive cannot fill disk or memory."""

from __future__ import annotations

import zipfile
from typing import IO

LEAST_LIMIT = 64 << 20
"""Bytes that any packed file may unfold to."""
RATIO = 100
"""A packed file may unfold to this many times its size; tables of text reach 20."""
CHUNK = 1 << 20


def limit(packed: int) -> int:
    """Bytes that a file of `packed` bytes may unfold to, where nobody says how many are due."""
    return max(LEAST_LIMIT, RATIO * packed)


def copy_bounded(origin: IO[bytes], sink: IO[bytes], most: int) -> None:
    """Copies at most `most` bytes.

    Raises:
        zipfile.BadZipFile: there is more.
    """
    done = 0
    while chunk := origin.read(CHUNK):
        done += len(chunk)
        if done > most:
            raise zipfile.BadZipFile(f"it unfolds to more than {most:,} bytes")
        sink.write(chunk)


def open_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A member of a zip archive, of the two kinds that unfold piece by piece.

    Raises:
        KeyError: there is no such member.
        NotImplementedError: it is packed in another way, which would unfold in memory.
        RuntimeError: it is encrypted.
    """
    member = archive.getinfo(name)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError(f"{name[:60]!r} is packed in an unusual way")
    return archive.open(member)
