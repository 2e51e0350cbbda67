"""Wherever a file is to go, it arrives whole or nothing changes: links, devices, odd names, no folders."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.files import atomic_write

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there are no such places")


def linked(path: Path, to: str | Path) -> Path:
    path.symlink_to(to)
    return path


def file(path: Path, text: str = "old") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def twin(path: Path, of: Path) -> Path:
    path.hardlink_to(of)
    return path


WRITTEN: dict[str, Callable[[Path], Path]] = {
    "a new file": lambda here: here / "a",
    "in folders to be made": lambda here: here / "b" / "c" / "a",
    "a file": lambda here: file(here / "a"),
    "a file that may only be read": lambda here: (file(here / "a").chmod(0o444), here / "a")[1],
    "a link to a file": lambda here: linked(here / "a", file(here / "real")),
    "a link to a link": lambda here: linked(here / "a", linked(here / "b", file(here / "real"))),
    "a link by a relative path": lambda here: linked(here / "a", file(here / "d" / "real").relative_to(here)),
    "a link to nothing yet": lambda here: linked(here / "a", here / "real"),
    "in a folder behind a link": lambda here: linked(here / "f", file(here / "d" / "real").parent) / "a",
    "one of two names of a file": lambda here: twin(here / "a", file(here / "real")),
    "an empty file": lambda here: file(here / "a", ""),
    "a name in other letters": lambda here: here / "映画 \U0001f600 é",
    "a name with a line's end": lambda here: here / "a\nb",
    "a name with escapes": lambda here: here / "\x1b[31ma",
    "a name that is no text": lambda here: here / os.fsdecode(b"\xff\xfea"),
    "a name with a dash": lambda here: here / "-rf",
    "a hidden name": lambda here: here / ".part-12345678",
    "a name of 200 letters": lambda here: here / ("n" * 200 + ".json"),
    "a name of 255 letters": lambda here: here / ("n" * 250 + ".json"),
    "a name of 255 bytes": lambda here: here / ("é" * 125 + ".json"),
    "a long suffix": lambda here: here / ("n." + "s" * 253),
    "a name of spaces": lambda here: here / "   ",
}  # fmt: skip


@pytest.mark.parametrize("place", WRITTEN)
def test_a_file_arrives_whole_wherever_it_can(tmp_path: Path, place: str) -> None:
    path = WRITTEN[place](tmp_path)
    was_link = path.is_symlink()
    for text in ("new", "newer"):
        assert atomic_write(path, text) == path
        assert path.read_text() == text and path.is_symlink() == was_link
    assert not [left for left in tmp_path.rglob(".*part-*") if left != path]


def listening(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
    return path


REFUSED: dict[str, Callable[[Path], Path]] = {
    "a folder with something in it": lambda here: file(here / "a" / "b").parent,
    "below a file": lambda here: file(here / "a") / "b",
    "below a device": lambda here: Path("/dev/null/b"),
    "a link in a circle": lambda here: linked(linked(here / "b", here / "a").parent / "a", here / "b"),
    "a link to a device": lambda here: linked(here / "a", "/dev/null"),
    "a link to a folder": lambda here: linked(here / "a", file(here / "d" / "b").parent),
    "a socket": lambda here: listening(here / "a"),
    "a device that is full": lambda here: Path("/dev/full"),
    "a name that is too long": lambda here: here / ("n" * 256),
    "a path that is too long": lambda here: here / "/".join(["n" * 200] * 30),
    "what the kernel shows": lambda here: Path("/proc/self/nope"),
    "a name with a zero": lambda here: here / "a\0b",
}  # fmt: skip


@pytest.mark.parametrize("place", REFUSED)
def test_where_no_file_can_go_nothing_changes(tmp_path: Path, place: str) -> None:
    path = REFUSED[place](tmp_path)
    before = sorted(str(found) for found in tmp_path.rglob("*"))
    with pytest.raises((OSError, ValueError)):
        atomic_write(path, "new")
    assert sorted(str(found) for found in tmp_path.rglob("*")) == before
    assert Path("/dev/null").is_char_device()


OWN_OUTPUT = "import sys; from core.files import atomic_write; atomic_write(sys.argv[1], 'words')"


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2", "/proc/self/fd/1"])
@pytest.mark.parametrize("into", ["a pipe", "a file"])
def test_the_programs_own_output_is_written_to_plainly(tmp_path: Path, place: str, into: str) -> None:
    if not Path(place).exists():
        pytest.skip("no such name here")
    command = [sys.executable, "-c", OWN_OUTPUT, place]
    if into == "a pipe":
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, b"words")
        return
    with (tmp_path / "a").open("wb") as sink:
        assert subprocess.run(command, stdout=sink, stderr=sink, check=False).returncode == 0
    assert (tmp_path / "a").read_text() == "words" and len(list(tmp_path.iterdir())) == 1
