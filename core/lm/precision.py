"""Which precision a model is computed in: what was asked for, or what the hardware multiplies fast."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from core.config.checks import check_choice
from core.config.choices import PRECISIONS
from core.config.settings import ModelConfig
from core.errors import InputError
from core.events import Emit, Notice

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ROWS, WIDTH = 256, 576
"""The product that is timed where the hardware's flags are not enough: a quarter of a second at most."""


def pick_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """The dtype of a precision on a device; `auto` takes 16 bit only where the hardware multiplies it.

    Raises:
        InputError: the device cannot compute in this precision.
    """
    check_choice(precision, PRECISIONS, "precision")
    if precision == "float16" and device.type == "cpu":
        raise InputError("--precision float16 does not train on a CPU", "use auto, float32 or bfloat16")
    if precision == "bfloat16" and device.type == "mps":
        raise InputError("--precision bfloat16 does not run on mps", "use auto, float32 or float16")
    if precision != "auto":
        return DTYPES[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_multiplies_bf16() else torch.float32


def resolved(config: ModelConfig, device: torch.device, emit: Emit) -> ModelConfig:
    """The same model with `auto` replaced by what it means here; a slow choice is said once.

    Raises:
        InputError: the device cannot compute in this precision.
    """
    name = name_of(pick_dtype(device, config.precision))
    if name == "bfloat16" and device.type == "cpu" and not cpu_multiplies_bf16():
        emit(
            Notice(
                "this processor has no bfloat16 arithmetic: matrix products take "
                f"{bf16_cost():.0f} times as long as in float32 (measured now); --precision auto avoids it",
                "warning",
            )
        )
    return replace(config, precision=name)


def name_of(dtype: torch.dtype) -> str:
    """The precision's name in settings and results."""
    return next(name for name, known in DTYPES.items() if known is dtype)


@cache
def cpu_multiplies_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware: AVX512-BF16 or AMX, ARM's bf16.

    PyTorch's flags answer for x86, unless its kernels are held to AVX2. Elsewhere a timed product does.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        flags = [getattr(torch.cpu, f"_is_{kind}_supported", None) for kind in ("avx512_bf16", "amx_tile")]
        if all(flags):
            held = torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2")
            held |= os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in ("SSE41", "AVX", "AVX2", "AVX2_VNNI")
            return not held and any(flag() for flag in flags if flag)
    return bf16_cost() < 1


@cache
def bf16_cost() -> float:
    """How many times as long as in fp32 a forward and a backward product take in bf16 on this CPU."""
    return _seconds(torch.bfloat16) / _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    """The best time of three for `x @ W.T` and `y @ W`."""
    x = torch.ones(ROWS, WIDTH, dtype=dtype)
    weight = torch.ones(WIDTH, WIDTH, dtype=dtype)
    best = float("inf")
    for _ in range(4):  # the first one warms up
        started = time.perf_counter()
        y: Tensor = torch.nn.functional.linear(x, weight)
        _last: Any = (y @ weight)[0, 0].item()
        best = min(best, time.perf_counter() - started)
    return best
