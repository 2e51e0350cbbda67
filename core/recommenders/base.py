"""The interface behind which every method lives: fit once, then score candidates for histories."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from core.config.settings import GateConfig, RunConfig
from core.data.item_texts import item_texts
from core.data.types import Dataset, Samples
from core.evaluation.answer_matching import WrittenAnswer
from core.evaluation.metrics import Scores
from core.events import Emit, ShouldStop, never, silent
from core.stages import Watch

if TYPE_CHECKING:
    from core.encoders.base import Encoder


@dataclass(frozen=True)
class Task:
    """What a method is given: data, settings, a seed, and where it may keep its work."""

    dataset: Dataset
    samples: Samples
    config: RunConfig
    seed: int
    folder: Path
    """For checkpoints and for what methods share, such as the trained encoder."""
    emit: Emit = silent
    should_stop: ShouldStop = never
    trained: Recommender | None = None
    """For a control: the trained method that it asks."""
    start: Path | None = None
    """The run folder of the same method whose adapter training starts from."""

    @property
    def each(self) -> tuple[Task, ...]:
        """Of several datasets as one, the task of each of them; else this task alone."""
        if not self.dataset.parts:
            return (self,)
        tasks = []
        for part, samples in zip(self.dataset.parts, self.samples.parts, strict=True):
            data = replace(self.config.data, dataset=part.name)
            config = replace(self.config, data=data, gate=GateConfig())  # none that needs several datasets
            tasks.append(replace(self, dataset=part, samples=samples, config=config))
        return tuple(tasks)

    @property
    def texts(self) -> tuple[str, ...]:
        """What a language model is told of each item of the catalogue."""
        return item_texts(self.dataset.catalogue, self.config.model.item_text)

    def watch(self, method: str) -> Watch:
        """Whoever follows this task, for the stages of a method."""
        return Watch(self.emit, self.should_stop, method, self.seed)


def lock_of(folder: Path, name: str) -> Path:
    """The file held by the one process that makes what is called `name` in a task's folder."""
    return folder / "locks" / f"{name}.lock"


@dataclass(frozen=True)
class FitReport:
    """What fitting cost and what it made."""

    trainable_parameters: int = 0
    """Parameters that training changed."""
    adapter_parameters: int = 0
    """Those of them in LoRA's A and B."""
    gate_parameters: int = 0
    """Those of them in the gate: what iLoRA adds to LoRA."""
    total_parameters: int = 0
    """All parameters that answering needs, the frozen ones included."""
    load_seconds: float = 0.0
    train_seconds: float = 0.0
    """Training proper; loading and validation are not in it."""
    samples_per_second: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    """One row per validation."""
    notes: list[str] = field(default_factory=list)


class Recommender(ABC):
    """A method of the benchmark."""

    name: ClassVar[str]
    """Its key in `core.methods.METHODS`, where everything else is said about it."""
    after_batch: Callable[[int], None] | None = None
    """Told, while `score` and `answers` work, after how many histories more; it may raise `Interrupted`."""

    @abstractmethod
    def fit(self, task: Task) -> FitReport:
        """Learns from `task.samples.train`, choosing by `task.samples.validation` only.

        Raises:
            Interrupted: `task.should_stop` said so; the same call goes on from there.
        """

    @abstractmethod
    def score(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Scores:
        """Scores each history's candidates, higher is more likely next.

        Args:
            histories: n item sequences, oldest first, none empty, at most as long as the dataset's rules say.
            candidates: n lists of c items.

        Returns:
            (n, c) finite scores; only their order within a row means something.
        """

    def score_all(self, histories: Sequence[Sequence[int]], items: int) -> Scores:
        """Scores of the whole catalogue, (n, items), as `score` gives them for some of it."""
        return self.score(histories, np.broadcast_to(np.arange(items), (len(histories), items)))  # type: ignore[arg-type]

    def answers(
        self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]
    ) -> list[WrittenAnswer] | None:
        """What the method says when asked in words, one answer per history; None if it scores instead."""
        del histories, candidates
        return None

    def expert_weights(self, histories: Sequence[Sequence[int]]) -> npt.NDArray[np.float32] | None:
        """omega, (n, K), for gated methods, its mean where a gate has several sites; None for the others."""
        del histories
        return None

    def expert_weights_by_layer(self, histories: Sequence[Sequence[int]]) -> npt.NDArray[np.float32] | None:
        """omega, (n, layers, K), lowest adapted layer first; None unless layers have gates of their own."""
        del histories
        return None

    def own_encoder(self) -> Encoder | None:
        """The encoder whose vectors the method reads, frozen; None for a method that reads none."""
        return None

    def save(self, folder: Path) -> None:
        """Writes what `load` needs into an existing empty folder."""
        raise ValueError(f"{self.name} has nothing to save into {folder}")

    def load(self, folder: Path, task: Task) -> None:
        """Becomes the recommender that `save` wrote.

        Raises:
            ResultError, ModelError: a file is missing or damaged, a weight is missing, unknown or misshapen.
        """
        raise ValueError(f"{self.name} has nothing to load from {folder} for {task.dataset.name}")

    def remarks(self) -> list[str]:
        """What a result must say that only testing could tell, asked for once all cases are done."""
        return []

    def finish(self) -> None:
        """Called once the result is on disk: what is held open may go."""
        return

    def forget(self, task: Task) -> None:
        """Removes what let a task go on that has its result now; perhaps another process fitted it."""
        del task
