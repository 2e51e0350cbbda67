"""Measures the screen with the real engine: first paint, users, rankings, edits, longest pause, quitting.

    python benchmarks/tui_latency.py [--out runs] [--users 20] [--quick] [--blame]

needs everything cached. Without `--out` the demo answers; a folder of runs is copied and stays as it is.
`--quick` leaves out all that trains. A processor without AVX-512 is played by

    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 python benchmarks/…

The pauses are those of the screen's own event loop: a task that sleeps 5 ms at a time and notes how much
longer it slept. With `--blame` a second thread notes what the loop was doing in pauses of more than 20 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from core.hardware import cores
from ilora_app.tui.app import IloraTui
from ilora_app.tui.engine.trainings import last_training
from ilora_app.tui.screens.dialogs.ask import Ask
from ilora_app.tui.screens.explore.screen import ExploreScreen
from ilora_app.tui.state.app_state import Stage
from ilora_app.tui.widgets.gate import GatePanel
from ilora_app.tui.widgets.history import HistoryList

NAP = 0.005
SAMPLES = 320
"""Of the training that is started: enough for a minute of it."""
BLAMED = 0.02
ISA = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
"""What makes the libraries play another processor."""


class Pauses:
    """Notes the longest time that the event loop did not run, and what held it."""

    def __init__(self, blame: bool) -> None:
        self.longest: dict[str, float] = {}
        self.own: dict[str, float] = {}
        """The longest stretch of the screen's own work: what is left of a pause on a quiet machine."""
        self.collecting: dict[str, float] = {}
        """The longest garbage collection."""
        self.held: dict[str, Counter[str]] = {}
        """What the loop was doing in long pauses, and how often it was seen there."""
        self.phase = "start"
        self._since = time.perf_counter()
        self._blame = blame
        self._task: asyncio.Task[None] | None = None
        self._ended = threading.Event()
        self._loop = threading.get_ident()

    async def _watch(self) -> None:
        while True:
            self._since, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(NAP)
            pause, work = time.perf_counter() - self._since - NAP, time.thread_time() - worked
            self.longest[self.phase] = max(self.longest.get(self.phase, 0.0), pause)
            self.own[self.phase] = max(self.own.get(self.phase, 0.0), work)

    def _collected(self, moment: str, facts: dict[str, int]) -> None:
        del facts
        if moment == "start":
            self._began = time.perf_counter()
        else:
            took = time.perf_counter() - self._began
            self.collecting[self.phase] = max(self.collecting.get(self.phase, 0.0), took)

    def _look(self) -> None:
        while not self._ended.wait(NAP):
            if time.perf_counter() - self._since > BLAMED + NAP:
                frames = traceback.extract_stack(sys._current_frames()[self._loop])
                ours = [frame for frame in frames if "ilora_app" in frame.filename]
                last = [*ours[-1:], frames[-1]]
                line = " > ".join(
                    f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in last
                )
                self.held.setdefault(self.phase, Counter())[line] += 1

    def __enter__(self) -> Pauses:
        self._task = asyncio.create_task(self._watch())
        gc.callbacks.append(self._collected)
        if self._blame:
            threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        gc.callbacks.remove(self._collected)
        if self._task is not None:
            self._task.cancel()

    def found(self) -> dict[str, Any]:
        """Milliseconds by phase."""
        noted = {
            "longest pause, ms": self.longest,
            "its own work in one, ms": self.own,
            "longest garbage collection, ms": self.collecting,
        }
        rounded: dict[str, Any] = {
            name: {phase: round(1000 * value, 1) for phase, value in values.items()}
            for name, values in noted.items()
        }
        if self._blame:
            rounded["seen in pauses"] = {
                phase: dict(seen.most_common(6)) for phase, seen in self.held.items()
            }
        return rounded


async def until(condition: Any, seconds: float = 600) -> None:
    end = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > end:
            raise TimeoutError("the screen did not get there")
        await asyncio.sleep(0.002)


async def ranked(app: IloraTui, press: str) -> float:
    """Seconds from a key to its complete ranking: it is drawn in the same call that takes the answer."""
    screen = app.screen
    assert isinstance(screen, ExploreScreen)
    before, asked = time.perf_counter(), screen.asked
    app.simulate_key(press)
    await until(lambda: screen.asked != asked)
    number = screen.asked
    await until(lambda: screen.explored.ranked is not None and screen.explored.ranked.request == number)
    await asyncio.sleep(0)
    took = time.perf_counter() - before
    await asyncio.sleep(0.3)  # the second run's ranks come after
    return took


