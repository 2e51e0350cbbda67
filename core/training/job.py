"""What can be trained, by which schedule, and what a training reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from core.events import ShouldStop


class Pruned(Exception):
    """Raised by whoever follows a training that is not worth going on with; its checkpoints go."""


class Job(Protocol):
    """What can be trained: it knows its parameters, its loss and its validation, not the loop."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW groups: `params`, `rate` (multiple of the schedule's rate), `weight_decay`."""
        ...

    def loss(self, samples: Sequence[int], epoch: int) -> AbstractContextManager[tuple[Tensor, int]]:
        """The summed loss over these training samples, and how many terms it sums; `backward` runs inside.

        Randomness must come from torch's generator or from (sample, epoch), so that a resumed run repeats it.
        """
        ...

    def terms(self, samples: Sequence[int], epoch: int) -> int:
        """How many terms `loss` will sum for these samples; needed before the first micro-batch runs."""
        ...

    def length(self, sample: int, epoch: int) -> int:
        """How long a sample is; micro-batches are made of samples of similar length."""
        ...

    def validate(self, should_stop: ShouldStop) -> dict[str, float]:
        """Validation metrics by name; leaves the job in training mode."""
        ...

    def baseline(self) -> dict[str, float] | None:
        """Validation metrics of the untrained job where they are known for free, else None.

        A run that never does better ends with the weights it started from.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """Every trained weight and buffer."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state` gave; missing or unexpected keys are errors."""
        ...

    def gate(self) -> list[float] | None:
        """Mean expert weights since the last call, or None without a gate."""
        ...


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and how often; in optimizer steps."""

    steps: int
    batch_size: int
    micro_batch_size: int
    learning_rate: float
    warmup_steps: int = 0
    final_rate: float = 0.0
    """The cosine ends at this share of the peak."""
    clip: float = 1.0
    validate_every: int = 0
    """0: only at the end."""
    patience: int = 0
    """Validations without improvement before stopping; 0: never."""
    criterion: str = "MRR"
    """The validation metric that chooses (higher is better)."""
    seed: int = 0
    checkpoint_seconds: float = 60.0
    loss_scaling: bool = False
    """Whether the loss is scaled up for the backward pass, as fp16 needs: its small gradients would be 0."""

    def rate(self, step: int) -> float:
        """The share of the peak rate at a step (0-based): linear rise, then half a cosine."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.final_rate + (1 - self.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    step: int = 0
    seconds: float = 0.0
    best_step: int = -1
    best: float = -math.inf
    stale: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingReport:
    """What a finished run did."""

    steps: int
    best_step: int
    seconds: float
    """Training time over all sessions, without validation."""
    samples_per_second: float
    curve: list[dict[str, int | float]]
    """One row per validation: step, loss and the metrics."""
