"""What a process takes next where several share the work of one folder: what no other one is at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from core.benchmark.clock import Clock
from core.methods import METHODS, MethodSeed
from core.recommenders.base import lock_of
from core.results.naming import RunKey
from core.training import parallel

T = TypeVar("T")


def is_held(lock: Path) -> bool:
    """Whether another process holds a lock (see `Watch.alone`) at this moment."""
    import filelock

    if not lock.is_file():
        return False
    held = filelock.FileLock(lock)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        return True
    held.release()
    return False


def free_first(given: Sequence[T], is_busy: Callable[[T], bool]) -> Iterator[T]:
    """Each of them once, in their order but for what is busy, which comes when it is free.

    Where all that are left are busy the first one comes, and has to be waited for.

    Args:
        given: what there is to do.
        is_busy: whether another process is at it, or it needs something that is not there yet; asked anew
            before each.
    """
    left = list(given)
    while left:
        chosen = next((one for one in left if not is_busy(one)), left[0])
        left.remove(chosen)
        yield chosen


def in_turn(
    keys: Mapping[MethodSeed, RunKey], is_there: Callable[[MethodSeed], bool], work: Path, clock: Clock
) -> Iterator[MethodSeed]:
    """The runs of a benchmark, each once, as this process comes to them.

    A run that another process is at comes last, and what asks another run comes after it. Processes that a
    launcher started work on the same run together, and keep the order.

    Args:
        keys: run -> what it is called, in the benchmark's order.
        is_there: whether a run has its result.
        work: the folder in which its lock lies.
        clock: told what is at work, and what other processes have done meanwhile.
    """
    done: set[MethodSeed] = set()

    def is_busy(run: MethodSeed) -> bool:
        if parallel.size() > 1:
            return False
        if is_there(run):
            clock.leave(run)
            return False
        asked = (METHODS[run[0]].control_of, run[1])
        return (asked in keys and asked not in done) or is_held(lock_of(work, keys[run].name))

    for run in free_first([*keys], is_busy):
        clock.begin(run)
        yield run
        done.add(run)
