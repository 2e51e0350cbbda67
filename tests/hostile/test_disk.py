"""Files go where they should, whole; what cannot be written is one line, and what was damaged is noticed."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from core.errors import TrainingError
from core.files import atomic_write, read_regular
from core.lm.converted import is_whole, note_files
from core.training import checkpoints
from core.training.checkpoints import Checkpoint, load_latest, save_checkpoint
from ilora_app.cli.stopping import stoppable


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    atomic_write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"


def test_a_device_is_refused_and_stays() -> None:
    with pytest.raises(OSError, match="device"):
        atomic_write(Path("/dev/null"), "x")
    assert Path("/dev/null").is_char_device()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    atomic_write(tmp_path / "pipe", "words")
    reader.join(10)
    assert got == ["words"] and (tmp_path / "pipe").is_fifo()


def test_only_regular_files_of_a_sane_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 11)
    with pytest.raises(OSError, match="more than"):
        read_regular(tmp_path / "big", 10)
    for path in (Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError):
            read_regular(path)


@pytest.mark.parametrize(
    "error",
    [SafetensorError("I/O error: No space left (os error 28)"), OSError(28, "No space"), RuntimeError("x")],
)
def test_a_full_disk_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    made = {"progress": {"step": 1}, "weights": {"a": torch.ones(2)}, "best": {}, "optimizer": {}}
    first = Checkpoint(step=1, validated=False, generator=torch.get_rng_state(), **made)
    save_checkpoint(tmp_path, first)

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(checkpoints, "save_file", full)
    second = Checkpoint(step=2, validated=False, generator=torch.get_rng_state(), **made)
    with pytest.raises(TrainingError, match="cannot write the checkpoint"):
        save_checkpoint(tmp_path, second)
    found, problems = load_latest(tmp_path)
    assert found is not None and found.step == 1 and not problems
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("noted", [True, False])
def test_a_damaged_conversion_is_noticed(tmp_path: Path, noted: bool) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    assert not is_whole(folder)
    (folder / "config.json").write_text("{}")
    save_file({"a": torch.ones(100)}, folder / "model.safetensors")
    if noted:
        note_files(folder)
    assert is_whole(folder)
    os.utime(folder / "model.safetensors")
    assert is_whole(folder)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-8])
    assert not is_whole(folder)
    if noted:
        (folder / "model.safetensors").write_bytes(content[:-1] + b"\x01")
        assert not is_whole(folder)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signal here")
@pytest.mark.parametrize("number", ["SIGHUP", "SIGTERM"])
def test_the_terminals_end_asks_to_stop(number: str) -> None:
    before = signal.signal(getattr(signal, number), signal.SIG_DFL)  # ignored where `nohup` runs the tests
    with stoppable() as should_stop:
        assert not should_stop()
        os.kill(os.getpid(), getattr(signal, number))
        assert should_stop()
    signal.signal(getattr(signal, number), before)
