"""`bench --jobs N`: further processes that share a benchmark's runs with the one that speaks.

Each has its part of the CPU's cores and takes what no other is at (`core/benchmark/sharing.py`); what one of
them leaves undone, another does. They end with the process that started them, and save first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING

from ilora_app.cli.saying import say
from ilora_app.starting import AGAIN, STOPPED

if TYPE_CHECKING:
    from core.benchmark.run import Plan

HELPER = "--helper"
"""A hidden option: this process helps another one, whose command its results name."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def check_jobs(jobs: int, alone: Mapping[str, bool]) -> None:
    """Raises `InputError` unless so many processes can share the benchmark, as far as options tell.

    Args:
        jobs: how many, the one that speaks among them.
        alone: options that exclude several, and whether they were given.
    """
    from core.config.bounds import JOBS
    from core.errors import InputError

    JOBS.check(jobs)
    for option, given in alone.items():
        if given and jobs > 1:
            raise InputError(f"--jobs {jobs} and {option} exclude each other", "give one of them")


@contextmanager
def other_jobs(jobs: int, preset: str, command: str) -> Iterator[None]:
    """The other processes of a benchmark, for the time of the block.

    Args:
        jobs: how many processes there are, this one among them.
        preset: the one that was chosen, for them to take, too.
        command: what their results say that made them.

    Raises:
        InputError: a launcher has started several already.
    """
    if jobs == 1:
        yield
        return
    import torch

    from core.errors import InputError
    from core.hardware import cores
    from core.training import parallel

    if parallel.announced() > 1:
        raise InputError(
            f"--jobs {jobs} starts its processes by itself", "leave it out, or start it without a launcher"
        )
    threads = max(1, cores() // jobs)
    torch.set_num_threads(threads)
    arguments = [*AGAIN, *sys.argv[1:], "--preset", preset, HELPER, command]
    environment = {**os.environ, **dict.fromkeys(_THREADS, str(threads))}
    say(f"{jobs} processes share the work; CPU threads of each: {threads}", err=True)
    with ExitStack() as stack:
        started = []
        for _ in range(jobs - 1):
            said = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(
                arguments,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches it through us alone
            )
            started.append((process, said))
        try:
            yield
            for process, said in started:
                if process.wait() not in (0, STOPPED):
                    _tell_failure(said)
        finally:
            for process, _ in started:
                if process.stdin is not None:
                    process.stdin.close()  # asks it to save and stop
            for process, _ in started:
                process.wait()


def _tell_failure(said: IO[bytes]) -> None:
    said.seek(0)
    lines = [line.strip() for line in said.read().decode(errors="replace").splitlines()]
    last = next(
        (line for line in reversed(lines) if line and not line.startswith("hint: ")), "without a word"
    )
    say(f"warning: another process ended early ({last}); this one did its work", err=True)


def help_with(plans: Sequence[Plan]) -> None:
    """What the other processes do: their share of the runs, until there are none or the first one is gone.

    Raises:
        Interrupted: the first one stopped, or is gone.
        IloraError: something cannot be used here.
    """
    from core.benchmark.run import run_benchmark
    from core.events import silent
    from ilora_app.cli.stopping import stoppable

    with stoppable() as should_stop:
        threading.Thread(target=_stop_with_the_first, name="first", daemon=True).start()
        for plan in plans:
            run_benchmark(plan, silent, should_stop)


def _stop_with_the_first() -> None:
    """Asks to save and stop once nobody holds the other end of our standard input."""
    import _thread

    while os.read(sys.stdin.fileno(), 1024):
        pass
    _thread.interrupt_main()
