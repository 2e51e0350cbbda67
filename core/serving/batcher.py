"""Answers many askers at once: whoever waits is put into one packed forward; a full queue says so at once."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from core.errors import IloraError, InputError
from core.serving.protocol import RETRIEVED, Question
from core.serving.session import Session

T = TypeVar("T")

WAIT_SECONDS = 0.005
"""How long the first of a batch waits for others."""


class Busy(IloraError):
    """More questions wait than the queue holds."""


@dataclass(frozen=True)
class Query:
    """One question about a history that somebody sent."""

    history: tuple[int, ...]
    """Catalogue indices, oldest first, at least one."""
    candidates: tuple[int, ...] | None = None
    """What is ranked; without it the encoder's best of the catalogue."""
    top: int = 10
    explain: bool = False
    """Whether to say what each item of the history does for the first item."""


@dataclass(frozen=True)
class Recommended:
    """The ranking."""

    items: tuple[int, ...]
    """Best first."""
    scores: tuple[float, ...]
    omega: tuple[float, ...] | None
    """The gate's weights, their mean over layers where those differ; None without a gate."""
    changes: tuple[float | None, ...] | None
    """Per item of the history that was read, what leaving it in adds to the first item's log-probability."""
    together: int
    """How many questions shared the forward."""


@dataclass(frozen=True)
class _Waiting:
    ask: Query
    future: Future[Recommended] = field(default_factory=Future)


@dataclass(frozen=True)
class _Turn:
    """Work that has the model for itself."""

    work: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)


class Batcher:
    """One thread that owns the model; everybody else hands in questions.

    Args:
        session: an opened run.
        size: questions in one forward at most.
        waiting: questions that may wait; more are refused.
    """

    def __init__(self, session: Session, size: int = 8, waiting: int = 64) -> None:
        self.session, self.size = session, size
        self.asked = self.forwards = 0
        """Questions that were answered, and the forwards that it took."""
        self._queue: queue.Queue[_Waiting | _Turn | None] = queue.Queue(waiting)
        if hasattr(session.recommender, "batch"):
            session.recommender.batch = size  # rows of one forward, which is a micro-batch in training
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many questions wait now."""
        return self._queue.qsize()

    def submit(self, ask: Query) -> Future[Recommended]:
        """The answer, once it is there; bad items show in it as `InputError`.

        Raises:
            Busy: the queue is full.
            InputError: an item is unknown, or the history is empty.
        """
        self.session.check_history(ask.history)
        if ask.candidates is not None:
            self.session.check_items(ask.candidates)
        waiting = _Waiting(ask)
        self._put(waiting)
        return waiting.future

    def call(self, work: Callable[[], T]) -> Future[T]:
        """What some work gives that has the model for itself, between two forwards; its errors show in it.

        Raises:
            Busy: the queue is full.
        """
        turn = _Turn(work)
        self._put(turn)
        return turn.future

    def _put(self, waiting: _Waiting | _Turn) -> None:
        try:
            self._queue.put_nowait(waiting)
        except queue.Full as error:
            raise Busy("too many questions wait", "ask again in a moment") from error

    def close(self) -> None:
        """Answers what waits, and ends the thread."""
        self._queue.put(None)
        self._thread.join()

    # --- the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            batch, more = self._next()
            live = [one for one in batch if one.future.set_running_or_notify_cancel()]
            asked = [one for one in live if isinstance(one, _Waiting)]
            try:
                self._answer(asked)
            except Exception as error:
                for one in asked:
                    if not one.future.done():
                        one.future.set_exception(error)
            for turn in live:
                if isinstance(turn, _Turn):
                    self._give(turn)
            if not more:
                return

    @staticmethod
    def _give(turn: _Turn) -> None:
        try:
            turn.future.set_result(turn.work())
        except Exception as error:
            turn.future.set_exception(error)

    def _next(self) -> tuple[list[_Waiting | _Turn], bool]:
        """Those who wait, at least one; and whether more may come."""
        first = self._queue.get()
        batch: list[_Waiting | _Turn] = []
        until = time.monotonic() + WAIT_SECONDS
        while first is not None:
            batch.append(first)
            if len(batch) == self.size:
                return batch, True
            try:
                first = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return batch, True
        return batch, False

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        ready: dict[int, list[tuple[_Waiting, tuple[int, ...], tuple[int, ...]]]] = {}
        for one in batch:
            history = self.session.check_history(one.ask.history)
            try:
                candidates = one.ask.candidates or self._retrieved(one.ask)
            except InputError as error:
                one.future.set_exception(error)
                continue
            ready.setdefault(len(candidates), []).append((one, history, candidates))
        for rows in ready.values():  # those with as many candidates share a forward
            histories = [history for _, history, _ in rows]
            scores = self.session.recommender.score(histories, [candidates for _, _, candidates in rows])
            omega = self.session.recommender.expert_weights(histories)
            self.forwards += 1
            self.asked += len(rows)
            for place, (one, history, candidates) in enumerate(rows):
                order = np.argsort(-scores[place], kind="stable")[: one.ask.top]
                items = tuple(candidates[index] for index in order)
                one.future.set_result(
                    Recommended(
                        items,
                        tuple(float(scores[place][index]) for index in order),
                        None if omega is None else tuple(map(float, omega[place])),
                        self._changes(history, items[0], candidates) if one.ask.explain else None,
                        len(rows),
                    )
                )

    def _retrieved(self, ask: Query) -> tuple[int, ...]:
        return self.session.retrieve(ask.history, frozenset(ask.history), RETRIEVED).items

    def _changes(
        self, history: Sequence[int], item: int, candidates: Sequence[int]
    ) -> tuple[float | None, ...]:
        question = Question(list(history))
        return tuple(self.session.why(0, question, item, candidates).changes)
