"""A pause is in no figure: neither in a stage's speed nor in what a training took."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from core.run_time import RunTime

PAUSE = 5.0
CHILD = """
import sys, time
from core.run_time import run_seconds

began, wall = run_seconds(), time.monotonic()
print("ready", flush=True)
sys.stdin.readline()
print(run_seconds() - began, time.monotonic() - wall, flush=True)
"""


class Machine:
    """Two clocks that are set by hand."""

    def __init__(self) -> None:
        self.now = self.worked = 0.0
        self.time = RunTime(lambda: self.now, lambda: self.worked)

    def goes_on(self, seconds: float, share: float) -> float:
        """So much later, with this share of it at work; what the clock says then."""
        self.now += seconds
        self.worked += share * seconds
        return self.time.seconds()


def test_a_pause_is_left_out() -> None:
    machine = Machine()
    assert machine.goes_on(0.5, 1.0) == 0.5
    before = machine.goes_on(0.5, 0.0)
    assert before == 1.0, "waiting for a moment is no pause"
    after = machine.goes_on(3600.0, 0.0)
    assert 0 <= after - before <= 1.0
    assert machine.goes_on(0.5, 1.0) == after + 0.5


def test_a_late_look_at_a_process_that_worked_is_no_pause() -> None:
    machine = Machine()
    assert machine.goes_on(60.0, 0.9) == 60.0


def test_the_clock_never_goes_back() -> None:
    machine = Machine()
    steps: list[Callable[[], float]] = [
        lambda: machine.goes_on(0.1, 0.0),
        lambda: machine.goes_on(3.0, 0.0),
        lambda: machine.goes_on(2.9, 0.0),
        lambda: machine.goes_on(100.0, 0.01),
    ]
    seen = [step() for _ in range(5) for step in steps]
    assert seen == sorted(seen)


def test_a_process_that_was_held_does_not_count_it() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None and child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(PAUSE)
    os.kill(child.pid, signal.SIGCONT)
    said, _ = child.communicate("\n", timeout=30)
    ran, wall = (float(word) for word in said.split())
    assert wall >= PAUSE
    assert wall - ran >= PAUSE - 1.5
