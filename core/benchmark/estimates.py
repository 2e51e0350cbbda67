"""How long a plan will take: figures measured on two CPU cores, scaled by a short test of this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from core.config.settings import TUNING_GRID, RunConfig
from core.data.samples import last_positions, longest_history
from core.data.types import Samples
from core.methods import COUNTING, METHODS, PROMPTED, settle

REFERENCE_GFLOPS = 500.0
"""bf16 matrix operations a second, in 1e9, of the machine that the figures below were measured on."""
SECONDS = {
    "encoder step": 0.008,
    "encoder step, for each item": 1.6e-5,
    "morec step": 0.020,
    "read titles": 7.0,
    "train sample": 0.15,
    "train sample, full depth": 0.75,
    "train sample, words": 0.3,
    "rank case": 0.06,
    "rank case, full depth": 0.29,
    "answer case": 0.42,
    "load": 6.0,
    "chat case": 1.0,
}
"""Measured with the embedded model in NF4: ten adapted layers of thirty, and all thirty; words: the
language-model objective on ten layers. A chat model's is a guess: that server is somebody else's."""


def minutes(config: RunConfig, jobs: Sequence[tuple[str, int]], samples: Samples) -> float:
    """Estimated minutes for these (method, seed) jobs, from the budget and the machine's speed."""
    return sum(seconds(config, method, samples) for method, _ in jobs) / 60 / speed()


def seconds(config: RunConfig, method: str, samples: Samples) -> float:
    """Seconds for one run of a method on the machine that `SECONDS` was measured on."""
    record = METHODS[method]
    if record.kind == COUNTING:
        return 0.0
    config = settle(config, method)
    cases = len({(case.user, case.position) for cases in samples.test.values() for case in cases})
    if record.is_remote:
        return cases * SECONDS["chat case"]
    if record.is_encoder:
        trained = encoder_steps(config, samples) * (len(TUNING_GRID) if config.encoder.tune else 1)
        seen = (item for case in samples.validation for item in case.candidates)
        items = 1 + max(seen, default=0)  # or nearly so
        step = SECONDS["encoder step"] + SECONDS["encoder step, for each item"] * items
        if record.needs_llm:
            return SECONDS["load"] + SECONDS["read titles"] + (step + SECONDS["morec step"]) * trained
        return step * trained
    if record.kind == PROMPTED:
        return SECONDS["load"] + 48 * SECONDS["rank case, full depth"] + cases * _case_seconds(config)
    training = config.training
    words = training.objective == "language-model"
    train = ", full depth" if config.adapter.layers == 0 else ", words" if words else ""
    rank = ", full depth" if config.adapter.layers == 0 or words else ""
    validated = training.validations * min(training.validation_cases, len(samples.validation))
    return (
        SECONDS["load"]
        + training.samples * SECONDS[f"train sample{train}"]
        + validated * SECONDS[f"rank case{rank}"]
        + cases * (_case_seconds(config) if words else SECONDS[f"rank case{rank}"])
    )


def encoder_steps(config: RunConfig, samples: Samples) -> int:
    """Optimizer steps of an encoder's longest training; see `EncoderJob` for the pieces."""
    encoder = config.encoder
    span = longest_history(samples.train)
    pieces = sum(-(-last // span) + 1 for last in last_positions(samples.train).values())
    steps = max(1, -(-pieces // encoder.batch_size)) * encoder.epochs
    return min(steps, encoder.steps or steps)


def _case_seconds(config: RunConfig) -> float:
    """Seconds for a test case of a method that reads the paper's prompt."""
    return SECONDS["rank case, full depth" if config.answering.protocol == "rank" else "answer case"]


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
