"""A SASRec that learns to rank as a trained adapter does: the same answers for a hundredth of the cost.

Ranking distillation (Tang and Wang 2018, arXiv 1809.07428) with the loss of Hinton et al. (arXiv 1503.02531)
over lists of candidates; from a language model to a SASRec as in DLLM2Rec (arXiv 2405.00338), without its
weights and its embeddings. The teacher's scores are all that is learnt, and all that chooses the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from core.config.checks import sha256_of
from core.config.saved import lasting
from core.config.settings import EncoderConfig
from core.data.types import Sample
from core.encoders.base import Encoder
from core.encoders.job import LIKENESS, DistilJob
from core.encoders.sasrec import SASRec
from core.errors import InputError, Interrupted
from core.evaluation.metrics import Scores, pairs_alike
from core.evaluation.statistics import Estimate, bootstrap
from core.events import Notice
from core.methods import record_of, settle
from core.recommenders.adapter import AdapterRecommender
from core.recommenders.base import FitReport, Recommender, Task
from core.recommenders.batching import spaced
from core.recommenders.encoders import (
    ENCODER_FILE,
    EncoderRecommender,
    fit_encoder,
    readable,
    schedule_of,
    take_weights,
)
from core.recommenders.lessons import lessons
from core.run_time import run_seconds
from core.training import parallel
from core.training.checkpoints import clear_checkpoints
from core.training.loop import train

COMPARED = 200
"""Test cases, evenly spaced, that teacher and student are both asked, to say how alike they are."""
TOGETHER = 16
"""Of these so many at a time."""


class Student(SASRec):
    """A SASRec with a name of its own, beside the one that learnt from the data."""

    kind = "distilled"


class Distilled(EncoderRecommender):
    """The student as a method of its own; what it learns from is the task's trained method."""

    name = "distilled"
    teacher: AdapterRecommender | None = None

    def fit(self, task: Task) -> FitReport:
        """Has the teacher score histories, and learns that.

        The epoch is kept that is most like the teacher for validation users; no label chooses it.

        Raises:
            InputError: there are several datasets or processes, or too few items.
            ValueError: the task has no teacher.
        """
        task = replace(task, config=settle(task.config, self.name))
        if not isinstance(task.trained, AdapterRecommender):
            raise ValueError(f"{self.name} learns from a trained adapter, and was given none")
        check_alone(task)
        self.teacher, self.task, settings = task.trained, task, task.config.distillation
        learnt = lessons(self.teacher, task, self.name)
        start, config = self._start(self.teacher, task)
        torch.manual_seed(task.seed)
        self.model = Student(len(task.dataset.catalogue), config, task.dataset.rules.max_history)
        self.model.load_state_dict(start.state_dict())
        job = DistilJob(
            self.model,
            learnt.train,
            learnt.validation,
            task.samples.validation,
            settings.temperature,
            task.samples.withheld,
        )
        epoch = -(-len(job) // config.batch_size)
        schedule = schedule_of(config, epoch, settings.learning_rate, epoch, task.seed, LIKENESS)
        label, folder = (self.name, task.seed), _checkpoints(task)
        report = train(job, len(job), schedule, folder, label, task.emit, task.should_stop)
        job.settle()
        self.model.freeze()
        chosen = report.best_step // epoch
        said = f"likeness to the teacher for validation users chose epoch {chosen} of {report.steps // epoch}"
        task.emit(Notice(f"{self.name}, seed {task.seed}: {said}"))
        parameters = sum(p.numel() for p in self.model.parameters())
        return FitReport(
            trainable_parameters=parameters,
            total_parameters=parameters,
            train_seconds=report.seconds,
            samples_per_second=report.samples_per_second,
            curve=report.curve,
            notes=[
                f"learnt from {settings.teacher}: its scores of {settings.candidates} candidates for "
                f"{len(job):,} histories of training users, no labels; temperature {settings.temperature:g}",
                f"began as a SASRec that learnt from the data; {said}"
                + (", which is that SASRec" if not chosen else ""),
            ],
        )

    def _start(self, teacher: AdapterRecommender, task: Task) -> tuple[Encoder, EncoderConfig]:
        """The SASRec that learnt from the data: the teacher's encoder, or one that is trained now."""
        own = teacher.own_encoder()
        if own.kind == record_of(self.name).network:
            return own, task.config.encoder
        trained, _ = fit_encoder(task)
        return trained, trained.config

    def load(self, folder: Path, task: Task) -> None:
        """Reads the weights; neither teacher nor language model is needed."""
        config, span = task.config.encoder, task.dataset.rules.max_history
        self.model = Student(len(task.dataset.catalogue), config, span)
        with readable(folder / ENCODER_FILE):
            take_weights(self.model, folder / ENCODER_FILE)
        self.model.freeze()

    def remarks(self) -> list[str]:
        """How alike it is to its teacher on test cases, and what both cost here."""
        if self.teacher is None:
            return []
        found = compared(self.teacher, self, self.task)
        first, pairs = _said(found.same_first), _said(found.same_pairs)
        return [
            f"of {found.same_first.n} test cases, {first} have its teacher's first candidate first; {pairs} "
            "of all pairs of candidates stand in its teacher's order",
            f"{found.own_ms:.3g} ms a case beside {found.teacher_ms:.3g} ms of its teacher, both on this "
            f"machine: 1/{found.teacher_ms / found.own_ms:,.0f}",
        ]

    def finish(self) -> None:
        """Lets the teacher go."""
        self.teacher = None

    def forget(self, task: Task) -> None:
        """Drops the checkpoints; what the teacher scored stays, for the next student."""
        clear_checkpoints(_checkpoints(replace(task, config=settle(task.config, self.name))))


@dataclass(frozen=True)
class Alike:
    """A student beside its teacher, on the same cases and the same machine."""

    same_first: Estimate
    """Share of cases with the same best candidate."""
    same_pairs: Estimate
    """Share of pairs of candidates in the same order."""
    own_ms: float
    teacher_ms: float
    """Milliseconds a case."""


def compared(teacher: Recommender, student: Recommender, task: Task) -> Alike:
    """Asks both the same test cases.

    Raises:
        Interrupted: the task asked to stop.
    """
    cases = spaced(list(task.samples.asked.values()), COMPARED)
    stage = task.watch(student.name).stage("compare", len(cases))
    sides: list[Scores] = []
    spent: list[float] = []
    for side in (student, teacher):
        parts, started = [], run_seconds()
        for start in range(0, len(cases), TOGETHER):
            if task.should_stop():
                raise Interrupted
            some = cases[start : start + TOGETHER]
            parts.append(side.score([case.history for case in some], [case.candidates for case in some]))
            stage.advance(len(some) if side is teacher else 0)
        sides.append(np.concatenate(parts))
        spent.append(1000 * (run_seconds() - started) / len(cases))
    own, taught = sides
    return Alike(*agreement(own, taught, cases), own_ms=spent[0], teacher_ms=spent[1])


def agreement(a: Scores, b: Scores, cases: Sequence[Sample]) -> tuple[Estimate, Estimate]:
    """Shares of cases with the same first candidate, and of pairs of candidates in the same order."""
    users = [case.user for case in cases]
    first = (a.argmax(1) == b.argmax(1)).astype(np.float64)
    return bootstrap(first, users), bootstrap(pairs_alike(a, b), users)


def check_alone(task: Task) -> None:
    """Raises `InputError` where a student cannot be trained."""
    if task.dataset.parts:
        raise InputError("a student learns one dataset, and this run has several", "name a run on one")
    if parallel.size() > 1:
        raise InputError("a student is trained by one process", "leave the launcher out")


def _checkpoints(task: Task) -> Path:
    key = sha256_of([lasting(task.config)["encoder"], lasting(task.config)["distillation"]])[:12]
    return task.folder / "checkpoints" / f"distilled-seed{task.seed}-{key}"


def _said(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.0f} % [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"
