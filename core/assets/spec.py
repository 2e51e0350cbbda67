"""What an asset is: its files with their checksums, its sources, and its folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from core.errors import AssetError

HOME_VARIABLE = "ILORA_APP_HOME"
MIRROR_VARIABLE = "ILORA_APP_MIRROR"
MANIFEST = "manifest.json"
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
    size: int | None = None
    """Bytes of the unpacked file, of which no more are unpacked; without it a hundred times the archive's."""

    def __post_init__(self) -> None:
        _check_sha256(self.sha256, self.path)
        _check_file_name(self.name)
        if self.size is not None and self.size < 0:
            raise AssetError(f"{self.path}: size must be at least 0 bytes")

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