async def train(app: IloraTui, pauses: Pauses) -> list[float]:
    """Starts a short training from the form, watches it, and ranks beside it; seconds to each ranking."""
    pauses.phase = "going to Train"
    app.simulate_key("3")
    await until(lambda: app.current_mode == "train" and app.screen.is_mounted)
    from ilora_app.tui.screens.train import TrainScreen  # the screen has read it by now
    from ilora_app.tui.widgets.form import Form

    screen = app.screen
    assert isinstance(screen, TrainScreen)
    await asyncio.sleep(1)
    form = screen.query_one(Form)
    for setting in form.settings:
        setting.on = setting.key == "method-ilora"
    form.give("samples", str(SAMPLES))
    app.simulate_key("enter")
    await until(lambda: isinstance(app.screen, Ask))
    app.simulate_key("y")
    await until(lambda: screen.training is not None)
    pauses.phase = "training starts"
    await until(lambda: screen.progress.ending or len(screen.progress.curve.losses) > 2)
    assert not screen.progress.ending, screen.progress.said
    pauses.phase = "training"
    await asyncio.sleep(20)
    pauses.phase = "ranking while training"
    app.simulate_key("1")
    await until(lambda: isinstance(app.screen, ExploreScreen))
    took = [await ranked(app, "down") for _ in range(8)]
    assert screen.training is not None
    screen.training.stop()
    return took


async def inside(out: Path, users: int, blame: bool, trains: bool) -> dict[str, Any]:
    """Everything that is measured within the screen's own process."""
    app = IloraTui(out)
    found: dict[str, Any] = {}
    with Pauses(blame) as pauses:
        async with app.run_test(size=(120, 40)) as pilot:
            started = time.perf_counter()
            pauses.phase = "loading"
            await until(lambda: app.app_state.stage in (Stage.READY, Stage.FAILED, Stage.DEAD))
            assert app.app_state.stage is Stage.READY, app.app_state.problem
            found["engine warm, s"] = time.perf_counter() - started
            screen = app.screen
            assert isinstance(screen, ExploreScreen)
            assert app.app_state.run_data.opened is not None
            found["opened"] = f"{app.app_state.run_data.opened.method}, {app.app_state.run_data.opened.model}"
            await until(lambda: screen.explored.ranked is not None)
            pauses.phase = "loading the second model"
            await until(lambda: app.app_state.beside_ready or app.app_state.counterpart() is None)
            await asyncio.sleep(1)
            pauses.phase = "ranking"
            browsing = [await ranked(app, "down") for _ in range(users)]
            screen.query_one(HistoryList).focus()
            await pilot.pause()
            edits = {
                "dropped": [await ranked(app, "d") for _ in range(5)],
                "moved": [await ranked(app, "less_than_sign") for _ in range(5)],
            }
            screen.query_one(GatePanel).focus()
            await pilot.pause()
            edits["expert pushed"] = [await ranked(app, "right") for _ in range(5)]
            found["new user to ranking, median ms"] = 1000 * median(browsing)
            found["new user to ranking, worst ms"] = 1000 * max(browsing)
            for what, took in edits.items():
                found[f"{what} to ranking, median ms"] = 1000 * median(took)
            screen.query_one("#users").focus()
            if trains:
                beside = await train(app, pauses)
                found["new user to ranking while training, median ms"] = 1000 * median(beside)
            pauses.phase = "quitting"
            before = time.perf_counter()
            await app.app_state.stop()
            found["engines gone, s"] = time.perf_counter() - before
    training = last_training(out)
    while training is not None and training.running:
        await asyncio.sleep(0.1)
    return found | pauses.found()


