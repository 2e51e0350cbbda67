"""What a trained method teaches: its scores of candidates for training users' histories, kept in parts.

No label is read: a history's candidates are chosen from what comes before its end, never from what follows.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from core.config.checks import sha256_of
from core.data.samples import trained_on
from core.data.types import Sample
from core.encoders.base import Encoder
from core.encoders.job import Scored
from core.errors import InputError, Interrupted
from core.evaluation.metrics import Scores
from core.events import Notice
from core.files import atomic_path, remove_leftovers
from core.recommenders.adapter import AdapterRecommender
from core.recommenders.base import Task, lock_of
from core.recommenders.batching import validation_cases

BATCH = 32
"""Histories whose candidates are scored together; parts end where a batch does."""
PART_SECONDS = 30.0
"""About as much work is lost at most when the process is killed."""
STAGE, VALIDATION = "teach", "validation"
VERSION = 1
"""Of how candidates are chosen: with another choice, scores that were kept are of no use."""

Choose = Callable[[Sequence[Sample]], npt.NDArray[np.int64]]
"""Candidates of some cases, (n, c)."""


@dataclass(frozen=True)
class Lessons:
    """What a student learns, and what chooses the epoch."""

    train: Scored
    """Histories of training users, prefixes too."""
    validation: Scored
    """Validation cases, in the candidates that every method is validated on."""


def lessons(teacher: AdapterRecommender, task: Task, method: str) -> Lessons:
    """Has a trained method score candidates for as many histories as the settings say, and validation cases.

    What was scored before for the same teacher lies in the task's folder and is used again, also by another
    student and where more histories are asked for.

    Args:
        teacher: whose scores are learnt.
        task: the student's.
        method: whose stage it is.

    Raises:
        InputError: the catalogue is too small for so many candidates.
        Interrupted: the task asked to stop; what was scored is on disk.
    """
    offers, settings = Offers(task, teacher.own_encoder()), task.config.distillation
    cases = list(islice(offers.cases(), settings.histories))
    if not cases:
        name, wanted = task.dataset.name, settings.candidates
        raise InputError(f"no training user of {name} has {wanted} items left", "give fewer --candidates")
    held = validation_cases(task, task.config.training.validation_cases)
    folder = task.folder / "lessons" / _key(teacher, task)
    watch = task.watch(method)
    with watch.alone(lock_of(task.folder, f"lessons-{folder.name}"), "asking this teacher"):
        sides = [_Kept(folder, cases, offers.of, task), _Kept(folder / VALIDATION, held, _given, task)]
        stage = watch.stage(STAGE, sum(kept.left for kept in sides))

        def tell(histories: int) -> None:
            if watch.should_stop():
                raise Interrupted
            stage.advance(histories)

        teacher.after_batch = tell
        try:
            return Lessons(*(kept.asked(teacher) for kept in sides))
        finally:
            teacher.after_batch = None


def _given(cases: Sequence[Sample]) -> npt.NDArray[np.int64]:
    """(n, c) the candidates that the cases have."""
    return np.array([case.candidates for case in cases], dtype=np.int64)


class Offers:
    """Which histories are asked about, and which candidates they get.

    Args:
        task: the student's.
        encoder: finds the best items of the catalogue.
    """

    def __init__(self, task: Task, encoder: Encoder) -> None:
        self.task, self.encoder = task, encoder
        self.sequences = trained_on(task.dataset, task.samples)
        self.allowed = np.ones(len(task.dataset.catalogue), dtype=np.bool_)
        """(items,) false for what training never meets."""
        self.allowed[list(task.samples.withheld)] = False

    def cases(self) -> Iterator[Sample]:
        """Training cases in a seeded order, those whose users have enough items left; no target is read."""
        train, wanted = self.task.samples.train, self.task.config.distillation.candidates
        for place in np.random.RandomState(self.task.seed % (1 << 32)).permutation(len(train)):
            case = train[int(place)]
            if self._left(case).sum() >= wanted:
                yield case

    def of(self, cases: Sequence[Sample]) -> npt.NDArray[np.int64]:
        """(n, c) candidates, none of which the user had by then: the encoder's best, and drawn ones."""
        settings = self.task.config.distillation
        drawn = round(settings.drawn * settings.candidates)
        with torch.no_grad():
            z = self.encoder.represent([case.history for case in cases])
            scores = self.encoder.logits(z).float().cpu().numpy()
        return np.stack(
            [self._choose(case, row, drawn) for case, row in zip(cases, scores, strict=True)]
        ).astype(np.int64)

    def _choose(self, case: Sample, scores: npt.NDArray[np.float32], drawn: int) -> npt.NDArray[np.int64]:
        left = self._left(case)
        best = np.argsort(np.where(left, -scores, np.inf), kind="stable")
        found = best[: self.task.config.distillation.candidates - drawn]
        left[found] = False
        lots = np.random.RandomState(self._seed(case))
        found = np.concatenate([found, lots.permutation(np.flatnonzero(left))[:drawn]])
        return lots.permutation(found)  # the encoder's order in a prompt would tell its opinion

    def _left(self, case: Sample) -> npt.NDArray[np.bool_]:
        """(items,) what the user has not had before the case, of what training may meet."""
        left = self.allowed.copy()
        left[self.sequences[case.user].items[: case.position]] = False
        return left

    def _seed(self, case: Sample) -> int:
        key = json.dumps(["lessons", self.task.dataset.name, *case.place, self.task.seed])
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")


