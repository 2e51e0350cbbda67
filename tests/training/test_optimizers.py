"""The optimizer is chosen by what works here; on a GPU it is paged and in 8 bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from core.training import optimizers
from core.training.optimizers import eight_bit_works, make_optimizer

GPU = torch.device("cuda")


def groups() -> list[dict[str, Any]]:
    big, small = nn.Parameter(torch.zeros(64, 128)), nn.Parameter(torch.zeros(4, 8))
    return [
        {"params": [big], "lr": 0.0, "rate": 1.0, "weight_decay": 0.0},
        {"params": [small], "lr": 0.0, "rate": 0.3, "weight_decay": 0.1},
    ]


def test_on_a_cpu_it_is_adamw() -> None:
    assert not eight_bit_works(torch.device("cpu"))
    assert type(make_optimizer(groups())) is AdamW


def test_where_8_bit_works_it_is_paged_8_bit_adamw_with_the_same_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(optimizers, "eight_bit_works", lambda device: True)
    made, plain = make_optimizer(groups()), AdamW(groups(), betas=optimizers.BETAS, eps=optimizers.EPS)
    assert type(made).__name__ == "PagedAdamW8bit"
    for ours, theirs in zip(made.param_groups, plain.param_groups, strict=True):
        for key in ("lr", "rate", "weight_decay", "eps"):
            assert ours[key] == theirs[key], key
        assert tuple(ours["betas"]) == tuple(theirs["betas"])


@pytest.mark.parametrize("error", [ImportError, RuntimeError, OSError, AttributeError, NotImplementedError])
def test_a_gpu_on_which_it_fails_gets_adamw(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail(device: torch.device) -> bool:
        raise error("no such kernel")

    monkeypatch.setattr(optimizers, "_takes_a_step", fail)
    assert not eight_bit_works(GPU)
    monkeypatch.setattr(optimizers, "_takes_a_step", lambda device: True)
    assert eight_bit_works(GPU)
