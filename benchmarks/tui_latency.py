"""Measures the screen with the real engine: first paint, warm-up, ranking, edits, longest pause, quitting.

    python benchmarks/tui_latency.py --out runs [--users 20]

needs a trained run below `runs` and everything cached. The pauses are those of the screen's own event loop:
a task that sleeps 5 ms at a time and notes how much longer it slept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from ilora_app.tui.app import IloraTui
from ilora_app.tui.desk import Stage
from ilora_app.tui.screens.explore import ExploreScreen
from ilora_app.tui.widgets.history import HistoryList

NAP = 0.005


class Pauses:
    """Notes the longest time that the event loop did not run."""

    def __init__(self) -> None:
        self.longest: dict[str, float] = {}
        self.own: dict[str, float] = {}
        """The longest stretch of the screen's own work: what is left of a pause on a quiet machine."""
        self.phase = "start"
        self.all: dict[str, list[float]] = {}
        self._task: asyncio.Task[None] | None = None

    async def _watch(self) -> None:
        while True:
            before, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(NAP)
            pause, work = time.perf_counter() - before - NAP, time.thread_time() - worked
            self.longest[self.phase] = max(self.longest.get(self.phase, 0.0), pause)
            self.own[self.phase] = max(self.own.get(self.phase, 0.0), work)
            self.all.setdefault(self.phase, []).append(work)

    def __enter__(self) -> Pauses:
        self._task = asyncio.create_task(self._watch())
        return self

    def __exit__(self, *error: object) -> None:
        if self._task is not None:
            self._task.cancel()


async def until(condition: Any, seconds: float = 180) -> None:
    end = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > end:
            raise TimeoutError("the screen did not get there")
        await asyncio.sleep(0.002)


async def inside(out: Path, users: int) -> dict[str, Any]:
    """Everything that is measured within the screen's own process."""
    app = IloraTui(out)
    found: dict[str, Any] = {}
    with Pauses() as pauses:
        async with app.run_test(size=(120, 40)) as pilot:
            started = time.perf_counter()
            pauses.phase = "loading"
            await until(lambda: app.desk.stage in (Stage.READY, Stage.FAILED, Stage.DEAD))
            assert app.desk.stage is Stage.READY, app.desk.problem
            found["engine warm, s"] = time.perf_counter() - started
            screen = app.screen
            assert isinstance(screen, ExploreScreen)
            await until(lambda: screen.scene.ranked is not None)
            pauses.phase = "loading the second model"
            await until(lambda: app.desk.beside_ready or app.desk.counterpart() is None)
            await asyncio.sleep(1)
            pauses.phase = "ranking"

            async def ranked(press: str) -> float:
                # The answer to the question now on screen is drawn in the same call that takes it.
                before = time.perf_counter()
                app.simulate_key(press)
                asked = screen.asked
                await until(lambda: screen.asked != asked)
                number = screen.asked
                await until(lambda: screen.scene.ranked is not None and screen.scene.ranked.request == number)
                await asyncio.sleep(0)
                took = time.perf_counter() - before
                await asyncio.sleep(0.3)  # the second run's ranks come after
                return took

            browsing = [await ranked("down") for _ in range(users)]
            screen.query_one(HistoryList).focus()
            await pilot.pause()
            edits = [await ranked("d") for _ in range(5)]
            edits += [await ranked("greater_than_sign") for _ in range(3)]
            found["new user to ranking, median ms"] = 1000 * median(browsing)
            found["new user to ranking, worst ms"] = 1000 * max(browsing)
            found["edit to ranking, median ms"] = 1000 * median(edits)
            pauses.phase = "quitting"
            before = time.perf_counter()
            await app.desk.stop()
            found["engines gone, s"] = time.perf_counter() - before
    for name, noted in {"longest pause, ms": pauses.longest, "its own work in it, ms": pauses.own}.items():
        found[name] = {phase: round(1000 * value, 1) for phase, value in noted.items()}
    return found


def outside(out: Path, wait: float) -> dict[str, float]:
    """First paint and quitting, as a terminal sees them."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-m", "ilora_app", "tui", "--out", str(out)]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
    )
    os.close(terminal)
    said, paint = b"", 0.0
    end = started + wait
    while time.perf_counter() < end:
        if select.select([controller], [], [], 0.02)[0]:
            said += os.read(controller, 65536)
        if not paint and b"Results" in said and b"Users" in said:
            paint = time.perf_counter() - started
    children = psutil.Process(process.pid).children(recursive=True)
    before = time.perf_counter()
    os.write(controller, b"q")
    while process.poll() is None and time.perf_counter() < before + 20:
        if select.select([controller], [], [], 0.02)[0]:
            try:
                os.read(controller, 65536)
            except OSError:
                break
    process.wait(20)
    quitting = time.perf_counter() - before
    left = [child for child in children if child.is_running()]
    return {"first paint, s": paint, f"quit after {wait:g} s, s": quitting, "processes left": len(left)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--users", type=int, default=20)
    chosen = parser.parse_args()
    found: dict[str, Any] = {}
    for wait in (3.0, 3.0, 12.0):
        found.setdefault("terminal", []).append(outside(chosen.out, wait))
    found["screen"] = asyncio.run(inside(chosen.out, chosen.users))
    found["load average"] = os.getloadavg()
    print(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
