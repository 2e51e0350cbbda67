"""Processes that share a folder: each thing is done once, and what is busy comes last."""

from __future__ import annotations

from pathlib import Path

import filelock
from hypothesis import given
from hypothesis import strategies as st

from core.benchmark.clock import Clock
from core.benchmark.costs import Stage
from core.benchmark.sharing import free_first, in_turn, is_held
from core.methods import MethodSeed
from core.recommenders.base import lock_of
from core.results.naming import RunKey

RUNS = [("sasrec", 0), ("lora", 0), ("ilora", 0), ("mean-gate", 0)]
KEYS = {run: RunKey("tiny", "paper", *run, "ab" * 32) for run in RUNS}


@given(st.lists(st.integers(), unique=True), st.lists(st.sets(st.integers(0, 9)), max_size=12))
def test_each_comes_once_and_nothing_busy_before_what_is_free(
    things: list[int], moments: list[set[int]]
) -> None:
    times = iter(moments)
    busy: set[int] = set()
    order: list[int] = []
    steps = free_first(things, lambda one: one % 10 in busy)
    while True:
        busy = next(times, set())
        chosen = next(steps, None)
        if chosen is None:
            break
        left = [one for one in things if one not in order]
        free = [one for one in left if one % 10 not in busy]
        assert chosen == (free or left)[0]
        order.append(chosen)
    assert sorted(order) == sorted(things)


def test_a_lock_is_held_while_another_holds_it_and_looking_leaves_it_free(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    assert not is_held(lock)
    assert not lock.exists()
    with filelock.FileLock(lock):
        assert is_held(lock)
    assert not is_held(lock)
    with filelock.FileLock(lock, timeout=0):
        pass


def nothing(run: MethodSeed) -> bool:
    return False


def clock(jobs: int = 1) -> Clock:
    stages = {run: [Stage("train", run[0], 100.0, 10, "train")] for run in RUNS}
    return Clock(stages, lambda event: None, lambda: 0.0, jobs)


def test_a_run_that_another_process_is_at_comes_last(tmp_path: Path) -> None:
    lock = lock_of(tmp_path, KEYS["lora", 0].name)
    lock.parent.mkdir()
    with filelock.FileLock(lock):
        assert list(in_turn(KEYS, nothing, tmp_path, clock())) == [RUNS[0], RUNS[2], RUNS[3], RUNS[1]]


def test_a_control_waits_for_the_run_that_it_asks(tmp_path: Path) -> None:
    lock = lock_of(tmp_path, KEYS["ilora", 0].name)
    lock.parent.mkdir()
    with filelock.FileLock(lock):
        assert list(in_turn(KEYS, nothing, tmp_path, clock())) == RUNS


def test_what_another_process_has_made_is_no_time_that_is_left(tmp_path: Path) -> None:
    time = clock(jobs=2)
    assert time.seconds() == 200
    runs = in_turn(KEYS, lambda run: run == ("lora", 0), tmp_path, time)
    assert next(runs) == ("sasrec", 0)
    time.leave(("sasrec", 0))
    next(runs)
    assert time.seconds() == 100