def _key(teacher: AdapterRecommender, task: Task) -> str:
    """What decides the scores, but for the number of histories: more of them go on with fewer."""
    settings = task.config.distillation
    decides = [VERSION, settings.teacher, settings.weights, settings.candidates, settings.drawn, task.seed]
    return sha256_of([*decides, task.samples.sha256, str(teacher.model.llm.dtype)])[:12]


class _Kept:
    """Scores of cases in parts on disk, and what is to become the next part.

    A part's name says which cases it has. One that is damaged is removed with all that follow.
    """

    def __init__(self, folder: Path, cases: Sequence[Sample], choose: Choose, task: Task) -> None:
        self.folder, self.cases, self.choose = folder, cases, choose
        self.parts: list[tuple[npt.NDArray[np.int64], Scores]] = []
        self.new: list[tuple[npt.NDArray[np.int64], Scores]] = []
        self.began = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        for path in sorted(folder.glob("*.safetensors")):
            if not self.left:
                break
            part = self._read(path)
            if part is None:
                task.emit(Notice(f"{path} is damaged; what it held is scored again", "warning"))
                for later in folder.glob("*.safetensors"):
                    if later.name >= path.name:
                        later.unlink()
                break
            self.parts.append(part)

    @property
    def left(self) -> int:
        """Cases that are not scored yet."""
        return max(0, len(self.cases) - len(self))

    def asked(self, teacher: AdapterRecommender) -> Scored:
        """Has the teacher score what is left, and gives all; what stops it loses nothing that was scored."""
        try:
            while self.left:
                done = len(self)
                some = self.cases[done : BATCH * (done // BATCH + 1)]  # the same batches wherever one goes on
                rows = self.choose(some)
                scores = teacher.score([case.history for case in some], rows.tolist())
                self.new.append((rows, scores.astype(np.float32)))
                if time.monotonic() - self.began >= PART_SECONDS:
                    self._write()
        finally:
            self._write()
        count = len(self.cases)
        rows, scores = (np.concatenate(side)[:count] for side in zip(*self.parts, strict=True))
        return Scored([case.history for case in self.cases], rows, scores)

    def __len__(self) -> int:
        return sum(len(rows) for rows, _ in [*self.parts, *self.new])

    def _read(self, path: Path) -> tuple[npt.NDArray[np.int64], Scores] | None:
        """A part's candidates and scores; None where it is no part, or does not follow the last one."""
        try:
            held = load_file(path)
            rows, scores = held["candidates"].astype(np.int64), held["scores"].astype(np.float32)
        except (SafetensorError, OSError, KeyError, ValueError):
            return None
        first = self.cases[len(self) : len(self) + 1]
        fits = rows.ndim == 2 and rows.shape == scores.shape and path.stem == _name(len(self), len(rows))
        if not fits or rows.shape[1] != self.choose(first).shape[1] or not np.isfinite(scores).all():
            return None
        return rows, scores

    def _write(self) -> None:
        """Makes a part of what is not written yet."""
        if not self.new:
            return
        rows, scores = (np.concatenate(side) for side in zip(*self.new, strict=True))
        first = len(self) - len(rows)
        with atomic_path(self.folder / f"{_name(first, len(rows))}.safetensors") as temporary:
            save_file({"candidates": rows, "scores": scores}, temporary)
        self.parts.append((rows, scores))
        self.new, self.began = [], time.monotonic()


def _name(first: int, count: int) -> str:
    return f"{first:012}-{count:06}"
