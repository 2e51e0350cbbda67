"""What a machine is and what the work took of it, with and without a GPU."""

from __future__ import annotations

import pytest
import torch

from core.hardware import PeakMemory
from core.lm.loading import pick_device


def test_the_peak_of_main_memory_is_seen() -> None:
    with PeakMemory() as memory:
        block = torch.ones(16, 2**20)  # 64 MiB
        before = memory.bytes
        del block
    assert memory.bytes >= before > 2**26
    assert memory.gpu_bytes == 0


def test_the_gpus_peak_counts_from_the_start_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = 999
    said: list[str] = []

    def reset() -> None:
        nonlocal peak
        said.append("reset")
        peak = 0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: peak)
    with PeakMemory() as memory:
        peak = 123
    assert said == ["reset"]
    assert memory.gpu_bytes == 123


def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for present, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda present=present: present)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        assert pick_device().type == expected
