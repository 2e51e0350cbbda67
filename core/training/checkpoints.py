"""Checkpoints on disk: complete or absent, hashed, and the newest undamaged one is found again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import DataError, TrainingError
from core.files import LARGEST_RESULT, atomic_path, remove_leftovers, remove_whole, sha256_of_file
from core.records import json_of, read_text

MANIFEST = "manifest.json"
KEPT = 2
_UNREADABLE = (
    DataError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, EOFError,
    UnpicklingError, SafetensorError,
)  # fmt: skip
"""What a checkpoint whose checksums are right, and which is none, leads to."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run needs to go on as if it had never stopped."""

    step: int
    validated: bool
    """Whether the validation that follows this step, if any, is part of it."""
    progress: dict[str, Any]
    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    """Weights of the best validation so far; empty before the first."""
    optimizer: dict[str, Any]
    generator: Tensor
    """torch's generator state on the CPU."""
    cuda: list[Tensor] = field(default_factory=list)
    """The generator state of each CUDA device."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes one checkpoint whole, then drops all but the newest two.

    Raises:
        TrainingError: it cannot be written; what was there before stays.

    Returns:
        The checkpoint's own folder, `step-<number>` or `step-<number>-validated`.
    """
    final = folder / f"step-{checkpoint.step:08d}{'-validated' if checkpoint.validated else ''}"
    if final.exists():
        if _problem(final) is None:
            return final
        remove_whole(final)
    with _written(final), atomic_path(final) as temporary:
        temporary.mkdir()
        save_file(_plain(checkpoint.weights), temporary / "weights.safetensors")
        save_file(_plain(checkpoint.best), temporary / "best.safetensors")
        torch.save(
            {
                "optimizer": checkpoint.optimizer,
                "generator": checkpoint.generator,
                "cuda": checkpoint.cuda,
            },
            temporary / "state.pt",
        )
        (temporary / "progress.json").write_text(json.dumps(checkpoint.progress))
        hashes = {file.name: sha256_of_file(file) for file in sorted(temporary.iterdir())}
        (temporary / MANIFEST).write_text(json.dumps({"step": checkpoint.step, "sha256": hashes}))
    for old in _folders(folder)[KEPT:]:
        remove_whole(old)
    return final


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Turns what a full or vanished disk does to the libraries that write into one line."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise TrainingError(
            f"cannot write the checkpoint {path}: {first}",
            "free some space; the same command goes on from the checkpoint before",
        ) from error


def load_latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose hashes hold, and a line for each damaged one that was passed over."""
    problems: list[str] = []
    for path in _folders(folder):
        problem = _problem(path)
        if problem is None:
            try:
                return _load(path), problems
            except _UNREADABLE as error:
                problem = next(iter(str(error).splitlines()), type(error).__name__)
        problems.append(f"checkpoint {path} is damaged ({problem}); using the one before")
    return None, problems


def clear_checkpoints(folder: Path) -> None:
    """Removes all checkpoints of a finished run."""
    for path in _folders(folder):
        remove_whole(path)
    if folder.is_dir():
        remove_leftovers(folder)
        if not any(folder.iterdir()):
            folder.rmdir()


def _folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _problem(path: Path) -> str | None:
    try:
        hashes = json_of(read_text(path / MANIFEST), MANIFEST)["sha256"]
        for name, expected in hashes.items():
            if sha256_of_file(path / name) != expected:
                return f"{name} does not match its checksum"
    except (DataError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST}: {error}"
    return None


def _load(path: Path) -> Checkpoint:
    state = torch.load(path / "state.pt", weights_only=True)
    progress = json.loads(read_text(path / "progress.json", LARGEST_RESULT))
    return Checkpoint(
        step=int(progress["step"]),
        validated=path.name.endswith("-validated"),
        progress=progress,
        weights=load_file(path / "weights.safetensors"),
        best=load_file(path / "best.safetensors"),
        optimizer=state["optimizer"],
        generator=state["generator"],
        cuda=state["cuda"],
    )


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, each with storage of its own, as safetensors wants them."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
