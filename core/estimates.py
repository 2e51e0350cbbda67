"""How long a plan will take: figures measured on two CPU cores, scaled by a short test of this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from core.config import RunConfig
from core.data.types import Samples

REFERENCE_GFLOPS = 500.0
"""bf16 matrix operations a second, in 1e9, of the machine that the figures below were measured on."""
SECONDS = {
    "encoder epoch": 2.0,
    "train sample": 0.17,
    "train sample, full depth": 0.75,
    "rank case": 0.06,
    "rank case, full depth": 0.25,
    "load": 6.0,
}
"""Measured with the embedded model in NF4: ten adapted layers of thirty, and all thirty."""


def minutes(config: RunConfig, jobs: Sequence[tuple[str, int]], samples: Samples) -> float:
    """Estimated minutes for these (method, seed) jobs, from the budget and the machine's speed."""
    return sum(_seconds(config, method, samples) for method, _ in jobs) / 60 / speed()


def _seconds(config: RunConfig, method: str, samples: Samples) -> float:
    if method == "popularity":
        return 0.0
    cases = len({(case.user, case.position) for cases in samples.test.values() for case in cases})
    if method == "sasrec":
        return SECONDS["encoder epoch"] * config.encoder.epochs
    if method == "zero-shot":
        return SECONDS["load"] + (cases + 48) * SECONDS["rank case, full depth"]
    training = config.training
    deep = config.adapter.layers == 0 or training.objective == "language-model"
    suffix = ", full depth" if deep else ""
    ranked = cases + training.validations * min(training.validation_cases, len(samples.validation))
    return (
        SECONDS["load"]
        + training.samples * SECONDS[f"train sample{suffix}"]
        + ranked * SECONDS[f"rank case{suffix}"]
    )


def speed() -> float:
    """How fast this machine multiplies matrices, relative to the reference machine."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a = torch.ones(1024, 1024, dtype=torch.bfloat16, device=device)
    float((a @ a)[0, 0])
    best = math.inf
    for _ in range(12):  # the best of many: other work on the machine comes and goes
        started = time.perf_counter()
        float((a @ a)[0, 0])
        best = min(best, time.perf_counter() - started)
    return 2 * 1024**3 / best / 1e9 / REFERENCE_GFLOPS