class Watched:
    """The program as a terminal sees it."""

    def __init__(self, out: Path) -> None:
        self.controller, terminal = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        command = [sys.executable, "-m", "ilora_app", "tui", "--out", str(out)]
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
        )
        os.close(terminal)
        self.said = b""

    def read(self) -> None:
        if select.select([self.controller], [], [], 0.02)[0]:
            try:
                self.said += os.read(self.controller, 65536)
            except OSError:  # the program has let go of its terminal
                time.sleep(0.02)

    def wait(self, seconds: float, *words: bytes) -> float:
        """Reads for a while, or until all words were drawn; seconds since the start, 0 if they were not."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.read()
            if words and all(word in self.said for word in words):
                return time.perf_counter() - self.started
        return 0.0

    def press(self, *keys: str) -> None:
        for key in keys:
            os.write(self.controller, key.encode())
            self.wait(0.4)

    def quit(self, *keys: str) -> dict[str, Any]:
        """Presses the keys that quit; what it took, and what was left behind besides trainings."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        training = [child for child in children if "bench" in child.cmdline()]
        before = time.perf_counter()
        for key in keys:
            os.write(self.controller, key.encode())
            if key != keys[-1]:
                self.wait(1.0)
                before = time.perf_counter()
        while self.process.poll() is None and time.perf_counter() < before + 20:
            self.read()
        took = time.perf_counter() - before
        if self.process.poll() is None:
            self.process.kill()
            return {"back in, s": "not within 20"}
        left = [child for child in children if child.is_running() and child not in training]
        return {"back in, s": took, "processes left": len(left)}


STEPS = {
    "first paint, s": (b"Results", b"Users"),
    "users listed, s": (b"Users \xc2\xb7",),
    "ranking by the encoder, s": (b"\xe2\x97\x8e SASRec",),
    "ranking by iLoRA, s": (b"\xe2\x97\x8e iLoRA",),
}
"""What is waited for -> what is drawn then, from the start of the program."""


def starting(out: Path) -> dict[str, Any]:
    """From the start of the program to the first ranking, and the processors' time that it took."""
    watched = Watched(out)
    found: dict[str, Any] = {what: watched.wait(120, *words) for what, words in STEPS.items()}
    processes = [psutil.Process(watched.process.pid)]
    processes += processes[0].children(recursive=True)
    found["CPU seconds until then, of all processes"] = sum(
        sum(process.cpu_times()[:2]) for process in processes
    )
    return found | {"quit": watched.quit("q")}


def leaving(out: Path, wait: float) -> dict[str, Any]:
    """Quitting while the model loads."""
    watched = Watched(out)
    watched.wait(wait)
    return {f"quit {wait:g} s after the start": watched.quit("q")}


def machine() -> dict[str, Any]:
    """The processor, what torch takes it for, and what else it does."""
    code = "import torch; print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    capability, threads = said.split()
    lines = (
        Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if Path("/proc/cpuinfo").exists()
        else []
    )
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    played = {name: os.environ[name] for name in ISA if name in os.environ}
    return {
        "processor": ", ".join(sorted(names)) or platform.processor(),
        "cores": cores(),
        "torch": capability,
        "threads": int(threads),
        "played": played,
        "load average": os.getloadavg(),
    }


def quitting_while_training(out: Path) -> dict[str, Any]:
    """Save and stop: the terminal comes back at once, the training saves and ends by itself."""
    watched = Watched(out)
    watched.wait(60, b"\xe2\x97\x8e iLoRA")
    watched.press("3", "\x1b[B", "\x1b[B", "\x1b[B", "\x1b[C", "\x1b[C", "\r", "y")  # third choice of samples
    training = None
    end = time.perf_counter() + 120
    while time.perf_counter() < end:
        watched.wait(0.5)
        training = last_training(out)
        if training is not None and training.running and b'"train"' in Path(training.log).read_bytes():
            break
    assert training is not None, "no training was started"
    watched.wait(8)
    found: dict[str, Any] = dict(watched.quit("q", "s"))
    before = time.perf_counter()
    while training.running and time.perf_counter() < before + 60:
        time.sleep(0.05)
    found["training saved and gone after, s"] = time.perf_counter() - before
    found["its last word"] = json.loads(Path(training.log).read_text().splitlines()[-1])["event"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--blame", action="store_true")
    chosen = parser.parse_args()
    say("machine", machine())
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "runs"
        if chosen.out:
            shutil.copytree(chosen.out, out, ignore=shutil.ignore_patterns("training"))
        say("starting", [starting(out) for _ in range(3)])
        say("leaving", leaving(out, 3.0))
        say("screen", asyncio.run(inside(out, chosen.users, chosen.blame, not chosen.quick)))
        if not chosen.quick:
            say("quitting while training", quitting_while_training(Path(folder) / "fresh"))
    say("load average at the end", os.getloadavg())


def say(what: str, found: Any) -> None:
    """Prints a part as soon as it is measured."""
    print(json.dumps({what: found}, indent=1, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
