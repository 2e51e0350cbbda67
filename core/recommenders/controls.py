"""Controls: a trained iLoRA asked in another way, so that one sees what its answers rest on. None trains.

What a control changes is decided from the test cases' histories alone, never from their targets.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.encoders.base import Encoder
from core.errors import InputError
from core.evaluation.answer_matching import WrittenAnswer
from core.evaluation.clusters import k_means
from core.evaluation.metrics import Scores
from core.ilora.gate_clusters import Histories, Omega, given_gates, read_gates
from core.ilora.model import AdaptedModel
from core.recommenders.adapter import AdapterRecommender
from core.recommenders.base import FitReport, Recommender, Task
from core.recommenders.batching import score_in_batches


class Control(Recommender):
    """What all controls share: the trained method, asked about whatever `changed` makes of a history."""

    trained: AdapterRecommender
    model: AdaptedModel

    def fit(self, task: Task) -> FitReport:
        """Takes the trained method of the task; nothing is learnt.

        Raises:
            ValueError: the task has none, or one without a gate.
        """
        trained = task.trained
        if not isinstance(trained, AdapterRecommender) or trained.model.gate is None:
            raise ValueError(f"{self.name} asks a trained method with a gate, and was given none")
        self.trained, self.model, self.seed = trained, trained.model, task.seed
        self.model.train(False)
        self.prepare(task)
        notes = [f"asks the trained {trained.name} of the same seed; nothing is trained", *self.notes()]
        return FitReport(total_parameters=self.model.total_parameters(), notes=notes)

    def prepare(self, task: Task) -> None:
        """Decides, from the histories of the test cases, what is changed."""
        del task

    def notes(self) -> list[str]:
        """What a result must say about the change."""
        return []

    @contextmanager
    def asked(self) -> Iterator[None]:
        """The trained method as this control asks it; inside the block, and never after it."""
        yield

    def changed(self, histories: Histories) -> Histories:
        """What is asked about in place of these histories."""
        return histories

    def score(self, histories: Histories, candidates: Histories) -> Scores:
        """The trained method's scores, asked in this way."""
        self.trained.after_batch = self.after_batch
        with self.asked():
            return self.trained.score(self.changed(histories), candidates)

    def answers(self, histories: Histories, candidates: Histories) -> list[WrittenAnswer] | None:
        """The trained method's answers, asked in this way."""
        self.trained.after_batch = self.after_batch
        with self.asked():
            return self.trained.answers(self.changed(histories), candidates)

    def own_encoder(self) -> Encoder:
        """The trained method's encoder."""
        return self.model.encoder

    def expert_weights(self, histories: Histories) -> npt.NDArray[np.float32] | None:
        """omega as it was in force, (n, K)."""
        with self.asked():
            return self.trained.expert_weights(self.changed(histories))


class Shuffled(Control):
    """Every history in another order: does the order matter at all?"""

    name = "shuffled"

    def changed(self, histories: Histories) -> Histories:
        """The same items, in an order that depends on the seed and the history alone."""
        return [shuffled(history, self.seed) for history in histories]


class GateControl(Control):
    """Every history has weights that were decided beforehand, from the gate's own on all test histories."""

    def prepare(self, task: Task) -> None:
        """Reads the gate on every test history, each once, and decides what each gets."""
        users: dict[tuple[int, ...], str] = {}
        for case in task.samples.asked.values():
            users.setdefault(tuple(case.history), case.user)
        histories = list(users)
        decided = self.weigh(read_gates(self.model, histories), list(users.values()))
        self.given = dict(zip(histories, decided, strict=True))

    @abstractmethod
    def weigh(self, omega: Omega, users: Sequence[str]) -> Omega:
        """What each history gets, given all histories' own weights and whose they are."""

    @contextmanager
    def asked(self) -> Iterator[None]:
        """With the decided weights in the gate's place."""
        with given_gates(self.model, self.given):
            yield


