"""A training that is killed, whatever it is doing, ends as one that was left alone."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]


class Trainer:
    """A process that trains on demand in a child of its own; see `tests.killing`."""

    def __init__(self, process: subprocess.Popen[str], model: Path) -> None:
        self.process, self.model = process, model

    def train(self, folder: Path, result: Path, die_at: int = 0, kill_after: float | None = None) -> int:
        """The child's exit code; it dies at its so-many-th touch of a checkpoint, or some time after one."""
        order = {"model": str(self.model), "folder": str(folder), "result": str(result), "die_at": die_at}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if kill_after is not None:
            before = checkpoints(folder)
            with contextlib.suppress(ProcessLookupError):  # it has finished
                while checkpoints(folder) == before:
                    os.kill(child, 0)  # is it still there?
                    time.sleep(0.005)
                time.sleep(kill_after)
                os.kill(child, signal.SIGKILL)
        return int(self.process.stdout.readline())


def checkpoints(folder: Path) -> set[str]:
    return {str(path) for path in folder.glob("checkpoints/*/*")}


@contextmanager
def trainer(model: Path) -> Iterator[Trainer]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.killing", str(model)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Trainer(process, model)
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.slow
def test_killed_at_any_moment_also_while_saving_it_ends_with_the_same_parameters(
    tmp_path: Path, tiny_home: Path, tiny_model: Path
) -> None:
    draw = random.Random(1)
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    work = tmp_path / "parts"
    half_saved = 0
    with trainer(tiny_model) as runs:
        assert runs.train(tmp_path / "whole", whole) == 0
        for kill in range(8):
            if kill % 2:
                code = runs.train(work, parts, die_at=draw.randint(1, 70))
            else:
                code = runs.train(work, parts, kill_after=draw.uniform(0.0, 0.3))
            assert code in (-signal.SIGKILL, 0)
            if code == 0:
                break
            assert not parts.exists()
            half_saved += bool(list(work.glob("checkpoints/ilora*/.*.part-*")))
        else:
            assert runs.train(work, parts) == 0
    assert kill >= 4
    assert half_saved
    expected, found = load_file(whole), load_file(parts)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert not list(work.glob("checkpoints/ilora*/.*"))  # what the killed writers left is gone
