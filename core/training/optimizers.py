"""The optimizer: AdamW, its state in 8 bit and paged out to main memory where the GPU allows it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch.optim import AdamW, Optimizer

BETAS, EPS = (0.9, 0.999), 1e-8


def make_optimizer(groups: list[dict[str, Any]]) -> Optimizer:
    """AdamW over parameter groups; bitsandbytes' paged 8-bit AdamW for parameters on a GPU where it works.

    Tensors of fewer than 4,096 numbers, such as the gate, keep a state of full precision either way.
    """
    devices = {parameter.device for group in groups for parameter in group["params"]}
    if all(eight_bit_works(device) for device in devices):
        return _eight_bit(groups)
    return AdamW(groups, betas=BETAS, eps=EPS)


def _eight_bit(groups: list[dict[str, Any]]) -> Optimizer:
    optimizers: Any = import_module("bitsandbytes.optim")
    made: Optimizer = optimizers.PagedAdamW8bit(groups, betas=BETAS, eps=EPS)
    return made


def eight_bit_works(device: torch.device) -> bool:
    """Whether bitsandbytes takes a paged 8-bit step on this device; never asked of a CPU."""
    if device.type != "cuda":
        return False
    try:
        return _takes_a_step(device)
    except (ImportError, OSError, RuntimeError, AttributeError, NotImplementedError):
        return False


def _takes_a_step(device: torch.device) -> bool:
    tried = torch.nn.Parameter(torch.ones(8192, device=device))
    tried.grad = torch.ones_like(tried)
    _eight_bit([{"params": [tried], "lr": 0.1}]).step()
    return bool((tried < 1).all())
