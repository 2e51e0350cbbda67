"""Whole files or none: everything the product writes goes to a temporary name, is synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = re.compile(r"\..*\.part-[0-9a-f]{8}(\.[^.]*)?", re.DOTALL)
"""The names of files and folders that are being written; they are left over when their writer is gone."""
_ABANDONED = 24 * 3600.0
"""Seconds after which a temporary file counts as left over where nobody can tell whether its writer lives."""
LARGEST_TEXT = 1 << 22
"""Bytes of the largest card or record that is read: a hundred times what the program writes."""
LARGEST_RESULT = 1 << 27
"""Bytes of the largest file with a line for each case: two million cases."""

_UMASK = os.umask(0o077)
"""What this user's files keep from others; the system tells it only to who sets it."""
os.umask(_UMASK)
_LONGEST_STEM, _LONGEST_SUFFIX = 160, 32
"""Bytes that a temporary name takes over: with what it adds, less than the 255 that a name may have."""


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
    try:
        final = path.resolve() if path.is_symlink() else path
    except RuntimeError as error:  # what Python before 3.13 says of links in a circle
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error
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
    temporary = _temporary(final)
    remove_leftovers(final.parent)
    with _claimed(final.parent):
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
    folder = _temporary(parent / "work")
    remove_leftovers(parent)
    with _claimed(parent):
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder)


def remove_whole(path: Path) -> None:
    """Removes a folder; killed half-way, it leaves no half of it under its name.

    Raises:
        OSError: it cannot be renamed or removed.
    """
    with _claimed(path.parent):
        _remove(path.rename(_temporary(path)))


def _temporary(final: Path) -> Path:
    """A hidden name beside a path, with its suffix; long ones are cut, for names have a longest length."""
    suffix = final.suffix if len(os.fsencode(final.suffix)) <= _LONGEST_SUFFIX else ""
    stem = os.fsencode(final.stem)[:_LONGEST_STEM].decode("utf-8", "ignore")
    return final.with_name(f".{stem}.part-{secrets.token_hex(4)}{suffix}")


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Says, while the block runs, that a living process writes into `folder`; the system forgets it with us.

    Where folders cannot be locked nothing is said.
    """
    with contextlib.ExitStack() as stack:
        handle = _opened(folder)
        if handle is not None:
            stack.callback(os.close, handle)
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_SH)
        yield


def _opened(folder: Path) -> int | None:
    """A handle to lock a folder by; None where that cannot be done."""
    if fcntl is None:
        return None
    with contextlib.suppress(OSError):
        return os.open(folder, os.O_RDONLY)
    return None


def sync(path: Path) -> None:
    """Flushes a file, or a folder with everything below it, to the disk.

    Whoever may read what this user writes may read it then: safetensors keeps its files to their owner.
    """
    if path.is_dir():
        for entry in path.iterdir():
            sync(entry)
        _sync_folder(path)
        return
    with path.open("rb+") as handle:
        if os.name != "nt":
            os.fchmod(handle.fileno(), stat.S_IMODE(os.fstat(handle.fileno()).st_mode) | 0o666 & ~_UMASK)
        os.fsync(handle.fileno())


def sha256_of_file(path: Path) -> str:
    """Checksum of a file's content, 64 hexadecimal digits.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with _regular(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_regular(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """The content of a regular file; a pipe or a device, which may never end, is refused.

    Raises:
        OSError: it cannot be read, is no regular file, or has more than `most` bytes.
    """
    with _regular(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        content = handle.read(min(most, size) + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most >> 20} MiB", str(path))
    return content


@contextlib.contextmanager
def _regular(path: Path) -> Iterator[io.BufferedReader]:
    """An open regular file; opening a pipe would wait for a writer, and a device may never end."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as handle:
        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield handle


def remove_leftovers(folder: Path) -> None:
    """Deletes what killed writers left in `folder`, unless some living process writes there now.

    What cannot be deleted stays: it is in nobody's way.
    """
    try:
        left = [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]
    except OSError:
        return
    if not left:
        return
    handle = _opened(folder)
    if handle is None:
        left = [path for path in left if _untouched(path) > _ABANDONED]
    try:
        if handle is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in left:
            _remove(path)
    except OSError:
        return
    finally:
        if handle is not None:
            os.close(handle)


def _untouched(path: Path) -> float:
    """Seconds since a file or folder was changed; 0 where it is gone."""
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime
    return 0.0


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
