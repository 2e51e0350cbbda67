"""Seconds in which this process was let run: no figure has in it what a pause took (SIGSTOP, ctrl-Z)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

BEAT_SECONDS = 0.5
"""How often the clock is looked at, so that a longer gap is seen."""
GAP_SECONDS = 3.0
"""A gap from which on it is asked whether the process was stopped."""
AT_WORK = 0.05
"""A process that had less of the processor's time than this share of a gap was stopped in it."""


class RunTime:
    """A clock that stands still while the process is stopped.

    A stopped process can neither note the moment nor be told of it. So a thread of its own looks at the clock
    often; where a look comes late and the processor did nothing for the process meanwhile, it was stopped.

    Args:
        clock: seconds that only grow, stopped or not.
        worked: seconds of the processor's time that the process has had.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, worked: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._worked = clock, worked
        self._lock = threading.Lock()
        self._looked, self._had, self._stopped = clock(), worked(), 0.0

    def seconds(self) -> float:
        """Seconds since some moment, without those of pauses."""
        with self._lock:
            now, had = self._clock(), self._worked()
            gap = now - self._looked
            if gap >= GAP_SECONDS and had - self._had < AT_WORK * gap:
                self._stopped += gap - BEAT_SECONDS
            self._looked, self._had = now, had
            return now - self._stopped

    def keep_looking(self) -> None:
        """Looks at the clock for ever."""
        while True:
            time.sleep(BEAT_SECONDS)
            self.seconds()


_running: list[RunTime] = []
_starting = threading.Lock()


def run_seconds() -> float:
    """Seconds since some moment, without pauses; the first call starts the thread that looks."""
    with _starting:
        if not _running:
            _running.append(RunTime())
            threading.Thread(target=_running[0].keep_looking, name="run time", daemon=True).start()
    return _running[0].seconds()
