"""Files are written whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.files import atomic_path, atomic_write, remove_leftovers, temporary_folder


def test_text_and_bytes_arrive_in_folders_made_for_them(tmp_path: Path) -> None:
    assert atomic_write(tmp_path / "a" / "b.txt", "héllo").read_bytes() == "héllo".encode()
    assert atomic_write(tmp_path / "c.bin", b"\0\1").read_bytes() == b"\0\1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c.bin"]


def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    atomic_write(tmp_path / "result.json", "old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "result.json") as temporary:
        temporary.write_text("half")
        assert temporary.suffix == ".json"
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text() == "old"


def test_a_whole_folder_arrives_at_once(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "adapter") as temporary:
        temporary.mkdir()
        (temporary / "weights").write_bytes(b"1")
        assert not (tmp_path / "adapter").exists()
    assert [path.name for path in (tmp_path / "adapter").iterdir()] == ["weights"]


MODES = """
import os, sys, stat
os.umask(int(sys.argv[2], 8))
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from core.files import atomic_path, atomic_write
out = Path(sys.argv[1])
with atomic_path(out / "run") as folder:
    folder.mkdir()
    save_file({"weights": np.zeros(3)}, folder / "weights.safetensors")
atomic_write(out / "card.json", "{}")
written = (out / "run" / "weights.safetensors", out / "card.json")
print(*(oct(stat.S_IMODE(path.stat().st_mode)) for path in written))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
@pytest.mark.parametrize(("mask", "mode"), [("022", "0o644"), ("077", "0o600"), ("002", "0o664")])
def test_weights_may_be_read_by_whoever_may_read_the_other_files(
    tmp_path: Path, mask: str, mode: str
) -> None:
    command = [sys.executable, "-c", MODES, str(tmp_path), mask]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [mode, mode]


def test_writing_over_a_folder_or_below_a_file_fails_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError):
        atomic_write(tmp_path / "folder", "x")
    with pytest.raises(OSError):
        atomic_write(tmp_path / "file" / "below", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_temporary_folder_goes_with_all_it_holds(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), temporary_folder(tmp_path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_only_what_can_be_cleared(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from core.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    atomic_write(tmp_path / "kept.txt", "old")
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "kept.txt")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "kept.txt").read_text() == "old"
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
