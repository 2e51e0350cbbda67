"""The cache of fetched files: what is there, and whether it is still what it was.

By hand: the libraries for it do not know mirrors, several sources of one file, or members of an archive.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.assets.spec import MANIFEST, Asset, Source, Stored
from core.errors import DataError
from core.events import Emit
from core.files import atomic_write, remove_leftovers, sha256_of_file
from core.records import json_of, read_text
from core.stages import Watch


def find(asset: Asset) -> Stored | None:
    """The cached asset, or None when it is missing, incomplete or changed since it was checked.

    Files whose size and modification time are those noted when they were hashed are not hashed again; others,
    such as those of a copied cache, are hashed now and count where their checksum is right.
    """
    noted = _read_manifest(asset.folder)
    if noted is None:
        return None
    for source in asset.sources:
        if source.name == noted["source"]:
            if _unchanged(asset.folder, source, noted["files"]):
                return _stored(asset, source)
            if _right(asset, source):
                return _noted_anew(asset, source)
    return None


def verify(asset: Asset) -> bool:
    """Whether the asset is cached and every file still has its checksum; hashes all of them."""
    stored = find(asset)
    if stored is None:
        return False
    source = next(source for source in asset.sources if source.name == stored.source)
    return all(sha256_of_file(asset.folder / name) == sha for name, sha in source.stored().items())


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        noted = json_of(read_text(folder / MANIFEST), MANIFEST)
        return noted if isinstance(noted["source"], str) and isinstance(noted["files"], dict) else None
    except (DataError, KeyError, TypeError):
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


def _right(asset: Asset, source: Source) -> bool:
    """Whether every file is there with the right checksum."""
    paths = {asset.folder / name: sha for name, sha in source.stored().items()}
    return all(path.is_file() and sha256_of_file(path) == sha for path, sha in paths.items())


def _noted_anew(asset: Asset, source: Source) -> Stored:
    """Notes the new times where the folder can be written, so that the next look is quick."""
    try:
        return note(asset, source)
    except OSError:  # a cache that somebody shares for reading is as good, only slower to look at
        return _stored(asset, source)


def _stored(asset: Asset, source: Source) -> Stored:
    return Stored(source.name, {name: asset.folder / name for name in source.stored()})


def note(asset: Asset, source: Source) -> Stored:
    """Writes the manifest, last of all: from here on the asset counts as cached."""
    files = {}
    for name, sha in source.stored().items():
        status = (asset.folder / name).stat()
        files[name] = {"sha256": sha, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    atomic_write(asset.folder / MANIFEST, json.dumps({"source": source.name, "files": files}, indent=2))
    return _stored(asset, source)


def rehash(asset: Asset) -> Stored | None:
    """Accepts files that are there with the right checksum, such as after a copied or touched cache."""
    for source in asset.sources:
        if _right(asset, source):
            return note(asset, source)
    return None


@contextlib.contextmanager
def locked(asset: Asset, emit: Emit) -> Iterator[None]:
    """Holds an asset's folder for one process; others wait, and leftovers of a killed one are removed."""
    asset.folder.mkdir(parents=True, exist_ok=True)
    with Watch(emit).alone(asset.folder.with_name(asset.folder.name + ".lock"), f"fetching {asset.name}"):
        remove_leftovers(asset.folder)
        yield
