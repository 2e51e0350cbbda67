"""Whole files or none: everything the product writes goes to a temporary name, is synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_MARK = ".part-"
"""What every temporary name contains; a file of such a name is safe to delete when its writer is gone."""
LARGEST_TEXT = 1 << 22
"""Bytes of the largest card or record that is read: a hundred times what the program writes."""
LARGEST_RESULT = 1 << 27
"""Bytes of the largest file with a line for each case: two million cases."""


def atomic_write(path: Path | str, content: bytes | str) -> Path:
    """Writes `content` (text as UTF-8) to `path`, so that readers meet the old file or the new one.

    Missing parent folders are made. A pipe is written to plainly.

    Returns:
        `path` as a `Path`.

    Raises:
        OSError: the folder cannot be made or written; nothing is left behind.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    if is_pipe(Path(path)):
        with Path(path).open("wb") as handle:
            handle.write(data)
        return Path(path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def is_pipe(path: Path) -> bool:
    """Whether a path leads to a pipe or to this program's own output, which nothing can be renamed onto."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    own = path.parent in (Path("/dev"), Path("/dev/fd")) and path.name in ("stdout", "stderr", "1", "2")
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or own


def _destination(path: Path) -> Path:
    """Where a file goes: what a link points to; a device, which a file would replace, is refused."""
    final = path.resolve() if path.is_symlink() else path
    if final.exists() and not (final.is_file() or final.is_dir()):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", str(path))
    return final


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it when the block ends well and removed otherwise.

    The temporary name keeps the suffix of `path`, for writers that look at it. The block may also make
    a folder there; a folder replaces only a missing or empty one. A link is followed, not replaced.

    Raises:
        OSError: there is a device, the folder cannot be written, or the rename fails; nothing is left behind.
    """
    final = _destination(Path(path))
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.stem}{TEMPORARY_MARK}{secrets.token_hex(4)}{final.suffix}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(final)
        _sync_folder(final.parent)
    finally:
        _remove(temporary)


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A new folder inside `parent`, removed with all it holds when the block ends, however it ends."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f".work{TEMPORARY_MARK}{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        _remove(folder)


def sync(path: Path) -> None:
    """Flushes a file, or a folder with everything below it, to the disk."""
    if path.is_dir():
        for entry in path.iterdir():
            sync(entry)
        _sync_folder(path)
        return
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def sha256_of_file(path: Path) -> str:
    """Checksum of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_regular(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """The content of a regular file; a pipe or a device, which may never end, is refused.

    Raises:
        OSError: it cannot be read, is no regular file, or has more than `most` bytes.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe would wait
    with os.fdopen(os.open(path, flags), "rb") as handle:
        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = handle.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most >> 20} MiB", str(path))
    return content


def remove_leftovers(folder: Path) -> None:
    """Deletes temporary files that a killed writer left in `folder`; call it under that folder's lock."""
    for entry in folder.glob(f".*{TEMPORARY_MARK}*"):
        _remove(entry)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and renames are journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for entry in path.iterdir():
            _remove(entry)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