class MeanGate(GateControl):
    """The mean gate for everybody: does it matter that users' gates differ?"""

    name = "mean-gate"

    def weigh(self, omega: Omega, users: Sequence[str]) -> Omega:
        """The mean, for each."""
        del users
        return mean_gate(omega)


class SwappedGate(GateControl):
    """Another user's gate: does it matter whose gate one has?"""

    name = "swapped-gate"

    def weigh(self, omega: Omega, users: Sequence[str]) -> Omega:
        """Another user's, for each."""
        return swapped_gate(omega, users, self.seed)


class ClusterGate(GateControl):
    """The gate of alike users: would a few gates do?"""

    name = "cluster-gate"

    def weigh(self, omega: Omega, users: Sequence[str]) -> Omega:
        """The mean of its cluster, for each; as many clusters as experts."""
        del users
        self.clusters = omega.shape[-1]
        return cluster_gate(omega, self.clusters, self.seed)

    def notes(self) -> list[str]:
        """How many clusters."""
        return [f"{self.clusters} clusters"]


class HistoryBlind(MeanGate):
    """The candidates alone: whatever it reaches above chance, the candidates give away without a history."""

    name = "history-blind"

    def changed(self, histories: Histories) -> Histories:
        """Histories without an item."""
        return [()] * len(histories)

    def prepare(self, task: Task) -> None:
        """The mean gate, also for a history without an item."""
        super().prepare(task)
        self.given[()] = next(iter(self.given.values()))

    def score(self, histories: Histories, candidates: Histories) -> Scores:
        """Scores of a prompt without a history, and of an encoder that prefers nothing."""
        after, size = self.after_batch, self.trained.batch
        with self.asked():
            return score_in_batches(self._scores, self.changed(histories), candidates, size, after=after)

    def _scores(self, histories: Histories, candidates: Histories) -> Tensor:
        assert self.model.weights is not None and self.model.gate is not None
        prior = torch.zeros(len(candidates), len(candidates[0]), device=self.model.llm.device)
        with self.model.weights.use(self.model.omega(self.model.gate, histories)):
            scores: Tensor = self.model.ranker(histories, candidates, prior)
        return scores


# --- what is changed ---------------------------------------------------------------------------------------


def shuffled(history: Sequence[int], seed: int) -> list[int]:
    """The items in another order, which may by chance be the same one; it depends on the arguments alone."""
    key = hashlib.sha256(json.dumps(["shuffled", seed, [*map(int, history)]]).encode()).digest()
    stream = np.random.RandomState(int.from_bytes(key[:4], "big"))
    return [int(history[place]) for place in stream.permutation(len(history))]


def mean_gate(omega: Omega) -> Omega:
    """The mean of all rows, in every row."""
    mean = omega.astype(np.float64).mean(axis=0, keepdims=True)
    found: Omega = np.repeat(mean, len(omega), axis=0).astype(np.float32)
    return found


def swapped_gate(omega: Omega, users: Sequence[str], seed: int) -> Omega:
    """In every row a row of another user: users stand in a seeded circle, each gets the next one's rows.

    Raises:
        InputError: there is one user only.
    """
    rows: dict[str, list[int]] = {}
    for row, user in enumerate(users):
        rows.setdefault(user, []).append(row)
    if len(rows) < 2:
        raise InputError("swapped-gate needs two test users", "test more users, or leave it out")
    names = sorted(rows)
    circle = [names[place] for place in np.random.RandomState(seed).permutation(len(names))]
    found = np.empty_like(omega)
    for user, other in zip(circle, [*circle[1:], circle[0]], strict=True):
        for place, row in enumerate(rows[user]):
            found[row] = omega[rows[other][place % len(rows[other])]]
    return found


def cluster_gate(omega: Omega, clusters: int, seed: int) -> Omega:
    """In every row the mean of its k-means cluster; fewer clusters where there are fewer different rows."""
    flat = omega.reshape(len(omega), -1)
    found = k_means(flat, clusters, seed)
    centres: Omega = found.centres[found.labels].reshape(omega.shape).astype(np.float32)
    return centres
