"""Training that goes on without the screen: a process of its own, its events in a file, found again later."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from core.errors import DataError
from core.events import Event
from core.files import atomic_write, read_regular
from core.records import build, json_of, plain, read_text
from ilora_app.starting import AGAIN
from ilora_app.tui.engine.process_priority import stand_back

CARD = "training/job.json"
ASKED = ("dataset", "preset", "methods", "seeds", "model", "samples", "precision")
"""The options that the form gives to the benchmark."""
LONGEST_WORDS = 1 << 20
"""Bytes of what a process complains that are read."""
NICENESS = 12
"""How far a training stands back from the screen and its engine when processors are short."""


@dataclass(frozen=True)
class TrainingProcess:
    """One training process."""

    pid: int
    started: float
    """When the process was created, as the system tells it: a pid alone may be used again."""
    command: list[str]
    log: str
    """File of its event lines."""
    errors: str
    """File of its stderr."""

    def _process(self) -> psutil.Process | None:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 2
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
            if same:  # it ended while this screen was open, which may now forget it
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(self.pid, os.WNOHANG)
        return None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process() is not None

    @property
    def paused(self) -> bool:
        """Whether it is held."""
        process = self._process()
        return process is not None and process.status() == psutil.STATUS_STOPPED

    @property
    def memory(self) -> int:
        """Bytes of main memory it holds; 0 when it is gone."""
        process = self._process()
        return int(process.memory_info().rss) if process else 0

    def pause(self) -> None:
        """Holds the process; it keeps its memory."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets a held process go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Asks it to save and end; the same command goes on from there."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGINT)

    def _signal(self, number: int) -> None:
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @property
    def last_words(self) -> str:
        """The last line of its stderr; nothing where it left none."""
        try:
            said = read_regular(Path(self.errors), LONGEST_WORDS)
        except OSError:
            return ""
        lines = said.decode("utf-8", "replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "")

    @property
    def options(self) -> list[str]:
        """What the benchmark was asked for, without where it writes: the same again goes on with it."""
        own = self._own
        return own[1 : own.index("--out")] if "--out" in own else []

    def option(self, name: str) -> str | None:
        """The value of an option such as `dataset`; None where it was left out."""
        flag = f"--{name}"
        return self.options[self.options.index(flag) + 1] if flag in self.options else None

    @property
    def shown(self) -> str:
        """The command as a person would type it."""
        return "ilora-app " + shlex.join(self._own)

    @property
    def _own(self) -> list[str]:
        """The command without what starts the program."""
        return self.command[self.command.index("bench") :] if "bench" in self.command else []


class Tail:
    """The lines of a file, as they are written."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._at = 0
        self._rest = b""

    def lines(self, most: int = 160_000) -> list[bytes]:
        """Whole lines since the last call, of at most so many bytes; an unfinished one waits."""
        if not self.path.is_file():  # a pipe would be waited for
            return []
        try:
            with self.path.open("rb") as file:
                file.seek(self._at)
                chunk = file.read(most)
        except OSError:
            return []
        self._at += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return lines

    def read(self) -> list[str]:
        """The same as text; of a line that was drawn again and again, its last state."""
        texts = [line.decode("utf-8", errors="replace").rstrip("\r") for line in self.lines()]
        return [text.rsplit("\r", 1)[-1] for text in texts]


class Log:
    """Reads a training's events as they are written."""

    def __init__(self, path: str) -> None:
        self._tail = Tail(path)
        self.odd: list[str] = []
        """Lines that are no events."""

    def read(self) -> list[Event]:
        """Events since the last call; an unfinished line waits."""
        events = []
        for line in self._tail.lines():
            try:
                events.append(Event.from_json(line.decode("utf-8")))
            except (DataError, UnicodeDecodeError):
                self.odd.append(line.decode("utf-8", errors="replace")[:200])
        return events


def start_training(out: Path, options: Sequence[str]) -> TrainingProcess:
    """Starts a benchmark in a session of its own, and notes it down."""
    folder = out / "training"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    log, errors = folder / f"{stamp}.jsonl", folder / f"{stamp}.err"
    command = [*AGAIN, "bench", *options, "--out", str(out), "--json"]
    with log.open("wb") as said, errors.open("wb") as complained:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complained,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    stand_back(process.pid, NICENESS)
    started = psutil.Process(process.pid).create_time()
    training = TrainingProcess(process.pid, started, command, str(log.absolute()), str(errors.absolute()))
    atomic_write(out / CARD, json.dumps(plain(training)) + "\n")
    return training


def last_training(out: Path) -> TrainingProcess | None:
    """The newest training of an output folder, running or not; None where there was none (or a damaged note).

    Somebody else may have written the note: its files are looked for beside it and nowhere else, and one
    that would be repeated with options which the form does not have is none.
    """
    try:
        training = build(TrainingProcess, json_of(read_text(out / CARD), CARD))
    except DataError:
        return None
    names, values = training.options[0::2], training.options[1::2]
    known = {f"--{name}" for name in ASKED}
    plainly = len(names) == len(values) and known.issuperset(names)
    if not plainly or any(value.startswith("-") for value in values) or not 0 < training.pid < 1 << 31:
        return None
    beside = (out / CARD).absolute().parent
    log, errors = (str(beside / (Path(name).name or "-")) for name in (training.log, training.errors))
    return replace(training, log=log, errors=errors)


def running_training(out: Path) -> TrainingProcess | None:
    """The newest training, if it runs."""
    training = last_training(out)
    return training if training is not None and training.running else None
