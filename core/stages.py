"""Long work as somebody watches it: what it is, how far it is, how long it takes, how it is stopped."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from core.errors import Interrupted
from core.events import Emit, Notice, ShouldStop, StageStarted, StepLogged, never, silent
from core.run_time import run_seconds

T = TypeVar("T")

LOOK_SECONDS = 0.2
"""How often somebody who waits asks whether to stop."""
TELL_SECONDS = 1.0
"""How often somebody who waits says that it goes on."""
COUNT_SECONDS = 0.5
"""At least this long between two events of a stage that counts."""
FAREWELL_SECONDS = 1.5
"""How long work that was told to end is waited for."""


@dataclass(frozen=True)
class Watch:
    """Who is told about the stages of a piece of work, and who may stop them."""

    emit: Emit = silent
    should_stop: ShouldStop = never
    method: str = ""
    """Whose stages these are; empty where no method has begun."""
    seed: int = 0

    def stage(self, name: str, total: int, ago: float = 0.0) -> Stage:
        """Begins a stage that counts up to `total`; its work began so many seconds ago."""
        self.emit(StageStarted(self.method, self.seed, name, total))
        return Stage(self, name, total, ago)

    def wait(self, name: str, work: Callable[[], T], seconds: float = 0.0) -> T:
        """What a piece of work gives that cannot say how far it is.

        It runs in a thread of its own, while this one tells the seconds that went by and can be stopped.

        Args:
            name: the stage.
            work: what is done; told to stop, it ends with `Interrupted` at its next line of Python.
            seconds: how long it is expected to take; 0 if nobody knows.

        Raises:
            Interrupted: `should_stop` said so.
        """
        if self.emit is silent and self.should_stop is never:
            return work()
        self.emit(StageStarted(self.method, self.seed, name, round(seconds)))
        running = _Running(work)
        started = told = run_seconds()
        while not running.ended.wait(LOOK_SECONDS):
            if self.should_stop():
                running.interrupt()
                raise Interrupted
            now = run_seconds()
            if now - told >= TELL_SECONDS:
                told, elapsed = now, now - started
                left = max(0.0, seconds - elapsed) if seconds else None
                step = StepLogged(
                    self.method, self.seed, name, round(elapsed), round(seconds), seconds_left=left
                )
                self.emit(step)
        if self.should_stop():  # asked at the last moment
            raise Interrupted
        return running.result()

    def silently(self, name: str, work: Callable[[], T]) -> T:
        """What a piece of work gives that can neither say how far it is nor be stopped."""
        self.emit(StageStarted(self.method, self.seed, name))
        return work()

    @contextmanager
    def alone(self, lock: Path, busy: str) -> Iterator[None]:
        """Lets one process at a time into the block; the system lets the next one in if that one is killed.

        Args:
            lock: an empty file that all of them name; it stays.
            busy: what another process is doing, such as "training sasrec", said if it has to be waited for.

        Raises:
            Interrupted: `should_stop` said so while waiting.
            OSError: the file cannot be made.
        """
        import filelock

        lock.parent.mkdir(parents=True, exist_ok=True)
        held, told = filelock.FileLock(lock), False
        while True:
            try:
                held.acquire(timeout=LOOK_SECONDS)
                break
            except filelock.Timeout:
                if not told:
                    self.emit(Notice(f"another process is {busy}; waiting for it"))
                told = True
            if self.should_stop():
                raise Interrupted
        try:
            yield
        finally:
            held.release()


UNWATCHED = Watch()
"""Nobody is told, and nobody stops it."""


class Stage:
    """A stage that counts what is done; made by `Watch.stage`."""

    def __init__(self, watch: Watch, name: str, total: int, ago: float = 0.0) -> None:
        self.watch, self.name, self.total = watch, name, total
        self.done = 0
        self._started = run_seconds() - ago
        self._told = self._started - COUNT_SECONDS

    def advance(self, by: int = 1) -> None:
        """So many more are done; said at most twice a second, and at the end."""
        if not by:
            return
        self.done += by
        now = run_seconds()
        if now - self._told < COUNT_SECONDS and self.done < self.total:
            return
        self._told = now
        elapsed = now - self._started
        rate = self.done / elapsed if elapsed > 0 else None
        self.watch.emit(
            StepLogged(
                self.watch.method,
                self.watch.seed,
                self.name,
                self.done,
                self.total,
                samples_per_second=rate,
                seconds_left=max(0, self.total - self.done) / rate if rate else None,
            )
        )


class _Running(Generic[T]):
    """Work in a thread, with its outcome."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.ended = threading.Event()
        self._outcome: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), name="stage", daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._outcome.append(work())
        except BaseException as error:  # raised again where the result is wanted
            self._error = error
        finally:
            self.ended.set()

    def result(self) -> T:
        """What the work gave, or its error."""
        if self._error is not None:
            raise self._error
        return self._outcome[0]

    def interrupt(self) -> None:
        """Raises `Interrupted` in the thread and gives it a moment to tidy up."""
        ident = ctypes.c_ulong(self._thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Interrupted))
        self.ended.wait(FAREWELL_SECONDS)
